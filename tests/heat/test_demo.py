"""tools/demo --heat shows what it should, and leaves nothing, killed or not."""

from __future__ import annotations

import signal

from lab.binaries import Binaries
from lab.demo_runs import DemoRun


def test_it_shows_the_life_of_a_stack(programs: Binaries) -> None:
    demo = DemoRun("--heat")
    assert demo.end() == 0, demo.told
    assert demo.told.endswith("Everything was seen that should be.\n")
    assert "  NOT  " not in demo.told
    shown = demo.told.partition("$ openstack stack failures list")[2]
    assert "status: UPDATE_FAILED" in shown
    assert "/absent:1 cannot be pulled" in shown
    assert not demo.left()


def test_it_can_be_ended_while_a_stack_is_made(programs: Binaries) -> None:
    demo = DemoRun("--heat")
    demo.until("a stack is created")
    assert demo.left()
    assert demo.end(signal.SIGINT) == 130, demo.told
    assert demo.told.endswith("Interrupted.\n")
    assert not demo.left()


def test_it_can_be_killed_while_openstack_starts(programs: Binaries) -> None:
    demo = DemoRun("--heat")
    demo.until("starting keystone")
    assert demo.left()
    demo.kill()
