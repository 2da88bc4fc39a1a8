"""What the tests of the core share: metadata as Heat sends it, a clock that stands still, a log that is kept."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from typing import Any

from heat_config_kubelet.clock import Clock
from heat_config_kubelet.deployments import read
from heat_config_kubelet.log import Log
from heat_config_kubelet.manifest_dir import Found, Mark, file_name
from heat_config_kubelet.pods import pods_of
from heat_config_kubelet.store import WANTED, WRITING, WRITTEN, Entry, PodRow, Store
from heat_config_kubelet.values import Identity, Pod, Source

STACK = "shop/5f1c"
START = 1_795_000_000.0
"""The time of day at which a test's clock begins."""


def pod_map(name: str = "web", image: str = "registry.example/app:1", **spec: Any) -> dict[str, Any]:
    """A v1 Pod as a template gives it."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {"containers": [{"name": "c", "image": image}], "terminationGracePeriodSeconds": 2, **spec},
    }


def raw_entry(
    entry_id: str,
    *,
    action: str = "CREATE",
    stack: str = STACK,
    resource: str = "deploy",
    group: str = "kubelet",
    config: Any = None,
    created: str = "2026-11-22T10:00:00Z",
    transport: str = "CFN_SIGNAL",
    inputs: Mapping[str, Any] | None = None,
    outputs: tuple[Mapping[str, Any], ...] = (),
    options: Mapping[str, Any] | None = None,
    name: str = "",
) -> dict[str, Any]:
    """One entry of the metadata's `deployments` as Heat sends it (heat/engine/api.py, format_software_config)."""
    values = {
        "deploy_server_id": "3e5a",
        "deploy_action": action,
        "deploy_stack_id": stack,
        "deploy_resource_name": resource,
        "deploy_signal_transport": transport,
        "deploy_signal_id": f"http://heat.example:8000/v1/signal/{resource}?Signature=none",
        "deploy_signal_verb": "POST",
        **(inputs or {}),
    }
    return {
        "id": entry_id,
        "name": name or resource,
        "group": group,
        "creation_time": created,
        "config": pod_map() if config is None and group == "kubelet" else config,
        "inputs": [{"name": key, "type": "String", "value": value} for key, value in values.items()],
        "outputs": [{"type": "String", "error_output": False, **each} for each in outputs],
        "options": dict(options or {}),
    }


def identity(resource: str = "deploy", stack: str = STACK) -> Identity:
    """The identity that `raw_entry` gives."""
    return Identity(stack, resource)


def source(*entries: Any, name: str = "heat") -> Source:
    """A source that answered with these entries."""
    return Source(name, entries)


class FakeTime:
    """A clock that goes on only when it is told; `jump` corrects the time of day alone."""

    def __init__(self, wall: float = START, steady: float = 500.0) -> None:
        self.wall = wall
        self.steady = steady
        self.slept: list[float] = []
        self.clock = Clock(lambda: self.wall, lambda: self.steady, self._sleep)

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.wall += seconds
        self.steady += seconds

    def jump(self, seconds: float) -> None:
        """Correct the time of day."""
        self.wall += seconds

    def _sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.advance(seconds)


class KeptLog(Log):
    """A log whose lines can be looked at."""

    def __init__(self) -> None:
        self._kept = io.StringIO()
        super().__init__("debug", out=self._kept, journal=False)

    @property
    def text(self) -> str:
        """All lines so far."""
        return self._kept.getvalue()


def take_in(store: Store, *sources: Source, now: float = START, mode: str = "run") -> None:
    """Record what the sources answered, as `run` does."""
    with store.transaction():
        store.record(sources, mode, now)


def live(store: Store) -> dict[str, Entry]:
    """The live entries by id."""
    return {entry.deployment.id: entry for entry in store.entries()}


def only(items: Iterator[Any] | tuple[Any, ...] | list[Any]) -> Any:
    """The one item there is."""
    (item,) = items
    return item


def make_entry(
    raw: Mapping[str, Any], sequence: int = 1, *, state: str = WANTED, sources: tuple[str, ...] = ("heat",)
) -> Entry:
    """An entry as the store gives it, with nothing done yet."""
    return Entry(
        sequence=sequence,
        deployment=read(raw, "test"),
        sources=sources,
        mode="run",
        seen_at=START,
        vanished_at=None,
        state=state,
        started_at=None,
        decided_at=None,
        result=None,
        signal="",
        attempts=0,
        next_attempt=0.0,
        answer="",
        hook="",
    )


def pods_of_entry(entry: Entry) -> tuple[Pod, ...]:
    """The pods that an entry wants; raises PodError."""
    return pods_of(entry.deployment.config, identity=entry.deployment.identity)


def make_row(pod: Pod, owner: Identity, *, phase: str = WRITTEN, source: str = "heat", uid: str = "uid-1") -> PodRow:
    """A manifest of ours as the store has it."""
    return PodRow(
        key=pod.key,
        identity=owner,
        source=source,
        file=file_name(owner, pod.key),
        content_hash=pod.content_hash,
        generation="1",
        uid=uid,
        file_hash="" if phase == WRITING else "file-" + uid,
        grace=2.0,
        phase=phase,
        since=START,
    )


def file_of(row: PodRow) -> Found:
    """The file of a manifest as it was written."""
    mark = Mark(row.identity, row.source, row.content_hash, row.generation, row.uid)
    return Found(row.file, row.key, mark, row.grace, "file-" + row.uid)
