"""tools/demo shows what it should, and leaves nothing, killed or not."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from lab.binaries import Binaries

COMMAND = (sys.executable, str(Path(__file__).parents[2] / "tools" / "demo"))


def left() -> set[str]:
    """The demo's folders, and the processes that name one."""
    found = {str(path) for path in Path("/tmp").glob("demo-*")}
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            text = process.read_bytes().decode(errors="replace")
        except OSError:
            continue
        if "/tmp/demo-" in text:
            found.add(text.replace("\0", " "))
    return found


@contextmanager
def leaving_nothing() -> Iterator[None]:
    before = left()
    yield
    assert left() <= before


def test_it_shows_the_main_job(programs: Binaries) -> None:
    with leaving_nothing():
        done = subprocess.run(COMMAND, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.endswith("Everything was seen that should be.\n")
    assert "  NOT  " not in done.stdout


def until_it_deploys(told: Iterable[str]) -> None:
    for line in told:
        if "os-collect-config brings" in line:
            return
    raise AssertionError("it never came so far")


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGINT])
def test_it_can_be_ended_at_any_time(end: signal.Signals, programs: Binaries) -> None:
    with leaving_nothing():
        demo = subprocess.Popen(COMMAND, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        assert demo.stdout
        with demo.stdout as told:
            until_it_deploys(told)
            demo.send_signal(end)
            rest = told.read()
        assert demo.wait(60) == 130
    assert rest.endswith("Interrupted.\n")


def test_it_can_be_killed(programs: Binaries) -> None:
    before = left()
    demo = subprocess.Popen(COMMAND, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert demo.stdout
    with demo.stdout as told:
        until_it_deploys(told)
        demo.kill()
        demo.wait()
    deadline = time.monotonic() + 30
    while not left() <= before:
        assert time.monotonic() < deadline, left() - before
        time.sleep(0.1)
