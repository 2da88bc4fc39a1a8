"""The machine below it all: its clock, and the releases of what the agent is built on."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from importlib import metadata

from .finding import Finding, error, warning
from .node import Node

_OLDEST_PYTHON = (3, 10)
_OLDEST_COLLECTOR = (14, 1)
_EARLIEST = 1_793_500_000.0
"""2026-11-01: no node of this release runs earlier."""


def clock(node: Node) -> Iterator[Finding]:
    """The clock is set by somebody who knows the time."""
    if node.now() < _EARLIEST:
        yield error(
            "the clock says a time before this release was made",
            why="every certificate counts as not yet valid: neither Heat nor a registry can be reached",
            mend="date -u; systemctl restart systemd-timesyncd (or chrony), and let it reach its time servers",
        )
    told = node.run(("timedatectl", "show", "--property=NTPSynchronized,NTP")) if node.machine.systemd else None
    said = dict(line.partition("=")[::2] for line in told.text.splitlines()) if told else {}
    if said.get("NTPSynchronized") == "no":
        by = "timedatectl set-ntp true; " if said.get("NTP") == "no" else ""
        yield warning(
            "the clock is not synchronised",
            why="after a suspend it may be hours behind: certificates and pre-signed URLs count as not valid",
            mend=f"{by}timedatectl timesync-status: let this node reach a time server (UDP port 123)",
        )


def versions(node: Node, python: tuple[int, ...] = sys.version_info[:2]) -> Iterator[Finding]:
    """Python and os-collect-config are of releases that work."""
    if python < _OLDEST_PYTHON:
        yield error(
            f"Python {'.'.join(map(str, python))}",
            why="the agent needs Python 3.10 or later",
            mend="install it into a virtual environment of a newer Python",
        )
    release = collector_release(node)
    if release and release < _OLDEST_COLLECTOR:
        yield warning(
            f"os-collect-config is {'.'.join(map(str, release))}",
            why="before 14.1 it does not poll with current Python and clients of OpenStack",
            mend="pip install 'os-collect-config>=14.1' where it is installed",
        )


def collector_release(node: Node) -> tuple[int, int] | None:
    """os-collect-config's release: of our own environment, where it mostly is, else as it says itself."""
    try:
        text = metadata.version("os-collect-config")
    except metadata.PackageNotFoundError:
        told = node.run(("os-collect-config", "--version"))
        text = told.text if told else ""
    found = re.match(r"(\d+)\.(\d+)", text)
    return (int(found[1]), int(found[2])) if found else None
