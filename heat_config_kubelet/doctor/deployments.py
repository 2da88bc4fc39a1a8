"""Deployments that have failed, and pods of ours that do not run as they should, with what mends each."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from .. import container_faults as faults
from ..kubelet_log import KubeletLog, LogPosition, pod_trouble, refusal
from ..secrets import Blanker
from ..store import DONE, REMOVING, WANTED, Entry, PodRow
from ..values import KUBELET_GROUP, ContainerState, ContainerStatus, PodStatus
from .advice import mend
from .finding import Finding, error, note, warning
from .node import Node

_NEW_SECONDS = 10.0
"""So long a pod may have no word of the kubelet's yet."""
_MOST = 300


def deployments(node: Node) -> Iterator[Finding]:
    """No deployment has failed."""
    for entry in node.view.live:
        result, deployment = entry.result, entry.deployment
        if entry.state != DONE or result is None or not result.status_code:
            continue
        blank = _blanker(node, entry)
        lines = [line for line in blank.text(result.stderr).splitlines() if line.strip()]
        reason = _short(lines[-1]) if lines else f"exit status {result.status_code}"
        name = str(deployment.identity)
        told = "" if deployment.group == KUBELET_GROUP else f" (group {deployment.group})"
        yield error(
            f"{name}, {deployment.action}: failed{told}: {reason}",
            why="Heat was told so: the stack is FAILED"
            if entry.signal == "delivered"
            else "Heat is told so: the stack becomes FAILED",
            mend=f"{mend(reason, name)}; then update the stack",
        )


def pods(node: Node) -> Iterator[Finding]:
    """Every pod of ours that is not told as failed already runs and is ready."""
    statuses = node.view.statuses
    if statuses is None:
        return  # the checks of the kubelet tell why
    failed = {
        entry.deployment.identity for entry in node.view.live if entry.result is not None and entry.result.status_code
    }
    rows = [row for row in node.view.pod_rows if row.phase != REMOVING and row.identity not in failed]
    by_uid = {status.uid: status for status in statuses}
    for row in rows:
        entry = _entry_of(node, row)
        old = node.now() - row.since > _NEW_SECONDS
        status = by_uid.get(row.uid)
        reason = _trouble(node, row, status, old)
        if not reason:
            yield from _ended_before(row, status)
            continue
        told = _blanker(node, entry).text(reason) if entry else reason
        undecided = entry is not None and entry.state != DONE
        make = warning if undecided else error
        yield make(
            f"pod {row.key} of {row.identity}: {_short(told)}",
            why="its deployment waits for it, and fails at its limit"
            if undecided
            else "it was well when Heat was told of it; Heat does not learn of what happens later",
            mend=mend(told, str(row.identity)),
        )


def _ended_before(row: PodRow, status: PodStatus | None) -> Iterator[Finding]:
    for container in status.containers if status else ():
        if faults.failed_before(container):
            yield note(
                f'pod {row.key} of {row.identity}: container "{container.name}" runs, but has been restarted: '
                f"{container.restart_count}; it last ended with code {container.last_exit_code}",
                why="it may end again; Heat does not learn of it",
                mend=f"see what it said: heat-config-kubelet logs {row.identity} --previous",
            )


def _entry_of(node: Node, row: PodRow) -> Entry | None:
    return next((entry for entry in reversed(node.view.live) if entry.deployment.identity == row.identity), None)


def _trouble(node: Node, row: PodRow, status: PodStatus | None, old: bool) -> str:
    if status is None:
        if not old or not node.view.access:
            return ""
        if node.runtime.problem and not node.is_apart:
            return ""  # without its runtime a kubelet takes no manifest, and `runtime.py` says so
        lines = KubeletLog.of(node.settings).lines_since(LogPosition())
        why = refusal(lines, node.view.access.manifest_dir / row.file)
        return f"the kubelet refuses the manifest: {why}" if why else "the kubelet does not know of it"
    if status.phase == "Failed":
        return f"the pod failed: {status.reason}: {faults.shortened(status.message)}"
    words = [f'container "{each.name}"{_state(each, status)}' for each in status.containers if _is_bad(
        each, status, old)]  # fmt: skip
    if words:
        return "; ".join(words)
    if old and not status.sandbox_ready and status.phase == "Pending":
        lines = KubeletLog.of(node.settings).lines_since(LogPosition())
        return pod_trouble(lines, row.uid, status.name) or "its sandbox has not been made yet"
    return ""


def _is_bad(container: ContainerStatus, status: PodStatus, old: bool) -> bool:
    if container.state is ContainerState.RUNNING:
        return old and not container.init and not container.ready
    if container.state is ContainerState.WAITING and container.reason in ("PodInitializing", "ContainerCreating", ""):
        return container.restart_count > 0
    if container.state is ContainerState.WAITING:
        return True
    policy = "OnFailure" if container.init else status.restart_policy
    return faults.ended(container, policy)


def _state(container: ContainerStatus, status: PodStatus) -> str:
    if container.reason in faults.PULL_REASONS:
        return f": image {container.image} cannot be pulled ({container.reason}): {faults.pull_message(container)}"
    if container.state is ContainerState.RUNNING:
        restarts = f", restarted {container.restart_count} times" if container.restart_count else ""
        return f" runs, but is not ready{restarts}"
    policy = "OnFailure" if container.init else status.restart_policy
    text = faults.said(container, faults.failures(container, policy))
    return f" {text}" if text.startswith("exited") else f": {text}"


def _blanker(node: Node, entry: Entry) -> Blanker:
    """Know the secrets of an entry, those of its pods as they were written too."""
    files = {row.file for row in node.view.pod_rows if row.identity == entry.deployment.identity}
    manifests = []
    for file in files if node.view.access else ():
        try:
            content = json.loads((_folder(node) / file).read_bytes())
        except (OSError, ValueError):
            continue
        manifests.append(content)
    return Blanker.of(entry.deployment, manifests)


def _folder(node: Node) -> Path:
    return node.view.access.manifest_dir if node.view.access else Path("/")


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= _MOST else text[: _MOST - 1] + "…"


def waiting(node: Node) -> Iterator[Finding]:
    """What was collected is being worked on."""
    entries: Sequence[Entry] = [entry for entry in node.view.live if entry.state == WANTED]
    for entry in entries:
        age = node.now() - entry.seen_at
        if age > 60:
            yield warning(
                f"{entry.deployment.identity}, {entry.deployment.action}: nothing has been done for it for {age:.0f} s",
                why="the loop does not come to it: the stack stays IN_PROGRESS",
                mend="see doctor loop, and the loop's log",
            )
