"""Room: disks, their inodes and memory, beside what the agent needs and what the kubelet begins to evict pods at.

Thresholds and defaults: kubernetes/kubernetes pkg/kubelet/apis/config/v1beta1/defaults.go and defaults_linux.go
(DefaultEvictionHard, imageGC*), pkg/kubelet/eviction/api/types.go (signals).
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from .finding import Finding, error, warning
from .node import Node

_EVICTION: Mapping[str, str] = {
    "memory.available": "100Mi",
    "nodefs.available": "10%",
    "nodefs.inodesFree": "5%",
    "imagefs.available": "15%",
    "imagefs.inodesFree": "5%",
}
_UNITS = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12} | {
    unit + "i": 1024**power for power, unit in enumerate("KMGTP", 1)
}
_NEAR = 1.25
"""So much above a threshold is called near."""
_LEAST_BYTES = 2 * 1024**2
"""What the agent needs for its store and manifests."""
_LEAST_INODES = 50
_LOAD = 10.0
"""Processes that want to run, for each processor."""


@dataclass(frozen=True)
class FileSystem:
    """What statvfs(3) says of one, and which folders of ours are on it."""

    folders: Mapping[str, Path]
    """By what they are for."""
    size: int
    free: int
    """Bytes that are left for who is not root: what the kubelet counts."""
    inodes: int
    """0 where it has none of its own, as btrfs."""
    inodes_free: int
    read_only: bool


def file_systems(
    folders: Mapping[str, Path], look: Callable[[Path], os.statvfs_result] = os.statvfs
) -> tuple[FileSystem, ...]:
    """Give the file systems of these folders, or of what is above one that is not there yet, each once."""
    found: dict[tuple[int, int], FileSystem] = {}
    for use, folder in folders.items():
        there = next((path for path in (folder, *folder.parents) if path.exists()), Path("/"))
        state = look(there)
        key = (there.stat().st_dev, state.f_flag & os.ST_RDONLY)
        known = dict(found[key].folders) if key in found else {}
        block = state.f_frsize
        found[key] = FileSystem(
            {**known, use: folder}, state.f_blocks * block, state.f_bavail * block, state.f_files, state.f_favail,
            bool(state.f_flag & os.ST_RDONLY),
        )  # fmt: skip
    return tuple(found.values())


def folders_of(node: Node) -> Mapping[str, Path]:
    """The folders that the agent, the kubelet and the runtime write to."""
    settings = node.settings
    found = {
        "the agent's state": settings.state_dir,
        "os-collect-config's cache": settings.os_collect_config_cache,
    }
    if node.view.access:
        found["manifests"] = node.view.access.manifest_dir
    root = node.kubelet.option("root-dir") if node.kubelet else ""
    found["the kubelet"] = Path(root) if root else node.machine.at("/var/lib/kubelet")
    found["images"] = _image_folder(node)
    return found


def _image_folder(node: Node) -> Path:
    """Where the runtime keeps images; its usual place for who may not ask it."""
    try:
        runtime = node.runtime
        text = runtime.config_file.read_text(encoding="utf-8", errors="replace") if runtime.config_file else ""
        usual = "/var/lib/containers" if runtime.name == "crio" else "/var/lib/containerd"
    except OSError:
        text, usual = "", "/var/lib/containerd"
    named = re.search(r'^root\s*=\s*["\']([^"\']+)["\']', text, re.MULTILINE)
    return Path(named[1]) if named else node.machine.at(usual)


def disk(node: Node) -> Iterator[Finding]:
    """There is room on the disks, above what the kubelet evicts pods at."""
    # Thresholds that are given take the place of all default ones.
    thresholds = dict(node.kubelet_fields.get("evictionHard") or _EVICTION) if node.view.access else {}
    for system in file_systems(folders_of(node)):
        where = ", ".join(f"{path} ({use})" for use, path in system.folders.items())
        if system.read_only:
            continue
        yield from _bytes(where, system, thresholds)
        yield from _inodes(where, system, thresholds)
        yield from _images(node, where, system)


def _bytes(where: str, system: FileSystem, thresholds: Mapping[str, object]) -> Iterator[Finding]:
    limits = _limits(system, thresholds, "available", system.size)
    share = f"{_size(system.free)} of {_size(system.size)} free"
    if system.free < _LEAST_BYTES:
        yield error(
            f"the disk of {where} is full: {share}",
            why="nothing can be recorded, written or signalled there",
            mend=_make_room(system),
        )
    elif system.free < limits:
        yield error(
            f"the disk of {where}: {share}, the kubelet's evictionHard is {_size(limits)}",
            why="the kubelet takes up no new pod and ends pods that run, to get room",
            mend=_make_room(system),
        )
    elif system.free < limits * _NEAR:
        yield warning(
            f"the disk of {where}: {share}, near the kubelet's evictionHard, {_size(limits)}",
            why="below that the kubelet takes up no new pod and ends pods that run",
            mend=_make_room(system),
        )


def _inodes(where: str, system: FileSystem, thresholds: Mapping[str, object]) -> Iterator[Finding]:
    if not system.inodes:
        return
    limit = _limits(system, thresholds, "inodesFree", system.inodes)
    if system.inodes_free < max(limit, _LEAST_INODES):
        yield error(
            f"the disk of {where}: {system.inodes_free} of {system.inodes} inodes are left",
            why="no file can be made, or the kubelet ends pods to get inodes",
            mend=f"find the folder with most files: du --inodes -x {next(iter(system.folders.values()))} | sort -n",
        )


def _limits(system: FileSystem, thresholds: Mapping[str, object], what: str, whole: int) -> int:
    """The highest threshold that the kubelet has for this file system."""
    names = {"the kubelet": "nodefs", "images": "imagefs"}
    found = [
        quantity(str(thresholds.get(f"{name}.{what}") or "0"), whole)
        for use, name in names.items()
        if use in system.folders
    ]
    return max(found, default=0)


def _images(node: Node, where: str, system: FileSystem) -> Iterator[Finding]:
    if "images" not in system.folders or not node.view.access:
        return
    high = int(node.kubelet_fields.get("imageGCHighThresholdPercent", 85))
    used = 100 - system.free * 100 // max(system.size, 1)
    if high < 100 and used >= high:
        yield warning(
            f"the disk of {where} is used by {used} %; from imageGCHighThresholdPercent, {high}, on images are removed",
            why="an image that the node was built with cannot be pulled again, where there is no registry",
            mend=f"{_make_room(system)}; or set imageGCHighThresholdPercent: 100 in {node.view.access.config_file}",
        )


def _make_room(system: FileSystem) -> str:
    folder = next(iter(system.folders.values()))
    images = "; crictl rmi --prune" if "images" in system.folders else ""
    return f"make room: du -xh {folder} | sort -h | tail; journalctl --vacuum-size=50M{images}; or a larger volume"


def read_only(node: Node) -> Iterator[Finding]:
    """What has to be written can be written."""
    for system in file_systems(folders_of(node)):
        if system.read_only:
            where = ", ".join(f"{path} ({use})" for use, path in system.folders.items())
            yield error(
                f"read-only file system: {where}",
                why="nothing can be recorded, written or removed there; a file system becomes so when its disk fails",
                mend=f"see why: dmesg | grep -i -E 'remount|error'; then: mount -o remount,rw "
                f"$(findmnt -n -o TARGET -T {next(iter(system.folders.values()))})",
            )
    if os.geteuid() == 0:
        for use, path in folders_of(node).items():
            if path.is_dir() and not os.access(path, os.W_OK) and not os.statvfs(path).f_flag & os.ST_RDONLY:
                yield error(
                    f"{path} ({use}): root may not write to it",
                    why="nothing can be recorded, written or removed there",
                    mend=f"lsattr -d {path}; chattr -i {path}",
                )


def load(node: Node) -> Iterator[Finding]:
    """There is memory and time left for pods."""
    own = node.kubelet_fields.get("evictionHard") if node.view.access else None
    limit = quantity(str((own or _EVICTION).get("memory.available") or "0"), _memory(node, "MemTotal"))
    left = _memory(node, "MemAvailable")
    if 0 < left < limit:
        yield error(
            f"{_size(left)} of memory is left, the kubelet's evictionHard is {_size(limit)}",
            why="the kubelet takes up no new pod and ends pods that run",
            mend="see who has it: ps -eo rss,args --sort -rss | head; set memory limits in the pods, or take a larger "
            "flavor",
        )
    try:
        waiting = float((node.proc / "loadavg").read_text().split()[1])
    except (OSError, ValueError, IndexError):
        return
    each = waiting / max(os.cpu_count() or 1, 1)
    if each > _LOAD:
        yield warning(
            f"the load of the last five minutes is {waiting:.0f}, {each:.0f} for each processor",
            why="pods become ready late: deployments may run into containers_timeout, and probes fail",
            mend="see who it is: top; set cpu limits in the pods, longer timeouts in the config's options, or take a "
            "larger flavor",
        )


def _memory(node: Node, name: str) -> int:
    try:
        text = (node.proc / "meminfo").read_text()
    except OSError:
        return 0
    found = re.search(rf"^{name}:\s+(\d+) kB", text, re.MULTILINE)
    return int(found[1]) * 1024 if found else 0


def quantity(text: str, whole: int) -> int:
    """Read a threshold: a share of the whole ("10%") or a quantity ("100Mi"); 0 where it is neither."""
    if share := re.fullmatch(r"(\d+(?:\.\d+)?)%", text):
        return int(whole * float(share[1]) / 100)
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([kKMGTP]?i?)", text)
    return int(float(found[1]) * _UNITS.get(found[2], 0)) if found else 0


def _size(count: int) -> str:
    size = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024 or unit == "GiB":
            break
        size /= 1024
    return f"{size:.0f} {unit}" if unit != "GiB" else f"{size:.1f} GiB"
