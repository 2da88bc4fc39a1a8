"""Installs the Debian packages that the lab needs and the machine lacks.

Not for: kubelet and containerd, which Debian does not have in these versions (see `binaries.py`).
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable

from .progress import CommandError, Progress, run_shown

LINT = ("git", "shellcheck")
REGISTRY = ("docker-registry", "util-linux")
NODE = (
    "busybox-static",
    "ca-certificates",
    "containernetworking-plugins",
    "iproute2",
    "iptables",
    "mount",
    "openssl",
    "runc",
    "systemd",
    "util-linux",
)
"""systemd brings systemd-analyze, which checks the units; it is not started."""

IMAGE = (
    "busybox-static",
    "ca-certificates",
    "genisoimage",
    "iproute2",
    "mount",
    "openssh-client",
    "openssl",
    "qemu-system-x86",
    "qemu-utils",
    "util-linux",
)
"""For virtual machines; what builds an image is brought by the command that does."""
CONTAINER = ("debian-archive-keyring", "debootstrap", "podman", "systemd-journal-remote")
"""For the agent's container image. The last one writes a journal, for it to read."""

_APT = (
    "apt-get",
    "-y",
    "-o",
    "DPkg::Lock::Timeout=300",
    "-o",
    "Acquire::http::ConnectionAttemptDelayMsec=250",
    "-o",
    "Acquire::Retries=1",
    "-o",
    "Dpkg::Use-Pty=0",
)


class PackageError(Exception):
    """A package cannot be installed; the message says why."""


def missing(names: Iterable[str]) -> list[str]:
    """Give those of `names` that are not installed."""
    wanted = list(names)
    told = subprocess.run(
        ["dpkg-query", "-W", "-f=${Package} ${Status}\n", *wanted], capture_output=True, text=True, check=False
    ).stdout
    there = {line.split()[0] for line in told.splitlines() if line.endswith(" install ok installed")}
    return [name for name in wanted if name not in there]


def install(names: Iterable[str], progress: Progress) -> None:
    """Install those of `names` that are missing, if any; needs root. Raises PackageError."""
    absent = missing(names)
    if not absent:
        return
    if os.geteuid() != 0:
        raise PackageError(f"these Debian packages are missing, and only root can install them: {' '.join(absent)}")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C"}
    order = [*_APT, "--no-install-recommends", "install", *absent]
    what = f"install {' '.join(absent)}"
    try:
        run_shown([*_APT, "update"], progress, "Debian's package lists", env=environment)
    except CommandError as error:
        progress.say(f"package lists: {str(error).splitlines()[-1]}; going on with those that are there")
    try:
        run_shown(order, progress, what, env=environment)
    except CommandError as error:
        raise PackageError(str(error)) from error
