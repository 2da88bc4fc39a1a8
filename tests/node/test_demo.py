"""tools/demo shows what it should, and leaves nothing, killed or not."""

from __future__ import annotations

import signal

import pytest
from lab.binaries import Binaries
from lab.demo_runs import DemoRun

BEGINNING = "os-collect-config brings"


def test_it_shows_the_main_job(programs: Binaries) -> None:
    demo = DemoRun()
    assert demo.end() == 0, demo.told
    assert demo.told.endswith("Everything was seen that should be.\n")
    assert "  NOT  " not in demo.told
    assert not demo.left()


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGINT])
def test_it_can_be_ended_at_any_time(end: signal.Signals, programs: Binaries) -> None:
    demo = DemoRun()
    demo.until(BEGINNING)
    assert demo.left()
    assert demo.end(end) == 130, demo.told
    assert demo.told.endswith("Interrupted.\n")
    assert not demo.left()


def test_it_can_be_killed(programs: Binaries) -> None:
    demo = DemoRun()
    demo.until(BEGINNING)
    assert demo.left()
    demo.kill()
