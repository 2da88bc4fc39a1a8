"""The pods of one deployment: wanted beside written beside running, and why they differ."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..container_faults import said
from ..kubelet_log import KubeletLog, pod_trouble, refusal
from ..overview import is_ready, why_not_ready
from ..store import REMOVING, PodRow
from ..values import ContainerState, ContainerStatus, Pod, PodKey, PodStatus
from .node_view import NodeView
from .timeline import moment_or_none

_LOG_LINES = 4000


@dataclass(frozen=True)
class ContainerShown:
    """A container of a pod, as the manifest wants it and as the kubelet has it."""

    name: str
    """Its name in the manifest."""
    init: bool
    """Whether it is an init container."""
    image: str
    """The image that the config names; the kubelet's word where that is not known."""
    image_id: str = ""
    """The image that runs, by its digest; empty where none is there yet."""
    container_id: str = ""
    """The runtime's id of the container that runs or ran last."""
    state: str = ""
    """waiting, running or terminated; unknown where the kubelet says nothing of it."""
    ready: bool | None = None
    """Whether its readiness probe has passed, if it has one; null where the kubelet says nothing of it."""
    restarts: int = 0
    """How often it was started again."""
    reason: str = ""
    """Why it waits or has ended, in a word of the kubelet's: CrashLoopBackOff, ErrImagePull, Completed…"""
    message: str = ""
    """The same in the kubelet's or the runtime's own words."""
    exit_code: int | None = None
    """Of the run that has just ended; null while it runs or waits."""
    last_exit_code: int | None = None
    """Of the run before; null where there was none."""
    last_reason: str = ""
    """Why that one ended: Error, OOMKilled, Completed…"""
    last_message: str = ""
    """The same in its or the runtime's own words."""
    started_at: str | None = None
    """When the run began that is under way or, where none is, the last one. RFC 3339 in UTC."""
    ended_at: str | None = None
    """When the last run that is over ended."""
    why: str = ""
    """What is wrong with it, in one line; empty where it runs or has ended well."""


@dataclass(frozen=True)
class PodShown:
    """A pod: wanted beside written beside running."""

    pod: str
    """ "namespace/name"."""
    wanted: bool | None
    """Whether the deployment wants it; null where that is not known, as the store cannot be read."""
    written: str
    """How far its manifest is: writing, written, removing; empty where there is none."""
    written_at: str | None
    """When it came so far. RFC 3339 in UTC."""
    file: str
    """The manifest's name in the kubelet's directory."""
    uid: str
    """The UID of this creation of the pod."""
    phase: str
    """Pending, Running, Succeeded or Failed; empty where the kubelet does not show it."""
    ready: bool | None
    """Whether it is ready now, or has ended well; null where the kubelet cannot be asked."""
    pod_ip: str
    """Its address; empty where it has none."""
    host_ip: str
    """The node's address as the kubelet has it."""
    why: str
    """Why what runs is not what is wanted; empty where it is."""
    containers: tuple[ContainerShown, ...] = ()
    """Init containers first, in the manifest's order."""


class PodsView:
    """The pods of one deployment: `rows` are its manifests, `wanted` what it wants, None where that is not known."""

    def __init__(self, view: NodeView, rows: Sequence[PodRow], wanted: Sequence[Pod] | None) -> None:
        self._view = view
        self._rows = {row.key: row for row in rows}
        self._wanted = {pod.key: pod for pod in wanted or ()}
        self._known = wanted is not None or view.store is not None
        self._lines: tuple[str, ...] | None = None

    def shown(self) -> tuple[PodShown, ...]:
        keys = dict.fromkeys((*self._wanted, *self._rows))
        return tuple(self._pod(key) for key in keys)

    def _pod(self, key: PodKey) -> PodShown:
        row, pod = self._rows.get(key), self._wanted.get(key)
        status = self._view.status_of(row) if row else None
        asked = self._view.by_uid is not None
        return PodShown(
            pod=str(key),
            wanted=pod is not None if self._known else None,
            written=row.phase if row else "",
            written_at=moment_or_none(row.since or None) if row else None,
            file=row.file if row else "",
            uid=row.uid if row else "",
            phase=status.phase if status else "",
            ready=is_ready(status) if asked else None,
            pod_ip=status.pod_ip if status else "",
            host_ip=status.host_ip if status else "",
            why=self._why(row, pod, status),
            containers=tuple(_containers(pod, status)),
        )

    def _why(self, row: PodRow | None, pod: Pod | None, status: PodStatus | None) -> str:
        if row is None:
            return "its manifest is not written"
        if row.phase == REMOVING:
            return "it is being ended"
        told = []
        if pod is None and self._known:
            told.append("it is not wanted any more")
        if pod is not None and pod.content_hash != row.content_hash:
            told.append("what is written is not what is wanted now")
        told += self._file(row)
        if self._view.by_uid is not None and not is_ready(status):
            told.append(self._kubelets_word(row, status) or why_not_ready(status))
        return "; ".join(told)

    def _file(self, row: PodRow) -> list[str]:
        if self._view.access is None or "manifests" in self._view.problems or not row.file_hash:
            return []
        found = next((each for each in self._view.manifests if each.file == row.file), None)
        if found is None:
            return [f"its manifest {row.file} is not in the kubelet's directory"]
        return [] if found.file_hash == row.file_hash else [f"somebody has changed its manifest {row.file}"]

    def _kubelets_word(self, row: PodRow, status: PodStatus | None) -> str:
        """What the kubelet's log says of a pod that it does not show, or whose sandbox is not there."""
        if (status is not None and status.sandbox_ready is not False) or self._view.access is None:
            return ""
        if self._lines is None:
            self._lines = KubeletLog.of(self._view.settings).last(_LOG_LINES)
        if status is not None:
            return pod_trouble(self._lines, row.uid, status.name)
        told = refusal(self._lines, self._view.access.manifest_dir / row.file)
        return f"the kubelet refuses the manifest: {told}" if told else ""


def _containers(pod: Pod | None, status: PodStatus | None) -> Iterable[ContainerShown]:
    """The containers that the manifest has, and those that the kubelet shows."""
    seen = {(each.init, each.name): each for each in status.containers} if status else {}
    spec: Mapping[str, Any] = pod.manifest["spec"] if pod else {}
    images = {
        (init, str(each.get("name"))): str(each.get("image") or "")
        for init, part in ((True, "initContainers"), (False, "containers"))
        for each in spec.get(part) or ()
    }
    for key in dict.fromkeys((*images, *seen)):
        found = seen.get(key)
        if found is None:
            yield ContainerShown(name=key[1], init=key[0], image=images[key])
        else:
            yield _container(found, images.get(key) or found.image)


def _container(found: ContainerStatus, image: str) -> ContainerShown:
    fine = found.state is ContainerState.RUNNING or (found.state is ContainerState.TERMINATED and found.exit_code == 0)
    return ContainerShown(
        name=found.name,
        init=found.init,
        image=image,
        image_id=found.image_id,
        container_id=found.container_id,
        state=found.state.value,
        ready=found.ready,
        restarts=found.restart_count,
        reason=found.reason,
        message=found.message,
        exit_code=found.exit_code,
        last_exit_code=found.last_exit_code,
        last_reason=found.last_reason,
        last_message=found.last_message,
        started_at=moment_or_none(found.started_at),
        ended_at=moment_or_none(found.ended_at),
        why="" if fine else said(found),
    )
