"""A control group of a node's own, on cgroup v1 (also beside an empty v2 hierarchy) and on v2.

All of a node's processes are below it: its daemons in `daemons`, the agent's in `agent`, its pods in `kubepods`.
So whatever the node has started can be found and ended, however it has detached itself.
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_V2_CONTROLLERS = ("cpu", "cpuset", "memory", "pids", "io", "hugetlb")
_CPUSET_FILES = ("cpuset.cpus", "cpuset.mems")


class CgroupError(Exception):
    """A control group can be neither made nor emptied."""


@dataclass(frozen=True)
class Cgroup:
    """The control group `name` (without a slash) at the root of every hierarchy."""

    name: str

    @property
    def folders(self) -> list[Path]:
        """Its folder in each hierarchy, there or not."""
        return [mount / self.name for mount in hierarchies()]

    def create(self, *parts: str) -> None:
        """Make it and its parts in every hierarchy, ready for the kubelet (its `cgroupRoot` must be there)."""
        for folder in self.folders:
            _enable_controllers(folder.parent)
            for path in (folder, *(folder / part for part in parts)):
                path.mkdir(exist_ok=True)
                _copy_cpuset(path)

    def joining(self, part: str) -> list[str]:
        """Give the start of a command line that puts the command after it into a part, in every hierarchy."""
        targets = " ".join(f"'{folder}/{part}/cgroup.procs'" for folder in self.folders)
        return ["/bin/sh", "-c", f'for file in {targets}; do echo $$ > "$file"; done; exec "$@"', "sh"]

    def processes(self, part: str = "") -> set[int]:
        """Give the ids of all processes in it or in its part, in any hierarchy."""
        found: set[int] = set()
        for folder in self.folders:
            for path, _folders, _files in os.walk(folder / part):
                with contextlib.suppress(OSError):
                    found.update(int(line) for line in Path(path, "cgroup.procs").read_text().split())
        return found - {0}

    def pods(self) -> set[str]:
        """Give the UIDs of the pods that have a group of their own here: those that are not wholly gone."""
        found: set[str] = set()
        for folder in self.folders:
            for _path, parts, _files in os.walk(folder / "kubepods"):  # other than glob, it bears that groups go
                found.update(part.removeprefix("pod") for part in parts if part.startswith("pod"))
                parts[:] = [part for part in parts if not part.startswith("pod")]
        return found

    def kill(self, part: str = "", *, seconds: float = 20.0) -> None:
        """End all processes in it or in its part with SIGKILL; raises CgroupError where some live on."""
        end = time.monotonic() + seconds
        while left := self.processes(part):
            if time.monotonic() > end:
                raise CgroupError(f"processes {sorted(left)} of {self.name} do not end")
            for process in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process, signal.SIGKILL)
            time.sleep(0.02)

    def remove(self, part: str = "", *, seconds: float = 10.0) -> None:
        """Remove it, or its part, from every hierarchy; its processes must have ended. Raises CgroupError."""
        end = time.monotonic() + seconds
        for folder in self.folders:
            while not _removed(folder / part):
                if time.monotonic() > end:
                    raise CgroupError(f"{folder / part} cannot be removed; processes: {self.processes(part)}")
                time.sleep(0.02)


def hierarchies() -> Iterator[Path]:
    """Give the mount points of all control group hierarchies of this machine that processes can be put in."""
    for line in Path("/proc/mounts").read_text().splitlines():
        _device, mount, kind, *_rest = line.split()
        if kind in ("cgroup", "cgroup2") and mount.startswith("/sys/fs/cgroup"):
            yield Path(mount)


def _copy_cpuset(folder: Path) -> None:
    """On v1 a new cpuset is empty, and takes no process before it is filled."""
    for name in _CPUSET_FILES:
        file = folder / name
        if file.exists() and not (folder / "cgroup.controllers").exists() and not file.read_text().strip():
            file.write_text((folder.parent / name).read_text())


def _enable_controllers(parent: Path) -> None:
    """On v2 a group has the controllers that its parent hands down."""
    try:
        there = (parent / "cgroup.controllers").read_text().split()
    except FileNotFoundError:
        return
    for controller in _V2_CONTROLLERS:
        if controller not in there:
            continue
        try:
            (parent / "cgroup.subtree_control").write_text(f"+{controller}")
        except OSError as error:
            if error.errno != errno.EBUSY:
                raise CgroupError(f"{parent}/cgroup.subtree_control does not take +{controller}: {error}") from error
            _vacate(parent)
            (parent / "cgroup.subtree_control").write_text(f"+{controller}")


def _vacate(parent: Path) -> None:
    """Move the processes of `parent` into a group below it: in a container its root may hold some, and then,
    other than the machine's root, hands no controllers down."""
    below = parent / "lab-outside"
    below.mkdir(exist_ok=True)
    for line in (parent / "cgroup.procs").read_text().split():
        with contextlib.suppress(ProcessLookupError):
            (below / "cgroup.procs").write_text(line)


def _removed(folder: Path) -> bool:
    for path, _folders, _files in os.walk(folder, topdown=False):
        try:
            Path(path).rmdir()
        except FileNotFoundError:
            continue
        except OSError:
            return False
    return True
