"""Where a pod's control group is looked for: each driver, each version of cgroups, each quality of service."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from heat_config_kubelet.cgroups import pod_exists

UID = "492611e2-f9a7-43a8-ba3e-f8edcfbb7ae8"
SLICE = UID.replace("-", "_")


def exists(fs: Path, driver: str = "cgroupfs", root: str | None = "/") -> bool:
    return pod_exists(UID, cgroup_fs=fs, cgroup_root=root, driver=driver)


def v2(fs: Path) -> Path:
    (fs / "cgroup.controllers").write_text("cpu memory\n")
    return fs


@pytest.mark.parametrize("quality", ["", "/burstable", "/besteffort"])
@pytest.mark.parametrize("hierarchy", ["memory", "pids", "systemd", "unified"])
def test_v1_cgroupfs_in_any_hierarchy(tmp_path: Path, hierarchy: str, quality: str) -> None:
    for name in ("memory", "pids"):
        (tmp_path / name / "kubepods").mkdir(parents=True)
    assert not exists(tmp_path)
    group = tmp_path / hierarchy / f"node-a/kubepods{quality}/pod{UID}"
    group.mkdir(parents=True)
    assert exists(tmp_path, root="/node-a")
    assert not exists(tmp_path, root="/node-b")
    assert not pod_exists("another", cgroup_fs=tmp_path, cgroup_root="/node-a", driver="cgroupfs")
    group.rmdir()
    assert not exists(tmp_path, root="/node-a")


@pytest.mark.parametrize("root", ["/", "", None])
def test_v2_cgroupfs(tmp_path: Path, root: str | None) -> None:
    (v2(tmp_path) / f"kubepods/burstable/pod{UID}").mkdir(parents=True)
    assert exists(tmp_path, root=root)
    assert exists(tmp_path, driver="systemd", root=root), "newer kubelets take the driver from the runtime"


@pytest.mark.parametrize(
    "group",
    [
        f"kubepods.slice/kubepods-pod{SLICE}.slice",
        f"kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{SLICE}.slice",
        f"kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod{SLICE}.slice",
    ],
)
def test_systemd_slices(tmp_path: Path, group: str) -> None:
    (v2(tmp_path) / group).mkdir(parents=True)
    assert exists(tmp_path, driver="systemd")
    assert exists(tmp_path, driver="cgroupfs")


@pytest.mark.parametrize("root", ["/node-a", "/node_a.slice"])
def test_systemd_slices_below_a_root(tmp_path: Path, root: str) -> None:
    parts = "node_a.slice/node_a-kubepods.slice/node_a-kubepods-burstable.slice"
    (v2(tmp_path) / parts / f"node_a-kubepods-burstable-pod{SLICE}.slice").mkdir(parents=True)
    assert exists(tmp_path, driver="systemd", root=root)


def test_nothing_mounted(tmp_path: Path) -> None:
    assert not exists(tmp_path / "none")


def test_it_is_cheap(tmp_path: Path) -> None:
    for name in ("memory", "pids", "systemd", "cpu", "unified"):
        (tmp_path / name).mkdir()
    began = time.perf_counter()
    for _ in range(100):
        exists(tmp_path)
    assert time.perf_counter() - began < 0.5, "a hundred pods"
