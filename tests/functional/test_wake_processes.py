"""Wake-ups across processes: however adders and loops meet, nothing that was added stays undone.

The loops are real ones (`heat-config-kubelet loop`) on a node without a kubelet: they refuse what is wanted, which is
as good an answer as any, and end. So they begin and end all the time while others add.
"""

from __future__ import annotations

import fcntl
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support import live, raw_entry, source

from heat_config_kubelet import settings as settings_module
from heat_config_kubelet.clock import Clock
from heat_config_kubelet.settings import Settings
from heat_config_kubelet.store import DONE, Store
from heat_config_kubelet.wake import Wake

ADDERS = 4
ROUNDS = 12
DEADLINE = 60.0
SPAWN = multiprocessing.get_context("spawn")


@pytest.fixture
def settings(tmp_path: Path) -> Iterator[Settings]:
    file = tmp_path / "agent.conf"
    file.write_text(
        f"[agent]\nstate_dir = {tmp_path}/state\nrun_dir = {tmp_path}/run\nsystemd = no\n"
        f"deployed_dir = {tmp_path}/deployed\nhooks_dirs = {tmp_path}/hooks\n"
        f"[kubelet]\nconfig = {tmp_path}/no-kubelet.yaml\n"
    )
    found = settings_module.load(file)
    Store.open(found.store_file).close()
    yield found
    until(lambda: is_free(found), "the last loop has ended")


def until(holds: Callable[[], bool], what: str) -> None:
    """Wait for a condition."""
    deadline = time.monotonic() + DEADLINE
    while not holds():
        assert time.monotonic() < deadline, f"not within {DEADLINE:g} s: {what}"
        time.sleep(0.02)


def is_free(settings: Settings) -> bool:
    """Whether no loop runs."""
    with (settings.state_dir / "loop.lock").open("a") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


def entry_id(adder: int, number: int) -> str:
    return f"entry-{adder}-{number}"


def add(file: Path, adder: int, rounds: int) -> None:
    """Add one deployment after the other, as `run` does, each as soon as the former one is decided or at once."""
    given = settings_module.load(file)
    store, wake, clock = Store.open(given.store_file), Wake(given.state_dir), Clock()
    entries = []
    for number in range(rounds):
        entries.append(raw_entry(entry_id(adder, number), resource=f"r-{adder}-{number}", transport="NO_SIGNAL"))
        with store.transaction():
            store.record([source(*entries, name=f"source-{adder}")], "run", clock.wall())
            wake.raise_flag()
        wake.start_loop(given)
        if number % 3 == adder % 3:  # let this one's loop come to its end, so that the next meets it there
            until(lambda mine=number: live(store)[entry_id(adder, mine)].state == DONE, "its own is done")  # type: ignore[misc]
    store.close()


def test_no_wake_up_is_ever_lost(settings: Settings) -> None:
    adders = [SPAWN.Process(target=add, args=(settings.file, adder, ROUNDS)) for adder in range(ADDERS)]
    for each in adders:
        each.start()
    for each in adders:
        each.join(DEADLINE)
        assert each.exitcode == 0, "what it added was done, without anybody adding more"
    store = Store.open(settings.store_file)
    until(lambda: all(entry.state == DONE for entry in store.entries()), "everything is done")
    assert len(live(store)) == ADDERS * ROUNDS
    store.close()
    until(lambda: not (settings.state_dir / "pending").exists(), "nothing is pending")


def start(file: Path) -> None:
    """Add a deployment; ends well if the loop that is started has the lock at once."""
    given = settings_module.load(file)
    store, wake = Store.open(given.store_file), Wake(given.state_dir)
    with store.transaction():
        store.record([source(raw_entry("only", transport="NO_SIGNAL"))], "run", Clock().wall())
        wake.raise_flag()
    wake.start_loop(given)
    sys.exit(0 if wake.ring() else 1)


def test_no_second_loop_is_started_beside_one_that_is_only_beginning(settings: Settings) -> None:
    starter = SPAWN.Process(target=start, args=(settings.file,))
    starter.start()
    starter.join(DEADLINE)
    assert starter.exitcode == 0
    until(lambda: not (settings.state_dir / "pending").exists(), "the loop has ended")
    store = Store.open(settings.store_file)
    assert live(store)["only"].state == DONE
    store.close()


HELD_AT_THE_END = """
import pathlib, sys, time
from heat_config_kubelet import loop, loop_process, settings
here, real = pathlib.Path(sys.argv[2]), loop.Loop._end
def end(self):
    (here / "at-the-end").touch()
    while not (here / "go-on").exists():
        time.sleep(0.01)
    return real(self)
loop.Loop._end = end
sys.exit(loop_process.run_loop(settings.load(pathlib.Path(sys.argv[1]))))
"""


def test_what_is_added_between_the_last_step_and_the_end_is_done(settings: Settings, tmp_path: Path) -> None:
    """The adder sees a loop that runs and starts none; so that one must look once more."""
    store, wake = Store.open(settings.store_file), Wake(settings.state_dir)
    entries = [raw_entry("first", resource="r1", transport="NO_SIGNAL")]
    with store.transaction():
        store.record([source(*entries)], "run", Clock().wall())
        wake.raise_flag()
    with subprocess.Popen([sys.executable, "-c", HELD_AT_THE_END, settings.file, tmp_path]) as loop:
        until((tmp_path / "at-the-end").exists, "the loop has nothing more to do")
        entries.append(raw_entry("second", resource="r2", transport="NO_SIGNAL"))
        with store.transaction():
            store.record([source(*entries)], "run", Clock().wall())
            wake.raise_flag()
        assert wake.ring(), "it still runs"
        (tmp_path / "go-on").touch()
        assert loop.wait(DEADLINE) == 0
    assert {entry.state for entry in store.entries()} == {DONE} and len(live(store)) == 2
    assert not wake.flag.exists()
    store.close()


def hold_and_tell(state_dir: Path, held: multiprocessing.queues.Queue[bool], leave: Path) -> None:
    wake = Wake(state_dir)
    held.put(wake.hold())
    until(leave.exists, "everybody has tried")


def test_of_many_that_want_to_be_the_loop_one_is(settings: Settings, tmp_path: Path) -> None:
    held: multiprocessing.queues.Queue[bool] = SPAWN.Queue()
    leave = tmp_path / "leave"
    many = [SPAWN.Process(target=hold_and_tell, args=(settings.state_dir, held, leave)) for _ in range(6)]
    for each in many:
        each.start()
    told = [held.get(timeout=DEADLINE) for _ in many]
    leave.touch()
    for each in many:
        each.join(DEADLINE)
    assert sorted(told) == [False] * 5 + [True]


def test_a_loop_that_was_killed_holds_nothing_and_leaves_its_flag(settings: Settings) -> None:
    """SIGKILL: its lock goes with it, and what is pending is said by the flag for whoever starts the next one."""
    code = (
        "import sys, pathlib; from heat_config_kubelet.wake import Wake\n"
        "wake = Wake(pathlib.Path(sys.argv[1])); wake.raise_flag(); assert wake.hold()\n"
        "print('held', flush=True)\n"
        "while True: wake.wait(600)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code, settings.state_dir], stdout=subprocess.PIPE) as loop:
        assert loop.stdout and loop.stdout.readline() == b"held\n"
        other = Wake(settings.state_dir)
        assert other.ring()
        assert not other.hold()
        os.kill(loop.pid, signal.SIGKILL)
    assert other.flag.exists() and other.hold()
    other.let_go(clear_flag=True)


def test_a_ring_wakes_a_loop_in_another_process(settings: Settings) -> None:
    code = (
        "import sys, pathlib; from heat_config_kubelet.wake import Wake\n"
        "wake = Wake(pathlib.Path(sys.argv[1])); assert wake.hold()\n"
        "print('held', flush=True); wake.wait(600); print('woken', flush=True)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code, settings.state_dir], stdout=subprocess.PIPE) as loop:
        assert loop.stdout and loop.stdout.readline() == b"held\n"
        assert Wake(settings.state_dir).ring()
        assert loop.stdout.readline() == b"woken\n"


def open_store(path: Path, go: Path, opened: multiprocessing.queues.Queue[str]) -> None:
    until(go.exists, "all are ready")
    try:
        Store.open(path).close()
        opened.put("")
    except Exception as error:
        opened.put(str(error))


def test_a_store_that_many_make_at_once_is_made_once(tmp_path: Path) -> None:
    opened: multiprocessing.queues.Queue[str] = SPAWN.Queue()
    go = tmp_path / "go"
    many = [SPAWN.Process(target=open_store, args=(tmp_path / "s" / "store.sqlite", go, opened)) for _ in range(6)]
    for each in many:
        each.start()
    go.touch()
    assert [opened.get(timeout=DEADLINE) for _ in many] == [""] * 6
    for each in many:
        each.join(DEADLINE)
