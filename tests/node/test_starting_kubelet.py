"""Real programs started by the agent: a kubelet that will not run says why, one that does is left alone."""

from __future__ import annotations

import os
import shlex
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from lab.binaries import Binaries
from lab.node import LabNode

from heat_config_kubelet.kubelet_api import KubeletApi
from heat_config_kubelet.kubelet_config import KubeletAccess
from heat_config_kubelet.kubelet_log import KubeletLog
from heat_config_kubelet.kubelet_service import KubeletService, ServiceReport, ServiceState, SystemProcesses
from heat_config_kubelet.settings import Settings


def nowhere() -> KubeletAccess:
    """Give a kubelet that does not answer: nothing listens on port 1."""
    none = Path("/nonexistent")
    return KubeletAccess(none, 1, 1, none, none, none, "/", "cgroupfs", None)


def settings(folder: Path, command: list[str], *, timeout: float) -> Settings:
    return Settings(
        file=folder / "conf",
        state_dir=folder / "state",
        systemd="no",
        kubelet_command=shlex.join(command),
        kubelet_log=folder / "log" / "kubelet.log",
        kubelet_start_timeout=timeout,
    )


def test_a_kubelet_that_ends_at_once_says_why(programs: Binaries, tmp_path: Path) -> None:
    config = tmp_path / "kubelet.yaml"
    config.write_text("kind: KubeletConfiguration\n")
    chosen = settings(tmp_path, [str(programs.kubelet), f"--config={config}"], timeout=10)
    times = iter((0.0, 1.0, 11.0))
    processes = SystemProcesses()
    log = KubeletLog.of(chosen)
    service = KubeletService(chosen, KubeletApi(nowhere()), log, processes=processes, now=lambda: next(times))
    assert service.ensure().state is ServiceState.STARTING
    mark = (chosen.state_dir / "kubelet.pid").read_text().strip()
    while processes.runs(mark):
        time.sleep(0.02)
    assert service.ensure().state is ServiceState.STARTING
    report = service.ensure()
    assert report.state is ServiceState.FAILED
    assert "command failed: failed to load kubelet config file" in report.reason
    assert "Object 'apiVersion' is missing" in report.reason


@pytest.fixture
def sleeper(tmp_path: Path) -> Iterator[tuple[Settings, KubeletService, list[int]]]:
    """A program that stays, started as the kubelet."""
    chosen = settings(tmp_path, ["/bin/sleep", "3600"], timeout=60)
    service = KubeletService(chosen, KubeletApi(nowhere()), KubeletLog.of(chosen))
    ids: list[int] = []
    yield chosen, service, ids
    for process in ids:
        os.kill(process, 9)
        os.waitpid(process, 0)


def test_it_is_detached_and_started_once(sleeper: tuple[Settings, KubeletService, list[int]]) -> None:
    chosen, service, ids = sleeper
    assert service.ensure().state is ServiceState.STARTING
    mark = (chosen.state_dir / "kubelet.pid").read_text()
    process = int(mark.split()[0])
    ids.append(process)
    assert os.getsid(process) == process
    assert Path(f"/proc/{process}/fd/0").resolve() == Path("/dev/null")
    assert Path(f"/proc/{process}/fd/2").resolve() == chosen.kubelet_log
    again = KubeletService(chosen, KubeletApi(nowhere()), KubeletLog.of(chosen))
    assert again.ensure().state is ServiceState.STARTING
    assert (chosen.state_dir / "kubelet.pid").read_text() == mark


def test_a_kubelet_that_runs_is_left_alone(node: LabNode) -> None:
    chosen = replace(node.settings, kubelet_command="/nonexistent/kubelet")
    service = KubeletService(chosen, KubeletApi(node.access), KubeletLog.of(chosen))
    assert service.ensure() == ServiceReport(ServiceState.RUNNING)
    node.stop_kubelet()
    report = service.ensure()
    assert (report.state, "/nonexistent/kubelet" in report.reason) == (ServiceState.FAILED, True)
    node.start_kubelet()
    assert service.ensure() == ServiceReport(ServiceState.RUNNING)
