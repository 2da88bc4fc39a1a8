"""Whether a pod is gone from the node, by its control group: the last thing that the kubelet takes away.

Names: kubernetes/kubernetes pkg/kubelet/cm/cgroup_manager_linux.go and pod_container_manager_linux.go.
Not for: what runs inside a pod (`kubelet_api.py`); nothing here is created, changed or removed.
"""

from __future__ import annotations

import os
from pathlib import Path

_CLASSES = ("besteffort", "burstable", "")
"""The quality-of-service classes that have a group of their own, and the guaranteed pods, which are in none."""
_KEEPERS = ("pids", "memory", "systemd", "cpu", "unified")
"""Hierarchies of cgroup v1 to look into: the kubelet makes and removes a pod's group in all of them at once."""


def pod_exists(uid: str, *, cgroup_fs: Path, cgroup_root: str | None, driver: str) -> bool:
    """Whether the pod with this UID still has a control group: a few stats, no listing.

    `cgroup_fs` is where control groups are mounted (v1, v2 or both), `cgroup_root` the kubelet's `cgroupRoot`
    ("/" or None where it has none). `driver` is looked for first, but the other one's names are looked for too,
    since newer kubelets take the driver from the runtime. With `cgroupsPerQOS: false` pods have no groups:
    then this is always False.
    """
    first, second = (_systemd, _cgroupfs) if driver == "systemd" else (_cgroupfs, _systemd)
    names = (*first(uid, cgroup_root or "/"), *second(uid, cgroup_root or "/"))
    return any(os.path.isdir(f"{base}/{name}") for base in _hierarchies(cgroup_fs) for name in names)  # noqa: PTH112


def _hierarchies(cgroup_fs: Path) -> list[str]:
    """Give the top folders to look into: of cgroup v2 the one, of v1 those that are there."""
    base = str(cgroup_fs)
    if os.path.exists(f"{base}/cgroup.controllers"):  # noqa: PTH110
        return [base]
    return [folder for name in _KEEPERS if os.path.isdir(folder := f"{base}/{name}")]  # noqa: PTH112


def _cgroupfs(uid: str, root: str) -> tuple[str, ...]:
    """Give a pod's possible groups as the cgroupfs driver names them: /root/kubepods/burstable/pod<UID>."""
    return tuple("/".join((*_parts(root), "kubepods", *filter(None, (each,)), f"pod{uid}")) for each in _CLASSES)


def _systemd(uid: str, root: str) -> tuple[str, ...]:
    """Give them as slices: /root.slice/root-kubepods.slice/root-kubepods-burstable.slice/…-pod<UID>.slice.

    A "-" within a part is written "_", since in a slice's name it divides parts (escapeSystemdCgroupName).
    """
    return tuple(_slices((*_parts(root), "kubepods", *filter(None, (each,)), f"pod{uid}")) for each in _CLASSES)


def _slices(parts: tuple[str, ...]) -> str:
    escaped = [part.replace("-", "_") for part in parts]
    return "/".join("-".join(escaped[: count + 1]) + ".slice" for count in range(len(escaped)))


def _parts(root: str) -> tuple[str, ...]:
    """Divide a `cgroupRoot`; where it is written as slices, back into its plain parts."""
    parts = tuple(part for part in root.split("/") if part)
    if parts and parts[-1].endswith(".slice"):
        return tuple(part.replace("_", "-") for part in parts[-1].removesuffix(".slice").split("-"))
    return parts
