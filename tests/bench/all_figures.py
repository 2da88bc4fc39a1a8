"""The list of figures: what is taken, beside what, and the goal."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from lab.node import LabNode
from lab.receiver import Receiver

from . import measure
from .figures import Figure, at_most, at_most_ratio
from .heat_agents import chain

Runs = tuple[Callable[[], None], ...]


def figures(node: LabNode, receiver: Receiver) -> Iterator[tuple[Figure, Runs]]:
    """Give each figure and how one run of each of its sides is taken; a run fills the figure in."""
    yield _pass_of_one(node)
    yield from _pass_of_fifty(node)
    for count in (1, 10):
        yield _start(node, count)
    yield _to_signal(node, receiver)
    yield _update(node)
    yield from _hundred(node, receiver)


def _pass_of_one(node: LabNode) -> tuple[Figure, Runs]:
    figure = Figure("run, 1 changed deployment, wall", "s", "≤ 0.25 s", at_most(0.25), "os-apply-config alone")
    return figure, (
        lambda: figure.ours.append(measure.passes(node, 1).wall),
        lambda: figure.theirs.append(measure.apply_config(node).wall),
    )


def _pass_of_fifty(node: LabNode) -> Iterator[tuple[Figure, Runs]]:
    wall = Figure("run, 50 deployments, wall", "s", "≤ 0.6 s", at_most(0.6), "heat-agents' chain")
    cpu = Figure("run, 50 deployments, CPU", "s", "≤ 0.6 s", at_most(0.6), "heat-agents' chain")

    def ours() -> None:
        cost = measure.pass_of_new(node, 50)
        wall.ours.append(cost.wall)
        cpu.ours.append(cost.cpu)
        measure.wait_idle(node)

    def theirs() -> None:
        cost = chain(node, 50)
        wall.theirs.append(cost.wall)
        cpu.theirs.append(cost.cpu)

    yield wall, (ours, theirs)
    yield cpu, ()


def _start(node: LabNode, count: int) -> tuple[Figure, Runs]:
    pods = "1 pod" if count == 1 else f"{count} pods"
    figure = Figure(f"manifest → Running, {pods}", "s", "≤ 1.05 ×", at_most_ratio(1.05), "the kubelet alone")
    return figure, (
        lambda: figure.ours.append(measure.started_by_us(node, count)),
        lambda: figure.theirs.append(measure.started_alone(node, count)),
    )


def _to_signal(node: LabNode, receiver: Receiver) -> tuple[Figure, Runs]:
    figure = Figure("Running → signal received, 1 pod", "s", "≤ 0.2 s", at_most(0.2))
    return figure, (lambda: figure.ours.append(measure.signalled(node, receiver, 1, host_network=False)[0]),)


def _update(node: LabNode) -> tuple[Figure, Runs]:
    goal = measure.GRACE + 0.7
    figure = Figure(
        f"update of a running pod, grace {measure.GRACE} s", "s", f"≤ {goal} s", at_most(goal), "plain overwriting"
    )
    return figure, (
        lambda: figure.ours.append(measure.updated_by_us(node)),
        lambda: figure.theirs.append(measure.updated_plainly(node)),
    )


def _hundred(node: LabNode, receiver: Receiver) -> Iterator[tuple[Figure, Runs]]:
    delay = Figure("100 pods: last Running → last signal", "s", "≤ 1 s", at_most(1.0))
    memory = Figure("the loop's most memory, 100 pods pending", "MB", "≤ 45 MB", at_most(45.0))
    left = Figure("processes of ours when idle", "", "0", at_most(0.0))

    def ours() -> None:
        seconds, megabytes = measure.signalled(node, receiver, 100, host_network=True)
        delay.ours.append(seconds)
        memory.ours.append(megabytes)
        left.ours.append(float(measure.processes_left(node)))

    yield delay, (ours,)
    yield memory, ()
    yield left, ()
