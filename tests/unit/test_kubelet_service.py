"""When and how the kubelet is started, and what is said when it will not run. No process is started here."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import pytest

from heat_config_kubelet.kubelet_api import KubeletApi
from heat_config_kubelet.kubelet_log import KubeletLog
from heat_config_kubelet.kubelet_service import (
    RETRY_SECONDS,
    Ended,
    KubeletService,
    ServiceReport,
    ServiceState,
    SystemProcesses,
)
from heat_config_kubelet.settings import Settings

COMMAND = "/usr/bin/kubelet --config '/etc/a b.json'"
PARTS = ["/usr/bin/kubelet", "--config", "/etc/a b.json"]
FAILING_KUBELET = (
    'E1123 00:41:12.146565   24153 run.go:72] "command failed" err="failed to validate kubelet configuration, '
    'error: kubelet is configured to not run on a host using cgroup v1"\n'
)


class FakeProcesses:
    def __init__(self) -> None:
        self.ran: list[list[str]] = []
        self.spawned: list[tuple[list[str], Path | None]] = []
        self.alive: set[str] = set()
        self.answer: Ended | OSError = Ended(0, "")
        self.refuses: OSError | None = None

    def run(self, command: Sequence[str]) -> Ended:
        self.ran.append(list(command))
        if isinstance(self.answer, OSError):
            raise self.answer
        return self.answer

    def spawn(self, command: Sequence[str], output: Path | None) -> str:
        if self.refuses:
            raise self.refuses
        self.spawned.append((list(command), output))
        mark = f"{100 + len(self.spawned)} 7"
        self.alive.add(mark)
        return mark

    def runs(self, mark: str) -> bool:
        return mark in self.alive


class FakeApi:
    def __init__(self) -> None:
        self.well = False

    def healthy(self) -> bool:
        return self.well


class Bench:
    """A service with everything around it replaced."""

    def __init__(self, folder: Path, *, systemd: str = "no", command: str = COMMAND, booted: bool = False) -> None:
        self.folder = folder
        self.log = folder / "kubelet.log"
        self.settings = Settings(
            file=folder / "conf",
            state_dir=folder / "state",
            systemd=systemd,
            kubelet_command=command,
            kubelet_log=self.log,
            kubelet_start_timeout=60.0,
        )
        self.booted = folder / "systemd"
        if booted:
            self.booted.mkdir()
        self.processes = FakeProcesses()
        self.api = FakeApi()
        self.time = 1000.0
        self.service = self.again()

    def again(self) -> KubeletService:
        """Give the service as after the agent's own restart."""
        return KubeletService(
            self.settings,
            cast("KubeletApi", self.api),
            KubeletLog(file=self.log),
            processes=self.processes,
            now=lambda: self.time,
            systemd_runs=self.booted,
        )

    def ensure(self, after: float = 0.0) -> ServiceReport:
        self.time += after
        return self.service.ensure()


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_a_healthy_kubelet_is_left_alone(bench: Bench) -> None:
    bench.api.well = True
    assert bench.ensure() == ServiceReport(ServiceState.RUNNING)
    assert not bench.processes.ran and not bench.processes.spawned


@pytest.mark.parametrize(
    ("systemd", "booted", "unit"),
    [("auto", True, True), ("auto", False, False), ("yes", False, True), ("no", True, False)],
)
def test_systemd_or_the_command(tmp_path: Path, systemd: str, booted: bool, unit: bool) -> None:
    bench = Bench(tmp_path, systemd=systemd, booted=booted)
    assert bench.ensure().state is ServiceState.STARTING
    if unit:
        assert bench.processes.ran == [["systemctl", "start", "--no-block", "kubelet.service"]]
        assert not bench.processes.spawned
    else:
        assert bench.processes.spawned == [(PARTS, bench.log)]
        assert not bench.processes.ran


def test_it_is_started_once_and_then_waited_for(bench: Bench) -> None:
    for _ in range(50):
        report = bench.ensure(after=1.0)
        assert report.state is ServiceState.STARTING
        assert "being started" in report.reason
    assert len(bench.processes.spawned) == 1
    bench.api.well = True
    assert bench.ensure(after=1.0).state is ServiceState.RUNNING


def test_a_kubelet_that_ends_is_started_again_but_not_at_once(bench: Bench) -> None:
    bench.ensure()
    bench.processes.alive.clear()
    bench.ensure(after=RETRY_SECONDS - 1)
    assert len(bench.processes.spawned) == 1
    bench.ensure(after=1)
    assert len(bench.processes.spawned) == 2


def test_the_agent_s_restart_starts_no_second_kubelet(bench: Bench) -> None:
    bench.ensure()
    bench.service = bench.again()
    bench.ensure(after=1)
    assert len(bench.processes.spawned) == 1


def test_failed_after_the_timeout_with_the_kubelet_s_own_words(bench: Bench) -> None:
    bench.log.write_text('E1122 09:00:00.000000   1 run.go:72] "command failed" err="an old story"\n')
    bench.ensure()
    with bench.log.open("a") as log:
        log.write(FAILING_KUBELET)
    report = bench.ensure(after=61)
    assert report.state is ServiceState.FAILED
    assert "not healthy 61 s after its start ([kubelet] command)" in report.reason
    assert "kubelet is configured to not run on a host using cgroup v1" in report.reason
    assert "old story" not in report.reason
    bench.api.well = True
    assert bench.ensure(after=1).state is ServiceState.RUNNING


def test_failed_without_a_word(bench: Bench) -> None:
    bench.ensure()
    assert bench.ensure(after=61).reason.endswith("its log says nothing")


def test_the_timeout_starts_anew_after_it_ran(bench: Bench) -> None:
    bench.ensure()
    bench.api.well = True
    bench.ensure(after=30)
    bench.api.well = False
    assert bench.ensure(after=600).state is ServiceState.STARTING


def test_a_unit_that_is_not_there(tmp_path: Path) -> None:
    bench = Bench(tmp_path, systemd="yes")
    bench.processes.answer = Ended(5, "Failed to start kubelet.service: Unit kubelet.service not found.")
    report = bench.ensure()
    assert report.state is ServiceState.FAILED
    assert "Unit kubelet.service not found" in report.reason
    bench.processes.answer = Ended(0, "")
    assert bench.ensure(after=RETRY_SECONDS).state is ServiceState.STARTING


def test_no_systemctl(tmp_path: Path) -> None:
    bench = Bench(tmp_path, systemd="yes")
    bench.processes.answer = FileNotFoundError(2, "No such file or directory", "systemctl")
    assert "systemctl" in bench.ensure().reason


def test_a_command_that_cannot_be_read(tmp_path: Path) -> None:
    report = Bench(tmp_path, command="kubelet 'x").ensure()
    assert report.state is ServiceState.FAILED
    assert "cannot be read: No closing quotation" in report.reason


def test_without_a_way_to_start_it_somebody_else_has_its_time_to(tmp_path: Path) -> None:
    bench = Bench(tmp_path, command="")
    assert bench.ensure().state is ServiceState.STARTING
    bench.time += 61.0
    report = bench.ensure()
    assert report.state is ServiceState.FAILED and "set [kubelet] command" in report.reason


def test_a_command_that_is_not_there(bench: Bench) -> None:
    bench.processes.refuses = FileNotFoundError(2, "No such file or directory", "/usr/bin/kubelet")
    report = bench.ensure()
    assert report.state is ServiceState.FAILED
    assert "/usr/bin/kubelet" in report.reason


def test_another_process_of_that_number_is_not_ours() -> None:
    processes = SystemProcesses()
    stat = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    assert processes.runs(f"{os.getpid()} {stat[19]}")
    assert not any(processes.runs(mark) for mark in (f"{os.getpid()} 1", "", "0 ", "x y", "999999999 1"))
