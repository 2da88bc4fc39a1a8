"""Putting the loop together: a kubelet whose configuration is not there yet, or never will be."""

# ruff: noqa: ARG002  (the doors of a protocol)
from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from support import KeptLog

from heat_config_kubelet.kubelet_service import Ended
from heat_config_kubelet.loop_process import find_kubelet
from heat_config_kubelet.settings import Settings


class Systemd:
    """Starts the kubelet's unit, whose first step writes its configuration."""

    def __init__(self, config: Path | None, status: int = 0) -> None:
        self.config = config
        self.status = status
        self.asked: list[tuple[str, ...]] = []

    def run(self, command: Sequence[str]) -> Ended:
        self.asked.append(tuple(command))
        if self.config:
            self.config.write_text(
                json.dumps(
                    {
                        "apiVersion": "kubelet.config.k8s.io/v1beta1",
                        "kind": "KubeletConfiguration",
                        "staticPodPath": "/etc/kubernetes/manifests",
                    }
                )
            )
        return Ended(self.status, "")

    def spawn(self, command: Sequence[str], output: Path | None) -> str:
        raise AssertionError("nothing is spawned here")

    def runs(self, mark: str) -> bool:
        raise AssertionError("nothing is asked here")


def settings(folder: Path, systemd: str = "yes") -> Settings:
    return Settings(
        file=folder / "conf",
        state_dir=folder,
        run_dir=folder / "run",
        systemd=systemd,
        kubelet_config=folder / "kubelet.json",
        node_name="n",
    )


def test_a_unit_that_has_not_run_yet_is_started_for_its_configuration(tmp_path: Path) -> None:
    systemd = Systemd(tmp_path / "kubelet.json")
    access, broken = find_kubelet(settings(tmp_path), KeptLog(), systemd)
    assert broken == "" and access.manifest_dir == Path("/etc/kubernetes/manifests")
    assert systemd.asked == [("systemctl", "start", "kubelet.service")]


def test_without_systemd_nothing_is_started(tmp_path: Path) -> None:
    systemd = Systemd(tmp_path / "kubelet.json")
    _, broken = find_kubelet(settings(tmp_path, "no"), KeptLog(), systemd)
    assert "kubelet.json" in broken and systemd.asked == []


def test_a_unit_that_writes_none_is_told(tmp_path: Path) -> None:
    log = KeptLog()
    _, broken = find_kubelet(settings(tmp_path), log, Systemd(None, status=1))
    assert "kubelet.json" in broken
    assert "no kubelet to work with" in log.text
