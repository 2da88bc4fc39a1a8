"""One pass of the agent at a time, without os-collect-config: `run` with a source's answer, and what is there then."""

from __future__ import annotations

import fcntl
import json
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

from lab import deployments, readiness
from lab.node import LabNode

QUICK = {"min_ready_seconds": 0}
"""Options of deployments that are decided as soon as their pods are ready."""

STAYS = "trap 'exit 0' TERM; sleep 3600 & wait"
"""A container's command that ends at once when it is asked to."""

Entry = deployments.Metadata
Snapshot = dict[str, tuple[int, int, bytes]]


def write_source(node: LabNode, *entries: Entry, name: str = "lab") -> Path:
    """Write what a source answers, as os-collect-config's cache has it; give the file."""
    file = node.folder / f"{name}.json"
    file.write_text(json.dumps(deployments.metadata(*entries)))
    return file


def run_pass(node: LabNode, *entries: Entry, environment: Mapping[str, str] | None = None) -> CompletedProcess[str]:
    """Call `run` as os-collect-config does, with a source that answers with these entries."""
    return node.agent("run", files=[write_source(node, *entries)], environment=environment)


@contextmanager
def as_if_a_loop_ran(node: LabNode) -> Iterator[None]:
    """Hold the loop's lock, so that nobody starts one; the flag stays for who comes next."""
    with (node.state_dir / "loop.lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def record(node: LabNode, *entries: Entry) -> None:
    """Let `run` take in these entries, and start no loop."""
    with as_if_a_loop_ran(node):
        done = run_pass(node, *entries)
    assert done.returncode == 0, done.stderr
    assert is_pending(node)


def wait_until_idle(node: LabNode, timeout: float = 60.0) -> None:
    """Wait until no process of the agent is left."""
    node.wait_for(lambda: not node.slot.cgroup.processes("agent"), "the loop to end", timeout)


def is_pending(node: LabNode) -> bool:
    """Whether the flag is there by which a boot starts the loop."""
    return (node.state_dir / "pending").exists()


def states(node: LabNode) -> dict[str, tuple[str, str]]:
    """State and signal of each live deployment by its resource name, as `status` shows them."""
    told = node.agent("status", "--json")
    return {row["resource"]: (row["state"], row["signal"]) for row in json.loads(told.stdout)}


def our_manifests(node: LabNode) -> dict[str, dict[str, Any]]:
    """Our manifests by the pod's name."""
    found = [json.loads(file.read_bytes()) for file in node.manifests.glob("heat-*.json")]
    return {pod["metadata"]["name"]: pod for pod in found}


def uid_of(node: LabNode, name: str) -> str:
    """The UID in our manifest of a pod."""
    return str(our_manifests(node)[name]["metadata"]["uid"])


def is_ready(node: LabNode, name: str) -> bool:
    """Whether the kubelet shows this pod, by the UID of our manifest, as ready."""
    pod = node.pod(name)
    return pod is not None and pod["metadata"]["uid"] == uid_of(node, name) and readiness.is_ready(pod)


def wait_until_ready(node: LabNode, name: str) -> None:
    """Wait until the pod of our manifest is ready."""
    node.wait_for(lambda: is_ready(node, name), f"pod {name} to be ready")


def container_ids(node: LabNode) -> dict[str, list[str]]:
    """The ids of each pod's containers, by the name that the manifest gives it."""
    return {
        pod["metadata"]["name"].removesuffix(f"-{node.name}"): [
            each.get("containerID", "") for each in pod["status"].get("containerStatuses", ())
        ]
        for pod in node.pods()
    }


def has_containers(node: LabNode, name: str) -> bool:
    """Whether each container of a pod has been made."""
    ids = container_ids(node).get(name, [])
    return bool(ids) and all(ids)


def put_foreign(node: LabNode, name: str, file: str) -> None:
    """Put a manifest in place that is not ours, and wait for its pod to run.

    Its content is new each time: a pod of the same content would have the same UID, and for a while the old status.
    """
    aside = node.folder / "aside"
    aside.write_text(json.dumps(deployments.pod(name, labels={"content": uuid.uuid4().hex}), indent=2))
    aside.rename(node.manifests / file)
    node.wait_for(lambda: has_containers(node, name), f"the foreign pod {name}")


def snapshot(folder: Path) -> Snapshot:
    """What tells whether a folder's files were touched: inode, time of change, content."""
    return {
        str(path.relative_to(folder)): (
            path.lstat().st_ino,
            path.lstat().st_mtime_ns,
            path.read_bytes() if path.is_file() else b"",
        )
        for path in sorted(folder.rglob("*"))
    }
