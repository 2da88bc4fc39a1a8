"""A node for the loop's unit tests: real store, directory and parts; kubelet, Heat, hooks and time are played.

Time stands still while the loop works and goes on while it waits, so that minutes pass in milliseconds.
"""

from __future__ import annotations

import json
import random
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from support import FakeTime, KeptLog, live, source

from heat_config_kubelet.delivery import Delivery
from heat_config_kubelet.errors import KubeletError, KubeletRefusedError
from heat_config_kubelet.hook_queue import HookQueue
from heat_config_kubelet.hooks import HookRun
from heat_config_kubelet.kubelet_api import KubeletApi
from heat_config_kubelet.kubelet_log import KubeletLog, LogPosition
from heat_config_kubelet.kubelet_service import KubeletService, ServiceReport, ServiceState
from heat_config_kubelet.kubelet_view import KubeletView
from heat_config_kubelet.ledger import Ledger
from heat_config_kubelet.loop import Loop, Parts
from heat_config_kubelet.manifest_dir import ManifestDir
from heat_config_kubelet.manifests import Manifests
from heat_config_kubelet.pod_judge import PodJudge
from heat_config_kubelet.pod_words import host_ports
from heat_config_kubelet.settings import Settings
from heat_config_kubelet.signals import Answer, AnswerKind
from heat_config_kubelet.store import APPLIED, Entry, Recorded, Store
from heat_config_kubelet.summary import Summarizer
from heat_config_kubelet.values import ContainerState, ContainerStatus, Deployment, PodStatus, Result, Source
from heat_config_kubelet.wake import Wake

NEVER_PULL = "never-there:1"
"""An image that the fake kubelet does not have and may not pull."""
NEVER_READY = "never-ready:1"
"""One whose containers run and are never ready."""
_MOST_WAITS = 20000


@dataclass
class _Running:
    manifest: dict[str, Any]
    started_at: float
    absent: frozenset[str]
    """Images that were not there when it was looked for them, once."""
    ends_at: float | None = None


class FakeKubelet:
    """Runs what is in the directory; a pod whose file is gone leaves `pods` at once and the runtime after its grace."""

    def __init__(self, folder: Path, time: FakeTime) -> None:
        self.folder = folder
        self._time = time
        self._running: dict[str, _Running] = {}
        self.start_seconds = 0.5
        self.absent = frozenset({NEVER_PULL})
        """Images that are not on the node, and are not pulled."""
        self.problem: KubeletError | None = None
        self.stuck = False
        """Whether pods that are to end do not."""
        self.starts: list[tuple[str, str]] = []
        """Name and UID of every pod that was ever started."""

    def sync(self) -> None:
        """Do what the kubelet does when its directory changes."""
        now, files = self._time.steady, {}
        for path in sorted(self.folder.glob("[!.]*")):
            if path.is_file():
                manifest = json.loads(path.read_text())
                files[manifest["metadata"].get("uid", path.name)] = manifest
        for uid, manifest in files.items():
            if uid not in self._running:
                self._running[uid] = _Running(manifest, now, self.absent)
                self.starts.append((manifest["metadata"]["name"], uid))
        for uid, pod in list(self._running.items()):
            if uid not in files and pod.ends_at is None:
                pod.ends_at = now + pod.manifest["spec"].get("terminationGracePeriodSeconds", 30)
            if pod.ends_at is not None and now >= pod.ends_at and not self.stuck:
                del self._running[uid]

    def in_runtime(self, uid: str) -> bool:
        """Whether a pod's containers are there."""
        self.sync()
        return uid in self._running

    def pods(self) -> tuple[PodStatus, ...]:
        """What its API answers."""
        if self.problem:
            raise self.problem
        self.sync()
        return tuple(self._status(uid, pod) for uid, pod in self._running.items() if pod.ends_at is None)

    def last_words(self, *_: str, tail: int) -> str:
        """A container's log."""
        return f"the last {tail} lines"

    def _status(self, uid: str, pod: _Running) -> PodStatus:
        metadata, spec = pod.manifest["metadata"], pod.manifest["spec"]
        ready = self._time.steady - pod.started_at >= self.start_seconds
        before = [each for each in self._running.values() if each.started_at < pod.started_at]
        rejected = any(host_ports(spec) & host_ports(each.manifest["spec"]) for each in before)
        containers = tuple(self._container(each, ready, each["image"] in pod.absent) for each in spec["containers"])
        ready = all(each.ready for each in containers)
        return PodStatus(
            uid=uid,
            namespace=metadata.get("namespace", "default"),
            name=metadata["name"] + "-node",
            annotations=metadata.get("annotations", {}),
            phase="Failed" if rejected else "Running" if ready else "Pending",
            reason="NodePorts" if rejected else "",
            message="",
            ready=ready,
            sandbox_ready=True,
            pod_ip="10.88.0.7",
            host_ip="192.0.2.1",
            restart_policy="Always",
            containers=containers,
        )

    def _container(self, spec: dict[str, Any], ready: bool, absent: bool) -> ContainerStatus:
        return ContainerStatus(
            name=spec["name"],
            init=False,
            image=spec["image"],
            image_id="" if absent else "sha256:1",
            container_id="" if absent or not ready else "containerd://1",
            ready=ready and not absent and spec["image"] != NEVER_READY,
            restart_count=0,
            state=ContainerState.RUNNING if ready and not absent else ContainerState.WAITING,
            reason="ErrImageNeverPull" if absent else "" if ready else "ContainerCreating",
            message="not present with pull policy of Never" if absent else "",
        )


class FakeLog:
    """The kubelet's own log."""

    def __init__(self) -> None:
        self.lines: tuple[str, ...] = ()

    def position(self) -> LogPosition:
        """Its end."""
        return LogPosition()

    def read(self, position: LogPosition) -> tuple[tuple[str, ...], LogPosition]:
        """What is new in it, once."""
        lines, self.lines = self.lines, ()
        return lines, position

    def last(self, count: int) -> tuple[str, ...]:
        """Its end."""
        return self.lines[-count:]


class FakeService:
    """Whether the kubelet can be started."""

    def __init__(self) -> None:
        self.report = ServiceReport(ServiceState.STARTING, "the kubelet is starting")
        self.asked = 0

    def ensure(self) -> ServiceReport:
        """What was done about it."""
        self.asked += 1
        return self.report


class FakeHeat:
    """Takes signals; answers other than "accepted" are given by entry id."""

    def __init__(self) -> None:
        self.answers: dict[str, list[Answer]] = {}
        self.got: list[tuple[str, dict[str, Any]]] = []

    def send(self, deployment: Deployment, body: bytes) -> Answer:
        """Take one signal."""
        self.got.append((deployment.id, json.loads(body)))
        waiting = self.answers.get(deployment.id)
        return waiting.pop(0) if waiting else Answer(AnswerKind.ACCEPTED, "200")

    def codes(self) -> list[tuple[str, int]]:
        """Every signal's entry and status code, in their order."""
        return [(entry_id, body["deploy_status_code"]) for entry_id, body in self.got]

    def body(self, entry_id: str) -> dict[str, Any]:
        """The last signal of an entry."""
        return next(body for each, body in reversed(self.got) if each == entry_id)


class FakeHook:
    """A hook's process that ends after some time."""

    record = '{"pid": 1}'

    def __init__(self, time: FakeTime, seconds: float, result: Result) -> None:
        self._time = time
        self._until = time.steady + seconds
        self._result = result

    def fileno(self) -> int:
        """None to watch."""
        return -1

    def poll(self) -> Result | None:
        """Its result once it has ended."""
        return self._result if self._time.steady >= self._until else None


class Hooks:
    """The hooks of other groups: what ran, and how long and to what end each runs."""

    def __init__(self, time: FakeTime, folder: Path) -> None:
        self._time = time
        self.ran: list[str] = []
        self.seconds: dict[str, float] = {}
        self.results: dict[str, Result] = {}
        self.before: Callable[[], object] = lambda: None
        self.folder = folder / "hooks"
        self.folder.mkdir()
        for name in ("script", "ansible"):
            (self.folder / name).write_text("#!/bin/sh\n")
            (self.folder / name).chmod(0o700)

    def start(self, deployment: Deployment, _: Path, *, deployed_dir: Path, state_dir: Path) -> HookRun:
        """Stands for `HookRun.start`: the mark first."""
        assert state_dir.is_dir()
        deployed_dir.mkdir(exist_ok=True)
        (deployed_dir / f"{deployment.id}.json").write_text("{}")
        self.before()
        self.ran.append(deployment.id)
        result = self.results.get(deployment.id, Result(0, "done", ""))
        return cast(HookRun, FakeHook(self._time, self.seconds.get(deployment.id, 1.0), result))


class FakeWake(Wake):
    """Time goes on while the loop waits; what is planned for a moment happens then."""

    def __init__(self, state_dir: Path, time: FakeTime, signals_under_way: Callable[[], bool]) -> None:
        super().__init__(state_dir)
        self._time = time
        self._under_way = signals_under_way
        self._notified = threading.Event()
        self.planned: list[tuple[float, Callable[[], object]]] = []
        self.pauses: list[float] = []
        self.ended = False

    def notify(self) -> None:
        """A signal's attempt has ended."""
        self._notified.set()

    def wait(self, seconds: float) -> None:
        """Let time pass, up to what is planned next."""
        assert len(self.pauses) < _MOST_WAITS, "the loop does not end"
        if self._under_way():
            assert self._notified.wait(10)
            self._notified.clear()
            return
        self.pauses.append(seconds)
        until = self._time.steady + seconds
        due = [each for each in self.planned if each[0] <= until]
        if due:
            moment, happens = min(due, key=lambda each: each[0])
            self.planned.remove((moment, happens))
            self._time.advance(max(0.0, moment - self._time.steady))
            happens()
        else:
            self._time.advance(seconds)

    def let_go(self, *, clear_flag: bool) -> None:
        """The end of the loop."""
        self.ended = clear_flag
        super().let_go(clear_flag=clear_flag)


class Node:
    """All of it; `collect` is what `run` does, `work` is one life of the loop."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.time = FakeTime()
        self.log = KeptLog()
        self.heat = FakeHeat()
        self.service = FakeService()
        self.kubelet_log = FakeLog()
        self.folder = folder / "manifests"
        self.kubelet = FakeKubelet(self.folder, self.time)
        self.hooks = Hooks(self.time, folder)
        self.settings = Settings(
            folder / "none",
            state_dir=folder,
            run_dir=folder / "run",
            hooks_dirs=(self.hooks.folder,),
            deployed_dir=folder / "deployed",
            **settings,
        )
        self.other = Store.open(self.settings.store_file)
        """Another process's connection."""
        self.broken = ""
        self.wake = FakeWake(folder, self.time, lambda: False)
        self._planned: list[tuple[float, Callable[[], object]]] = []
        self.directory_of: Callable[[Path], ManifestDir] = ManifestDir
        self.open_store: Callable[[Path], Store] = Store.open

    def collect(self, *entries: Any, name: str = "heat", mode: str = "run") -> Recorded:
        """Record what a source answers."""
        return self.collect_from(source(*entries, name=name), mode=mode)

    def collect_from(self, *sources: Source, mode: str = "run") -> Recorded:
        """Record what several sources answer in one pass."""
        with self.other.transaction():
            self.other.put("mode", mode)
            recorded = self.other.record(sources, mode, self.time.wall)
            self.wake.raise_flag()
        return recorded

    def applied(self, problem: str = "") -> None:
        """Note os-apply-config's end."""
        self.other.put(APPLIED, json.dumps([self.time.wall, problem]))

    def after(self, seconds: float, happens: Callable[[], object]) -> None:
        """Plan something for the next life of the loop."""
        self._planned.append((self.time.steady + seconds, happens))

    def parts(self, store: Store) -> Parts:
        """Put a loop together over the real parts."""
        clock = self.time.clock
        ledger = Ledger(store, clock, self.log)
        directory = self.directory_of(self.folder)
        delivery = Delivery(ledger, self.heat, self.settings, lambda: self.wake.notify(), random.Random(7))
        self.wake = FakeWake(self.settings.state_dir, self.time, lambda: bool(delivery._threads.under_way))
        self.wake.planned, self._planned = self._planned, []
        view = KubeletView(
            cast(KubeletApi, self.kubelet),
            cast(KubeletLog, self.kubelet_log),
            cast(KubeletService, self.service),
            directory,
            self.log,
            clock=clock,
            broken=self.broken,
        )
        return Parts(
            settings=self.settings,
            wake=self.wake,
            ledger=ledger,
            manifests=Manifests(store, directory, self.kubelet.in_runtime, self.log, clock),
            view=view,
            judge=PodJudge(ledger, view, self.settings),
            hooks=HookQueue(ledger, self.settings, self.wake, self.log, start=self.hooks.start),
            delivery=delivery,
            summary=Summarizer(self.settings, self.log, clock),
            log=self.log,
        )

    def work(self) -> None:
        """Live until nothing is pending."""
        store = self.open_store(self.settings.store_file)
        try:
            Loop(self.parts(store)).run()
        finally:
            store.close()
        assert self.wake.ended and not self.wake.flag.exists()

    def close(self) -> None:
        """Give the store back."""
        self.other.close()

    # --- what there is

    @property
    def entries(self) -> dict[str, Entry]:
        """The live entries by id."""
        return live(self.other)

    def uids(self) -> dict[str, str]:
        """The UID of every pod in the directory, by its name."""
        found = (json.loads(path.read_text()) for path in self.folder.glob("[!.]*") if path.is_file())
        return {each["metadata"]["name"]: each["metadata"]["uid"] for each in found}

    def files(self) -> dict[str, tuple[int, int]]:
        """Inode and time of change of every manifest, by its pod's name."""
        return {
            json.loads(path.read_text())["metadata"]["name"]: (path.stat().st_ino, path.stat().st_mtime_ns)
            for path in self.folder.glob("[!.]*")
            if path.is_file()
        }

    def file(self, pod: str) -> Path:
        """The manifest of a pod."""
        return next(path for path in self.folder.glob(f"heat-{pod}-*"))

    def images(self) -> dict[str, str]:
        """The image of every pod in the directory, by its name."""
        found = (json.loads(path.read_text()) for path in self.folder.glob("[!.]*") if path.is_file())
        return {each["metadata"]["name"]: each["spec"]["containers"][0]["image"] for each in found}


def refuses(text: str) -> KubeletRefusedError:
    """A kubelet that does not let us in."""
    return KubeletRefusedError(text)
