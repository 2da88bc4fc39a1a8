"""Whole deployments through real Heat: ours beside an agent that answers at once, and all pairs of transports.

The node has booted as the server of a stack and polls; what is measured is an update of the stack that adds one
deployment, from the request until Heat says that this is CREATE_COMPLETE. (In a stack of its own it could not be had
by ZAQAR_MESSAGE: Heat writes to the server's queue as the deployment's stack, and is refused.)
"""

from __future__ import annotations

import itertools
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType

from heatlab import templates
from heatlab.guest import Guest
from heatlab.lab import HeatLab
from heatlab.stacks import Stack, Stacks
from lab.node import LabNode
from lab.progress import Progress

from . import measure

POLLING_INTERVAL = 1.0
"""Seconds."""
_SECTIONS = dict(zip(templates.SERVER_TRANSPORTS, ("cfn", "heat", "request", "zaqar"), strict=True))
"""The section of os-collect-config.conf that has Heat's settings for each transport."""
_AT_ONCE = Path(__file__).with_name("answer_at_once.py")
_SECONDS = 60.0
_SPREAD = 0.618
"""Multiples of it spread evenly over a polling interval, however many there are."""
_numbers = itertools.count()


class Cloud:
    """Real Heat, started when it is first needed, and a server in it for each transport; a context manager."""

    def __init__(self, folder: Path, say: Progress) -> None:
        self._folder = folder
        self._say = say
        self._open = ExitStack()
        self._stacks: Stacks | None = None
        self._servers: dict[str, Stack] = {}

    def __enter__(self) -> Cloud:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()

    @property
    def stacks(self) -> Stacks:
        """The stacks of its ordinary user."""
        if not self._stacks:
            lab = self._open.enter_context(HeatLab(self._folder, self._say))
            self._stacks = Stacks(lab.plan)
        return self._stacks

    def server(self, transport: str) -> Stack:
        """The stack of the server that is polled by this transport."""
        if transport not in self._servers:
            made = self.stacks.create(f"server-{next(_numbers)}", templates.template(templates.server(transport)))
            made.wait_for("CREATE_COMPLETE")
            self._servers[transport] = made
        return self._servers[transport]


def complete(node: LabNode, cloud: Cloud, pair: tuple[str, str], run: int, *, at_once: bool = False) -> float:
    """Seconds until a new deployment with a pod is complete; with `at_once` an agent answers without it.

    `run` counts the runs: the deployment comes at another moment of the polling interval in each, and the moments of
    many runs are spread evenly, on both sides the same.
    """
    transport, signal = pair
    _boot(node, cloud.server(transport), transport, at_once=at_once)
    return _deployed(node, cloud, transport, signal, run)


def transports(node: LabNode, cloud: Cloud, transport: str, run: int) -> dict[str, float]:
    """Seconds until a new deployment with a pod is complete, by signal transport.

    Where nothing is signalled Heat waits for nothing: there it is the seconds until the pod runs.
    """
    _boot(node, cloud.server(transport), transport)
    return {signal: _deployed(node, cloud, transport, signal, run) for signal in templates.SIGNAL_TRANSPORTS}


def _boot(node: LabNode, server: Stack, transport: str, *, at_once: bool = False) -> None:
    """Boot the node as this server, and wait until it polls Heat by this transport."""
    settings = server.attribute("server", "os_collect_config")
    if at_once:
        settings = {**settings, "command": f"{sys.executable} {_AT_ONCE} {node.folder / 'answered'}"}
    Guest(node, polling_interval=POLLING_INTERVAL).boot_with(settings)
    config, section = node.collector.config_file, f"[{_SECTIONS[transport]}]"
    node.wait_for(
        lambda: section in config.read_text() and _polled_at(node) > config.stat().st_mtime, "the node to poll Heat"
    )


def _polled_at(node: LabNode) -> float:
    """When os-collect-config last wrote what the image's own source says, as it does at every poll."""
    return (node.collector.cache / "image.json").stat().st_mtime


def _deployed(node: LabNode, cloud: Cloud, transport: str, signal: str, run: int) -> float:
    (name,) = measure.names(1)
    stack, server = cloud.server(transport), templates.server(transport)
    options = {"min_ready_seconds": 0, "poll_period": 1}
    part = templates.deployment(name, measure.pod(name), signal, options=options)
    last = _polled_at(node)
    node.wait_for(lambda: _polled_at(node) != last, "a poll")
    time.sleep(run * _SPREAD % 1.0 * POLLING_INTERVAL)
    began = time.monotonic()
    stack.update(templates.template(server, part))
    ended = _running_at(node, name) if signal == "NO_SIGNAL" else None
    stack.wait_for_resource(name, "CREATE_COMPLETE", _SECONDS)
    ended = ended or time.monotonic()
    stack.wait_for("UPDATE_COMPLETE", _SECONDS)
    stack.update(templates.template(server))
    node.wait_for(lambda: name not in stack.resources(), "the deployment to be gone", _SECONDS)
    stack.wait_for("UPDATE_COMPLETE", _SECONDS)
    node.wait_for(lambda: not node.pods(), "the pod to be gone", _SECONDS)
    measure.wait_idle(node)
    return ended - began


def _running_at(node: LabNode, name: str) -> float:
    with measure.Observer(node).watching() as seen:
        uid = node.wait_for(
            lambda: next((uid for uid, each in seen.names.items() if each.startswith(name)), None), "the pod", _SECONDS
        )
        return seen.running[uid]
