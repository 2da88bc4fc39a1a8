"""The list of figures: what is taken, beside what, and the goal."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator

from heatlab import templates
from lab.node import LabNode
from lab.receiver import Receiver

from . import agents, answers, images, measure, with_heat
from .figures import Cell, Figure, at_most, at_most_beyond, at_most_ratio
from .heat_agents import chain
from .with_heat import Cloud

Runs = tuple[Callable[[], None], ...]


def figures(node: LabNode, receiver: Receiver, cloud: Cloud, pair: tuple[str, str]) -> Iterator[tuple[Figure, Runs]]:
    """Give each figure and how one run of each of its sides is taken; a run fills the figure in.

    `pair` is the transports, of the server and of the signal, of the figure that has one pair.
    """
    yield _pass_of_one(node)
    yield from _pass_of_fifty(node)
    yield from _answers(node)
    for count in (1, 10):
        yield _start(node, count)
    yield _to_signal(node, receiver)
    yield _update(node)
    yield from _hundred(node, receiver)
    yield _agents(node, receiver)
    yield from _image()
    yield from _complete(node, cloud, pair)
    for transport in templates.SERVER_TRANSPORTS:
        yield from _transports(node, cloud, transport)


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


def _answers(node: LabNode) -> Iterator[tuple[Figure, Runs]]:
    found = {
        command: Figure(
            f"commands answer, {answers.COUNT} deployments: {' '.join(command)}",
            "s",
            f"≤ {answers.GOAL} s",
            at_most(answers.GOAL),
        )
        for command in answers.COMMANDS
    }
    first, *others = found.values()

    def take() -> None:
        for command, seconds in answers.answers(node).items():
            found[command].ours.append(seconds)

    yield first, (take,)
    for each in others:
        yield each, ()


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


def _agents(node: LabNode, receiver: Receiver) -> tuple[Figure, Runs]:
    name = f"{agents.COUNT} agents, 1 deployment each: change → signal, CPU of each (the kubelets are played)"
    figure = Figure(name, "s", "≤ 0.5 ×", at_most_ratio(0.5), "heat-agents' chain, a hook that does nothing")
    return figure, (
        lambda: figure.ours.append(agents.ours(node, receiver)),
        lambda: figure.theirs.append(agents.theirs(node, receiver)),
    )


def _image() -> Iterator[tuple[Figure, Runs]]:
    name, peer = "built image on a virtual machine", "the same image, bare kubelet, the manifest there"
    seconds = Figure(f"{name}: power switch → pod runs", "s", "≤ 1.25 ×", at_most_ratio(1.25), peer)
    memory = Figure(f"{name}: memory in use when quiet", "MB", "≤ + 60 MB", at_most_beyond(60.0), peer)

    update = Figure(
        "built image on a virtual machine: update of a pod, asked to end → the new one runs, beyond its grace period",
        "s",
        "≤ + 0.5 s",
        at_most_beyond(0.5),
        "the same image, the kubelet alone, another manifest",
    )

    def take(which: str) -> None:
        found = images.boot(which)
        for figure, name in ((seconds, "seconds"), (memory, "megabytes"), (update, "beyond_grace")):
            (figure.ours if which == "ours" else figure.theirs).append(found[name])

    yield seconds, (lambda: take("ours"), lambda: take("bare"))
    yield memory, ()
    yield update, ()


def _complete(node: LabNode, cloud: Cloud, pair: tuple[str, str]) -> Iterator[tuple[Figure, Runs]]:
    """Means: node and Heat each look once a second, so that single runs are far apart."""
    name = f"with Heat, {' + '.join(pair)}, polled every {with_heat.POLLING_INTERVAL:g} s: 1 pod → COMPLETE"
    whole = Figure(name, "s", peer="an agent that answers at once", average=statistics.mean)
    beyond = Figure(
        "with Heat: the same beyond an agent that answers at once",
        "s",
        "≤ + 0.6 s",
        at_most_beyond(0.6),
        "manifest → Running, the kubelet alone",
        average=statistics.mean,
    )

    def ours() -> None:
        whole.ours.append(with_heat.complete(node, cloud, pair, len(whole.ours)))

    def at_once() -> None:
        whole.theirs.append(with_heat.complete(node, cloud, pair, len(whole.theirs), at_once=True))
        beyond.ours.append(whole.ours[-1] - whole.theirs[-1])

    yield whole, (ours, at_once, lambda: beyond.theirs.append(measure.started_alone(node, 1)))
    yield beyond, ()


def _transports(node: LabNode, cloud: Cloud, transport: str) -> Iterator[tuple[Figure, Runs]]:
    cells = {
        signal: Cell(f"transports: {transport} + {signal}", "s", row=transport, column=signal)
        for signal in templates.SIGNAL_TRANSPORTS
    }
    first, *others = cells.values()

    def take() -> None:
        for signal, seconds in with_heat.transports(node, cloud, transport, len(first.ours)).items():
            cells[signal].ours.append(seconds)

    yield first, (take,)
    for each in others:
        yield each, ()
