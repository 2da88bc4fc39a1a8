"""Takes the measurements, each on a node on which nothing was ever deployed."""

from __future__ import annotations

import itertools
import json
import resource
import shlex
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab import deployments as heat
from lab.images import BUSYBOX
from lab.node import LabNode
from lab.receiver import Receiver

GRACE = 2
"""Seconds; of every pod here."""
_LOOK_SECONDS = 0.01
_runs = itertools.count()


@dataclass(frozen=True)
class Cost:
    """What a process took, in seconds; the loop that it leaves behind is not in it."""

    wall: float
    cpu: float


def pod(name: str, *, host_network: bool = False, marker: str = "") -> dict[str, Any]:
    """A pod that runs for ever and ends only when it is killed."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {
            "terminationGracePeriodSeconds": GRACE,
            "hostNetwork": host_network,
            "containers": [
                {
                    "name": "main",
                    "image": BUSYBOX,
                    "command": ["/bin/busybox", "sleep", "1000000"],
                    "env": [{"name": "MARKER", "value": marker}],
                }
            ],
        },
    }


class Observer:
    """Looks at the kubelet, and at a manifest, as often as it can, and notes when each pod first ran."""

    def __init__(self, node: LabNode) -> None:
        self._node = node
        self._ended = threading.Event()
        self.running: dict[str, float] = {}
        """By UID, steady seconds."""
        self.names: dict[str, str] = {}

    @contextmanager
    def watching(self) -> Iterator[Observer]:
        """Look until the end of the block."""
        thread = threading.Thread(target=self._look, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._ended.set()
            thread.join()

    def _look(self) -> None:
        while not self._ended.wait(_LOOK_SECONDS):
            pods = self._node.pods()
            now = time.monotonic()
            for each in pods:
                if each.get("status", {}).get("phase") == "Running":
                    uid = each["metadata"]["uid"]
                    self.running.setdefault(uid, now)
                    self.names.setdefault(uid, each["metadata"]["name"])

    def wait(self, count: int, timeout: float = 120.0) -> float:
        """Wait until so many pods have run; gives when the last one first did."""
        self._node.wait_for(lambda: len(self.running) >= count, f"{count} pods Running", timeout)
        return max(sorted(self.running.values())[:count])


def timed_run(node: LabNode, metadata: dict[str, Any], *, command: tuple[str, ...] = ()) -> Cost:
    """Run one pass of the agent, or another command with the same metadata, and say what it took."""
    file = node.folder / "heat.json"
    file.write_text(json.dumps(metadata))
    program = command or (str(Path(sys.executable).with_name("heat-config-kubelet")), "run")
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    began = time.monotonic()
    subprocess.run(
        program,
        env={**node.environment, "OS_CONFIG_FILES": str(file)},
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    wall = time.monotonic() - began
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return Cost(wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)


def wait_idle(node: LabNode, timeout: float = 120.0) -> None:
    """Wait until nothing is pending and no loop runs."""
    node.wait_for(lambda: not (node.state_dir / "pending").exists() and not loops(node), "the loop's end", timeout)


def loops(node: LabNode) -> list[int]:
    """The process ids of this node's loops."""
    mark = f"HEAT_CONFIG_KUBELET_SETTINGS={node.settings_file}".encode()
    found = []
    for each in Path("/proc").iterdir():
        if not each.name.isdigit():
            continue
        try:
            if b"heat_config_kubelet" in (each / "cmdline").read_bytes() and mark in (each / "environ").read_bytes():
                found.append(int(each.name))
        except OSError:
            continue
    return found


def passes(node: LabNode, count: int) -> Cost:
    """One changed deployment beside `count` - 1 others that stay; without signals and with no pod of theirs."""
    others = [_scripted(f"d{number}") for number in range(count - 1)]
    if others:
        timed_run(node, heat.metadata(*others))
        wait_idle(node)
    return timed_run(node, heat.metadata(*others, _scripted("changed")))


def pass_of_new(node: LabNode, count: int) -> Cost:
    """A first pass with `count` deployments."""
    return timed_run(node, heat.metadata(*(_scripted(f"d{number}") for number in range(count))))


def _scripted(name: str) -> dict[str, Any]:
    """A deployment that is refused by our own checks: it costs a pass what every one costs, and no pod."""
    return heat.deployment(name, {**pod(name), "spec": {}})


def names(count: int) -> list[str]:
    """Names that no run had before: one that a pod has just left is held back by the kubelet for 10 s and more."""
    run = next(_runs)
    return [f"p{run}-{number}" for number in range(count)]


def started_by_us(node: LabNode, count: int) -> float:
    """From the last manifest's rename until the last pod runs: ours."""
    entries = [heat.deployment(name, pod(name)) for name in names(count)]
    with Observer(node).watching() as seen:
        timed_run(node, heat.metadata(*entries))
        last = seen.wait(count)
    first = min(file.stat().st_ctime for file in node.manifests.iterdir() if file.is_file())
    return last - (first - _wall_offset())


def started_alone(node: LabNode, count: int) -> float:
    """The same by the kubelet alone: manifests are renamed in by hand, one after the other."""
    staged = []
    for name in names(count):
        manifest = pod(name)
        manifest["metadata"]["uid"] = str(uuid.uuid4())
        file = node.folder / f"{name}.json"
        file.write_text(json.dumps(manifest, indent=1))
        staged.append(file)
    with Observer(node).watching() as seen:
        began = time.monotonic()
        for file in staged:
            file.rename(node.manifests / file.name)
        return seen.wait(count) - began


def _wall_offset() -> float:
    return time.time() - time.monotonic()


def signalled(node: LabNode, receiver: Receiver, count: int, *, host_network: bool) -> tuple[float, float]:
    """From the last pod's Running until the last signal is received; and the loop's most memory in MB."""
    receiver.forget()
    entries = [
        heat.deployment(
            f"p{number}", pod(f"p{number}", host_network=host_network), receiver, options={"min_ready_seconds": 0}
        )
        for number in range(count)
    ]
    most = _Most(node)
    with Observer(node).watching() as seen, most.watching():
        timed_run(node, heat.metadata(*entries))
        running = seen.wait(count, timeout=300)
        received = max(receiver.wait_for_signal(f"p{number}", timeout=120).at for number in range(count))
    return received - running, most.megabytes


class _Most:
    """The most memory that a node's loop has held: its VmHWM."""

    def __init__(self, node: LabNode) -> None:
        self._node = node
        self._ended = threading.Event()
        self.megabytes = 0.0

    @contextmanager
    def watching(self) -> Iterator[None]:
        thread = threading.Thread(target=self._look, daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._ended.set()
            thread.join()

    def _look(self) -> None:
        while not self._ended.wait(0.2):
            for process in loops(self._node):
                self.megabytes = max(self.megabytes, _most_memory(process))


def _most_memory(process: int) -> float:
    try:
        text = Path(f"/proc/{process}/status").read_text()
    except OSError:
        return 0.0
    lines = [line for line in text.splitlines() if line.startswith("VmHWM:")]
    return int(lines[0].split()[1]) / 1000 if lines else 0.0


def updated_by_us(node: LabNode) -> float:
    """From the removal of a running pod's manifest until its successor runs."""
    first = heat.deployment("p", pod("p", marker="old"))
    timed_run(node, heat.metadata(first))
    wait_idle(node)
    old = next(file for file in node.manifests.iterdir() if file.is_file())
    removed = _when(lambda: not old.exists() or old.stat().st_mtime > changed_at)
    changed_at = time.time()
    with Observer(node).watching() as seen:
        seen.running.update({each["metadata"]["uid"]: 0.0 for each in node.pods()})
        removed.start()
        timed_run(node, heat.metadata(heat.again(first, "UPDATE", pod("p", marker="new"))))
        last = seen.wait(2)
    return last - removed.at()


def updated_plainly(node: LabNode) -> float:
    """From a changed manifest's rename over the running pod's until the new pod runs: the kubelet alone."""
    file = node.manifests / "p.json"

    def put(marker: str) -> None:
        staged = node.folder / "p.json"
        staged.write_text(json.dumps(pod("p", marker=marker), indent=1))
        staged.rename(file)

    with Observer(node).watching() as seen:
        put("old")
        seen.wait(1)
        began = time.monotonic()
        put("new")
        return seen.wait(2) - began


class _when:  # noqa: N801  (reads as a word)
    """Notes when a condition first holds."""

    def __init__(self, condition: Callable[[], bool]) -> None:
        self._condition = condition
        self._at = 0.0
        self._thread = threading.Thread(target=self._look, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def at(self) -> float:
        self._thread.join(60)
        return self._at

    def _look(self) -> None:
        while not self._condition():
            time.sleep(0.002)
        self._at = time.monotonic()


def processes_left(node: LabNode) -> int:
    """Processes of ours when nothing is pending."""
    wait_idle(node)
    return len(loops(node))


def apply_config(node: LabNode) -> Cost:
    """os-apply-config alone, with the same metadata and templates as `run` gives it."""
    command = shlex.split(node.settings.os_apply_config)
    return timed_run(node, heat.metadata(_scripted("changed")), command=tuple(command))
