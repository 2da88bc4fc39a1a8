"""What tests of the whole way share: metadata in at one end, signals out at the other, the node's own view between."""

from __future__ import annotations

import collections
import json
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

from lab import deployments as heat
from lab.deployments import Metadata
from lab.node import LabNode
from lab.readiness import is_ready
from lab.receiver import Receiver, Request

from heat_config_kubelet.manifest_dir import MARK
from heat_config_kubelet.store import APPLIED, DONE, PENDING, Entry, Store

QUICK = {"min_ready_seconds": 0, "poll_period": 0.2}
"""Options of deployments whose pods are meant to run at once."""
POLL_SECONDS = 0.25
NEVER_READY: Mapping[str, Any] = {
    "readinessProbe": {"exec": {"command": ["/bin/false"]}, "periodSeconds": 1},
}
"""Fields of a container that runs and is never ready."""


class Way:
    """The whole way on one node: the real os-collect-config brings metadata, a receiver stands for Heat."""

    def __init__(self, node: LabNode, receiver: Receiver, work: Path) -> None:
        self.node = node
        self.receiver = receiver
        self.work = work
        """A folder for files of hooks and pods."""
        self._taken: collections.Counter[str] = collections.Counter()
        node.collector.polling_interval = POLL_SECONDS
        node.collector.metadata_url = ""

    # --- metadata

    def entry(self, name: str, config: object, **fields: Any) -> Metadata:
        """Give an entry that is signalled to this way's receiver; its pods count as soon as they are ready."""
        fields["options"] = {**QUICK, **fields.get("options", {})}
        return heat.deployment(name, config, self.receiver, **fields)

    def deploy(self, *entries: Metadata, source: str = "lab", settings: Mapping[str, Any] | None = None) -> None:
        """Make `entries` all that a source says, and `settings` those of os-collect-config in the metadata.

        Starts os-collect-config where it does not run.
        """
        others = {"os-collect-config": dict(settings)} if settings else {}
        self.node.collector.set(heat.metadata(*entries, **others), source)
        if not self.node.collector.running:
            self.node.collector.start()

    def wait_for_polls(self, count: int, timeout: float = 30.0) -> None:
        """Wait until os-collect-config has collected `count` times more, whether or not anything was new."""
        seen: set[int] = set()

        def look() -> bool:
            seen.add((self.node.collector.cache / "lab.json").stat().st_mtime_ns)
            return len(seen) > count

        self.node.wait_for(look, f"os-collect-config to poll {count} times", timeout)

    def wait_for_pass(self, timeout: float = 30.0) -> None:
        """Wait until os-collect-config has called the agent once more, and the pass is over."""
        before = self._applied()
        self.node.wait_for(lambda: self._applied() != before, "another pass", timeout)

    # --- signals

    def request(self, name: str, timeout: float = 60.0) -> Request:
        """Wait for the next signal of a deployment, and give its request."""
        try:
            found = self.receiver.wait_for_signal(name, count=self._taken[name] + 1, timeout=timeout)
        except TimeoutError as error:
            raise AssertionError(f"{error}\n{self.node.last_lines(20)}") from None
        self._taken[name] += 1
        return found

    def signal(self, name: str, timeout: float = 60.0) -> dict[str, Any]:
        """Wait for the next signal of a deployment, and give what Heat gets to see."""
        return dict(self.request(name, timeout).signal)

    def succeeds(self, name: str, timeout: float = 60.0) -> dict[str, Any]:
        """Wait for the next signal of a deployment, which must be a success."""
        told = self.signal(name, timeout)
        assert told["deploy_status_code"] == 0, told
        return told

    def fails(self, name: str, timeout: float = 60.0) -> dict[str, Any]:
        """Wait for the next signal of a deployment, which must be a failure."""
        told = self.signal(name, timeout)
        assert told["deploy_status_code"] == 1, told
        return told

    def no_more_signals(self, *names: str) -> None:
        """Assert that Heat got no signal for these deployments but those that were waited for."""
        came = {name: len(self.receiver.signals(name)) for name in names}
        assert came == {name: self._taken[name] for name in names}

    # --- the agent

    def entries(self) -> dict[str, Entry]:
        """What the agent's store has of the live entries, by id."""
        file = self.node.state_dir / "store.sqlite"
        if not file.exists():
            return {}
        store = Store.open(file, create=False)
        try:
            return {entry.deployment.id: entry for entry in store.entries()}
        finally:
            store.close()

    def _applied(self) -> str:
        store = Store.open(self.node.state_dir / "store.sqlite", create=False)
        try:
            return store.get(APPLIED) or ""
        finally:
            store.close()

    def wait_until_known(self, *entries: Metadata) -> None:
        """Wait until `run` has taken in these entries."""
        wanted = {entry["id"] for entry in entries}
        self.node.wait_for(lambda: wanted <= self.entries().keys(), "the entries to be recorded")

    def wait_until_gone(self, *entries: Metadata) -> None:
        """Wait until `run` has seen that these entries have vanished."""
        unwanted = {entry["id"] for entry in entries}
        self.node.wait_for(lambda: not unwanted & self.entries().keys(), "the entries to have vanished")

    def wait_until_settled(self, *entries: Metadata, timeout: float = 60.0) -> None:
        """Wait until these entries are decided and nothing of theirs is still to be signalled."""

        def look() -> bool:
            known = self.entries()
            found = [known.get(entry["id"]) for entry in entries]
            return all(each and each.state == DONE and each.signal != PENDING for each in found)

        self.node.wait_for(look, "the entries to be settled", timeout)

    def wait_until_idle(self, timeout: float = 60.0) -> None:
        """Wait until the loop has ended, as it does when nothing is pending."""
        self.node.wait_for(lambda: not (self.node.state_dir / "pending").exists(), "the loop to end", timeout)

    # --- the node

    def ready_pod(self, name: str) -> dict[str, Any]:
        """Wait for a pod to be ready, and give it as the kubelet's `/pods` does."""

        def look() -> dict[str, Any] | None:
            found = self.node.pod(name)
            return found if is_ready(found) else None

        return self.node.wait_for(look, f"pod {name} to be ready")

    def containers(self, *names: str) -> dict[str, str]:
        """The ids of the containers of these pods, by pod and container."""
        found = {}
        for name in names:
            pod = self.node.pod(name)
            assert pod, f"no pod {name}"
            for status in pod["status"]["containerStatuses"]:
                found[f"{name}/{status['name']}"] = status["containerID"].removeprefix("containerd://")
        return found

    def manifests(self) -> dict[str, dict[str, Any]]:
        """The manifests in the directory by their pod's name."""
        found = {}
        for file in self.manifest_files():
            manifest = json.loads(file.read_text())
            found[manifest["metadata"]["name"]] = manifest
        return found

    def manifest_files(self) -> list[Path]:
        """The files of the directory that the kubelet reads."""
        return sorted(file for file in self.node.manifests.iterdir() if not file.name.startswith("."))

    def wait_until_empty(self) -> None:
        """Wait until no manifest and no pod is left."""
        self.node.wait_for(lambda: not self.manifests() and not self.node.pods_left(), "all pods to be gone")

    def hook(self, group: str, script: str) -> None:
        """Put a hook for a group in place, of shell commands; they find `work` as $work."""
        file = self.node.hooks / group
        file.write_text(f"#!/bin/sh\nwork={self.work}\n{script}\n")
        file.chmod(0o755)

    def gated(self, name: str, **fields: Any) -> Metadata:
        """Give a pod that becomes ready when `open_gate` is called with its name."""
        folder = self.work / f"gate-{name}"
        folder.mkdir(exist_ok=True)
        probe = {"exec": {"command": ["/bin/test", "-e", "/gate/open"]}, "periodSeconds": 1}
        container = {"volumeMounts": [{"name": "gate", "mountPath": "/gate"}], "readinessProbe": probe}
        volumes = [{"name": "gate", "hostPath": {"path": str(folder), "type": "Directory"}}]
        return heat.pod(name, container=container, volumes=volumes, **fields)

    def open_gate(self, name: str) -> None:
        """Let the pod that `gated` gave become ready."""
        (self.work / f"gate-{name}" / "open").touch()


@contextmanager
def way_on(node: LabNode) -> Iterator[Way]:
    """Give the whole way on a node, and leave os-collect-config's settings as they were."""
    work = node.folder / "gates"
    shutil.rmtree(work, ignore_errors=True)  # of a former test; its pods, which may hold it, are gone by now
    work.mkdir()
    try:
        with Receiver() as receiver:
            yield Way(node, receiver, work)
    finally:
        node.collector.polling_interval = 1.0
        node.collector.metadata_url = ""


def marks(manifest: Mapping[str, Any]) -> dict[str, str]:
    """The annotations of a manifest by which it is known as ours, without their prefix."""
    annotations: Mapping[str, str] = manifest["metadata"].get("annotations", {})
    return {name.removeprefix(MARK): value for name, value in annotations.items() if name.startswith(MARK)}


def several(*pods: Metadata) -> Metadata:
    """Give a List of pods, as a config."""
    return {"apiVersion": "v1", "kind": "List", "items": list(pods)}


class LastSeen:
    """Watches something all the time; `at` is when (time.monotonic) it was last there."""

    def __init__(self, there: Callable[[], object]) -> None:
        self._there = there
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self.at = 0.0

    def __enter__(self) -> LastSeen:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(0.02):
            asked = time.monotonic()
            if self._there():
                self.at = asked
