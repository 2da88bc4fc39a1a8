"""The table of all checks, and how they are made: one that cannot be made says why, and hides nothing of the others."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from ..errors import AgentError
from . import (
    agent,
    collecting,
    deployments,
    endpoints,
    kubelet,
    machine,
    manifest_files,
    permissions,
    room,
    runtime,
)
from .finding import LEVELS, Finding, Report, Unseen
from .node import Node


@dataclass(frozen=True)
class Check:
    """A check by its name."""

    name: str
    """As `doctor NAME` takes it."""
    about: str
    """What is so where it finds nothing."""
    function: Callable[[Node], Iterable[Finding]]


def _check(name: str, function: Callable[[Node], Iterable[Finding]]) -> Check:
    return Check(name, (function.__doc__ or "").splitlines()[0], function)


CHECKS: Sequence[Check] = (
    _check("settings", agent.settings),
    _check("collect-config", collecting.settings_file),
    _check("way-in", collecting.way_in),
    _check("collectors", collecting.collectors),
    _check("cache", collecting.cache),
    _check("polling", collecting.polling),
    _check("endpoints", endpoints.endpoints),
    _check("clock", machine.clock),
    _check("kubelet-config", kubelet.configuration),
    _check("kubelet", kubelet.service),
    _check("kubelet-api", kubelet.api),
    _check("certificates", kubelet.certificates),
    _check("runtime", runtime.answers),
    _check("cgroup-driver", runtime.cgroup_driver),
    _check("cni", runtime.network),
    _check("kubelet-version", kubelet.versions),
    _check("versions", machine.versions),
    _check("disk", room.disk),
    _check("read-only", room.read_only),
    _check("load", room.load),
    _check("permissions", permissions.permissions),
    _check("store", agent.store),
    _check("loop", agent.loop),
    _check("manifests", manifest_files.manifests),
    _check("deployments", deployments.deployments),
    _check("waiting", deployments.waiting),
    _check("pods", deployments.pods),
    _check("signals", agent.signals),
)
"""In the order in which a deployment passes what they look at."""


def examined(node: Node, names: Sequence[str] = ()) -> Report:
    """Make the checks of these names, or all, and give what they found; the node's store is closed then."""
    chosen = [check for check in CHECKS if not names or check.name in names]
    findings: list[Finding] = []
    unseen: list[Unseen] = []
    for check in chosen:
        problem = ""
        try:
            findings += [replace(finding, check=check.name) for finding in check.function(node)]
        except PermissionError as error:
            root = "" if os.geteuid() == 0 else ": this needs root"
            problem = f"{error.filename or 'system'}: may not be read{root}"
        except AgentError as error:
            problem = str(error)
        except (OSError, ValueError, sqlite3.Error) as error:
            problem = f"{getattr(error, 'filename', None) or type(error).__name__}: " + str(
                getattr(error, "strerror", None) or error
            )
        if problem:
            unseen.append(Unseen(check.name, problem))
    made = {check.name for check in chosen} - {each.check for each in unseen}
    unseen += [Unseen(name, why) for name, why in (*_without_kubelet(node), *_without_store(node)) if name in made]
    node.view.close()
    findings.sort(key=lambda finding: LEVELS.index(finding.level))
    return Report(tuple(findings), tuple(unseen), tuple(check.name for check in chosen))


def _without_kubelet(node: Node) -> Iterator[tuple[str, str]]:
    """Which checks have seen nothing because nobody knows how the kubelet is configured."""
    if node.view.access is None:
        why = node.view.problems.get("kubelet", "")
        yield from ((name, why) for name in ("kubelet", "kubelet-api", "certificates", "manifests", "pods"))


def _without_store(node: Node) -> Iterator[tuple[str, str]]:
    """Which checks have seen nothing because the store cannot be read; one that is not there yet has nothing in it."""
    why = node.view.problems.get("store", "")
    try:
        there = node.settings.store_file.exists()
    except PermissionError:
        there = True
    if why and there:
        yield from ((name, why) for name in ("deployments", "waiting", "signals"))
