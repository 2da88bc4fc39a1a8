"""What every command for a person says on a real node in each of the states that are seen at night."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import pytest
from faults.catalogue import FAULTS, failed
from faults.sick_node import SickNode
from lab import deployments as heat
from lab import every_command, expected
from lab.readiness import is_ready

from heat_config_kubelet.store import PENDING

VARIES = {
    "(?m)(?<=  )[#|]+$": "BAR",
    r"tried (once|\d+ times), again (now|in [\d.]+s)": "tried N times, again in TIME",
    r"attempts: \d+": "attempts: N",
    r"; the last errors of its log: .*": "; LOG",
    r"Metadata as received\n(.|\n)*?(?=\nexit status)": "Metadata as received: …",
}
SHOWN = [each for each in (*every_command.LOOKS, *every_command.CHANGES) if each != ("config",)]
"""The settings in force are the same in each state."""

State = Callable[[SickNode], contextlib.AbstractContextManager[None]]


@contextlib.contextmanager
def healthy(_: SickNode) -> Iterator[None]:
    yield


@contextlib.contextmanager
def pending(sick: SickNode) -> Iterator[None]:
    entry = sick.entry("slow", sick.gated("slow"), options={"min_ready_seconds": 600, "containers_timeout": 900})
    with sick.deployed(entry):
        sick.wait_until(entry, lambda each: each.started_at is not None, "the work on it to begin")
        sick.node.wait_for(lambda: "ready" in sick.node.agent("timeline", "slow").stdout, "its pod to be ready")
        yield


def wait_until_well(sick: SickNode) -> None:
    """Of the state before nothing may be left."""
    sick.node.wait_for(lambda: sick.node.agent("status").returncode == 0, "all to be well")
    sick.node.wait_for(lambda: not sick.node.agent("logs", "web").stderr, "the kubelet to have the runtime's logs")


@contextlib.contextmanager
def failing(sick: SickNode) -> Iterator[None]:
    pod = heat.pod("bad", image="lab.local/none:1", container={"imagePullPolicy": "Never"})
    with failed(sick, sick.entry("bad", pod)):
        yield


@contextlib.contextmanager
def heat_away(sick: SickNode) -> Iterator[None]:
    sick.heat.refuse()
    late = sick.entry("late")
    try:
        with sick.deployed(late):
            sick.wait_until(late, lambda each: each.signal == PENDING and each.attempts > 0, "an attempt in vain")
            sick.node.wait_for(lambda: is_ready(sick.node.pod("late")), "its pod to be ready")
            yield
            sick.heat.listen()
            sick.wait_until_settled(late)
    finally:
        sick.heat.listen()


@contextlib.contextmanager
def read_only(sick: SickNode) -> Iterator[None]:
    with sick.read_only(sick.node.state_dir), sick.read_only(sick.node.manifests):
        yield


STATES: dict[str, State] = {
    "healthy": healthy,
    "pending": pending,
    "failed": failing,
    "heat-away": heat_away,
    "read-only": read_only,
    **{
        name: FAULTS[name].put
        for name in (
            "clock",
            "disk-full",
            "kubelet-stopped",
            "runtime-stopped",
            "store-damaged",
            "store-missing",
            "store-newer",
        )
    },
}


@pytest.mark.parametrize("state", STATES)
def test_every_command(sick: SickNode, state: str) -> None:
    wait_until_well(sick)
    with STATES[state](sick):
        told = every_command.answers(sick.node.environment, *SHOWN)
        every_command.collected(sick.node.environment, sick.work / "collected.tar.gz")
    expected.check(f"states/{state}", "\n".join(map(str, told)), node=sick.node.name, also=VARIES)
