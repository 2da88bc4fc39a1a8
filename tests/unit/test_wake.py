"""One loop at a time, woken when there is work: within one process; see tests/functional for several."""

from __future__ import annotations

import fcntl
import os
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from heat_config_kubelet import wake as module
from heat_config_kubelet.settings import Settings
from heat_config_kubelet.wake import Wake, under_systemd


@pytest.fixture
def loop(tmp_path: Path) -> Iterator[Wake]:
    """One that is the loop."""
    made = Wake(tmp_path)
    assert made.hold()
    yield made
    made.let_go(clear_flag=False)


@pytest.fixture
def adder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Wake:
    """Another one, whose waits take no time."""
    monkeypatch.setattr(time, "sleep", lambda _: None)
    return Wake(tmp_path)


def test_there_is_one_loop_at_a_time(loop: Wake, adder: Wake) -> None:
    assert not adder.hold()
    loop.let_go(clear_flag=False)
    assert adder.hold()
    adder.let_go(clear_flag=False)


def test_a_ring_tells_whether_a_loop_runs(loop: Wake, adder: Wake) -> None:
    assert adder.ring()
    loop.let_go(clear_flag=False)
    assert not adder.ring()


def test_who_only_looks_makes_takes_and_rings_nothing(loop: Wake, adder: Wake, tmp_path: Path) -> None:
    assert adder.is_held()
    loop.let_go(clear_flag=False)
    assert not adder.is_held()
    assert not Wake(tmp_path / "none").is_held() and not (tmp_path / "none").exists()


def test_without_any_loop_ever_nobody_is_rung(tmp_path: Path) -> None:
    assert not Wake(tmp_path).ring() and not Wake(tmp_path / "none").ring()


def test_a_ring_ends_the_loops_wait_even_if_it_came_before(loop: Wake, adder: Wake) -> None:
    for _ in range(3):
        adder.ring()
    loop.wait(3600.0)
    assert os.get_blocking(loop._bell or 0) is False
    loop.wait(0.0)


def test_more_rings_than_the_bell_holds_block_nobody(loop: Wake, adder: Wake) -> None:
    for _ in range(70000):
        loop.notify()
    assert adder.ring()
    loop.wait(3600.0)
    with pytest.raises(BlockingIOError):
        os.read(loop._bell or 0, 1)


def test_a_thread_of_the_loop_ends_its_wait(loop: Wake) -> None:
    loop.notify()
    loop.wait(3600.0)


def test_a_watched_descriptor_ends_the_wait_until_it_is_unwatched(loop: Wake) -> None:
    reads, writes = os.pipe()
    loop.watch(reads)
    os.write(writes, b"x")
    loop.wait(3600.0)
    loop.unwatch(reads)
    loop.unwatch(reads)
    loop.wait(0.0)
    os.close(reads)
    os.close(writes)


def test_to_wait_without_being_the_loop_is_a_bug(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="without hold"):
        Wake(tmp_path).wait(0.0)


def test_the_flag_says_that_something_is_pending_until_the_last_look(loop: Wake, adder: Wake) -> None:
    adder.raise_flag()
    adder.raise_flag()
    assert loop.flag.exists()
    loop.let_go(clear_flag=False)
    assert loop.flag.exists(), "a loop that failed leaves its work"
    assert adder.hold()
    adder.let_go(clear_flag=True)
    assert not loop.flag.exists()
    adder.let_go(clear_flag=True)


def test_files_are_for_root_alone(loop: Wake, adder: Wake, tmp_path: Path) -> None:
    adder.raise_flag()
    assert {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()} == {
        "pending": 0o600,
        "loop.lock": 0o600,
        "bell": 0o600,
    }


def test_a_bell_that_is_none_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "bell").write_text("odd")
    made = Wake(tmp_path)
    assert made.hold() and stat.S_ISFIFO((tmp_path / "bell").stat().st_mode)
    made.let_go(clear_flag=False)


def test_somebody_who_only_looks_does_not_keep_the_loop_from_beginning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looker = os.open(tmp_path / "loop.lock", os.O_RDWR | os.O_CREAT)
    fcntl.flock(looker, fcntl.LOCK_EX)
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) == 3:
            os.close(looker)

    monkeypatch.setattr(time, "sleep", sleep)
    made = Wake(tmp_path)
    assert made.hold() and len(slept) == 3
    made.let_go(clear_flag=False)


def test_a_lock_that_is_handed_on_is_held_until_it_is_let_go(tmp_path: Path, adder: Wake) -> None:
    handed = os.open(tmp_path / "loop.lock", os.O_RDWR | os.O_CREAT)
    fcntl.flock(handed, fcntl.LOCK_EX)
    starters = os.dup(handed)
    os.set_inheritable(handed, True)
    made = Wake(tmp_path)
    assert made.hold(handed)
    assert not os.get_inheritable(handed), "a hook's daemon would keep it"
    assert not adder.hold()
    made.let_go(clear_flag=False)
    assert adder.hold(), "whoever started the loop may close its own later"
    adder.let_go(clear_flag=False)
    os.close(starters)


def test_what_is_handed_on_and_is_not_the_lock_does_not_count(tmp_path: Path, loop: Wake, adder: Wake) -> None:
    with (tmp_path / "other").open("w") as other, (tmp_path / "loop.lock").open() as not_locked:
        for handed in (other.fileno(), not_locked.fileno(), 1000):
            assert not adder.hold(handed)


# --- starting it


class Started:
    """Takes the place of a process: it notes the command, without the lock that it was given and has at that time."""

    commands: list[list[str]] = []  # noqa: RUF012

    def __init__(self, command: list[str], **given: Any) -> None:
        assert given["start_new_session"] and given["cwd"] == "/", "detached from os-collect-config"
        *rest, option, lock = command
        assert (option, given["pass_fds"]) == ("--lock", (int(lock),))
        with pytest.raises(BlockingIOError), open(f"/proc/self/fd/{lock}") as other:
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self.commands.append(rest)


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[list[str]]:
    monkeypatch.setattr(Started, "commands", [])
    monkeypatch.setattr(subprocess, "Popen", Started)
    monkeypatch.setattr(module, "_UNIT_FOLDERS", (tmp_path / "units",))
    return Started.commands


def settings(folder: Path, systemd: str = "no") -> Settings:
    return Settings(folder / "agent.conf", state_dir=folder, systemd=systemd)


def test_a_loop_is_started_detached_with_its_settings(adder: Wake, started: list[list[str]], tmp_path: Path) -> None:
    adder.start_loop(settings(tmp_path))
    (tmp_path / "agent.conf").write_text("")
    adder.start_loop(settings(tmp_path))
    run = [sys.executable, "-m", "heat_config_kubelet"]
    assert started == [[*run, "loop"], [*run, "--settings", str(tmp_path / "agent.conf"), "loop"]]
    assert stat.S_IMODE((tmp_path / "loop.log").stat().st_mode) == 0o600


def test_a_loop_that_runs_is_not_started_again(
    loop: Wake, adder: Wake, started: list[list[str]], tmp_path: Path
) -> None:
    adder.start_loop(settings(tmp_path))
    assert started == []


def test_under_systemd_the_path_unit_starts_it(adder: Wake, started: list[list[str]], tmp_path: Path) -> None:
    adder.start_loop(settings(tmp_path, "yes"))
    assert len(started) == 1, "without the unit nobody else would"
    (tmp_path / "units").mkdir()
    (tmp_path / "units" / "heat-config-kubelet.path").write_text("")
    adder.start_loop(settings(tmp_path, "yes"))
    assert len(started) == 1
    adder.start_loop(settings(tmp_path, "no"))
    assert len(started) == 2


@pytest.mark.parametrize("runs", [True, False])
def test_systemd_is_known_by_its_directory_unless_the_settings_say(
    runs: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_RUNNING_SYSTEMD", tmp_path if runs else tmp_path / "none")
    assert under_systemd(settings(tmp_path, "auto")) is runs
    assert under_systemd(settings(tmp_path, "yes")) and not under_systemd(settings(tmp_path, "no"))
