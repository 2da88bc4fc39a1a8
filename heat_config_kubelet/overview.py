"""Every deployment in one row: how far it has come, whether its pods run now, what became of its signal.

For `status` and for the summary under /run. Pure: made of what the store, the manifests and the kubelet say, and of
the rest where one of them says nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from .errors import PodError
from .manifest_dir import Found
from .plan import owner_of
from .store import DONE, DOUBTFUL, DROPPED, PENDING, REFUSED, REMOVING, WANTED, Entry, PodRow
from .values import KUBELET_GROUP, ContainerState, ContainerStatus, Deployment, Identity, PodStatus

WELL, IS_PENDING, DEGRADED, FAILED, UNKNOWN = "well", "pending", "degraded", "failed", "unknown"
"""Of `DeploymentStatus.health`."""


@dataclass(frozen=True)
class DeploymentStatus:
    """One deployment as `heat-config-kubelet status` shows it."""

    id: str
    """The id of the derived config, new for every action; empty where only its manifests are known."""
    stack: str
    """The stack's name."""
    resource: str
    """The deployment's resource name in the stack."""
    action: str
    """What Heat wants: CREATE, UPDATE, DELETE, SUSPEND, RESUME…"""
    group: str
    """The config's group: kubelet, script…"""
    state: str
    """wanted, working, succeeded, failed or skipped; unknown where the store cannot be read."""
    status_code: int | None
    """The result's status code, 0 for success; null before there is a result."""
    since: str
    """When it came into its state, as RFC 3339 in UTC."""
    signal: str
    """What became of its signal: pending, delivered, doubtful, refused, dropped, unsent; empty before the result."""
    signal_answer: str
    """What was answered to the last attempt, or why there is none."""
    attempts: int = 0
    """How often its signal was sent."""
    next_attempt: str | None = None
    """When its signal is sent again, as RFC 3339 in UTC; null where that is not planned."""
    pods_ready: int | None = None
    """How many of its pods are ready now, those that have ended well included; null where nobody knows."""
    pods_wanted: int | None = None
    """How many pods it has; null where it has none, or its config cannot be run."""
    health: str = WELL
    """The whole in a word: well, pending, degraded, failed; unknown where the store cannot be read."""
    reason: str = ""
    """Why it is not well, in one line, without secrets."""

    @property
    def name(self) -> str:
        """Stack and resource."""
        return f"{self.stack}/{self.resource}" if self.stack else self.resource


def overview(
    entries: Sequence[Entry],
    rows: Sequence[PodRow],
    statuses: Mapping[str, PodStatus] | None,
    *,
    max_age: float = float("inf"),
    now: float = 0.0,
    count: Callable[[Entry], int | None] | None = None,
    reasons: bool = True,
) -> tuple[DeploymentStatus, ...]:
    """Give a row for each of the live `entries`.

    `rows` are our manifests, `statuses` the kubelet's pods by UID, None where it says nothing. `now` and `max_age`
    ([signals]) are for what is said of a signal that waits, in seconds. `count` gives how many pods an entry's config
    has, None where it has none or cannot be run. Without `reasons` no text is made.
    """
    return _Overview(entries, rows, statuses, max_age, now, count or _count, reasons).rows()


def from_manifests(found: Sequence[Found], statuses: Mapping[str, PodStatus] | None) -> tuple[DeploymentStatus, ...]:
    """Give a row for each deployment that manifests of ours name: what is known where the store cannot be read."""
    uids: dict[Identity, list[str]] = {}
    for each in found:
        if each.ours and each.mark:
            uids.setdefault(each.mark.identity, []).append(each.mark.uid)
    return tuple(
        DeploymentStatus(
            id="",
            stack=_stack(identity),
            resource=identity.resource_name,
            action="",
            group=KUBELET_GROUP,
            state=UNKNOWN,
            status_code=None,
            since="",
            signal="",
            signal_answer="",
            pods_ready=None if statuses is None else sum(is_ready(statuses.get(uid)) for uid in own),
            pods_wanted=len(own),
            health=UNKNOWN,
        )
        for identity, own in uids.items()
    )


def is_pending(entry: Entry) -> bool:
    """Whether the loop still has to do something for it."""
    return entry.state != DONE or entry.signal == PENDING


def is_ready(status: PodStatus | None) -> bool:
    """Whether a pod is ready now, or has ended well and is not started again.

    Some kubelets leave a standalone pod's conditions behind (see `status.py`): then its containers tell.
    """
    if status is None:
        return False
    if status.phase == "Succeeded":
        return status.restart_policy != "Always"
    mains = [each for each in status.containers if not each.init]
    running = bool(mains) and all(each.ready and each.state is ContainerState.RUNNING for each in mains)
    return status.phase != "Failed" and (status.ready or running)


def why_not_ready(status: PodStatus | None) -> str:
    """Say, for a person, why a pod is not ready now; its texts are the kubelet's and not yet blanked."""
    if status is None:
        return "the kubelet does not show it"
    from .container_faults import shortened  # `run` makes no such texts

    if status.reason:
        return ": ".join(filter(None, (status.reason, shortened(status.message))))
    told = [_told(each) for each in status.containers if not _is_fine(each)]
    if told:
        return "; ".join(told[:2])
    if status.sandbox_ready is not True and not any(each.container_id for each in status.containers):
        return "volumes, sandbox and network are being set up"
    return f"it is {status.phase or 'in no phase yet'}"


def _is_fine(container: ContainerStatus) -> bool:
    if container.init:
        ended = container.state is ContainerState.TERMINATED and container.exit_code == 0
        return ended or bool(container.started)
    return container.ready and container.state is ContainerState.RUNNING


def _told(container: ContainerStatus) -> str:
    from .container_faults import said

    kind = "init container" if container.init else "container"
    if container.state is ContainerState.RUNNING:
        return f'{kind} "{container.name}" ' + ("is still running" if container.init else "runs, but is not ready")
    return f'{kind} "{container.name}": {said(container)}'


def moment(seconds: float) -> str:
    """Give a time of day, seconds since the epoch, as RFC 3339 in UTC."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def _count(entry: Entry) -> int | None:
    from .pods import pods_of

    try:
        return len(pods_of(entry.deployment.config, identity=entry.deployment.identity, strict=False))
    except PodError:
        return None


def _stack(identity: Identity) -> str:
    return identity.stack_id.split("/")[0]


class _Overview:
    def __init__(
        self,
        entries: Sequence[Entry],
        rows: Sequence[PodRow],
        statuses: Mapping[str, PodStatus] | None,
        max_age: float,
        now: float,
        count: Callable[[Entry], int | None],
        reasons: bool,
    ) -> None:
        self._entries = entries
        self._statuses = statuses
        self._max_age = max_age
        self._now = now
        self._count = count
        self._reasons = reasons
        self._rows: dict[Identity, list[PodRow]] = {}
        for row in rows:
            self._rows.setdefault(row.identity, []).append(row)
        same: dict[Identity, list[Entry]] = {}
        for entry in entries:
            same.setdefault(entry.deployment.identity, []).append(entry)
        self._owners = {identity: owner_of(group) for identity, group in same.items()}

    def rows(self) -> tuple[DeploymentStatus, ...]:
        return tuple(self._row(entry) for entry in self._entries)

    def _row(self, entry: Entry) -> DeploymentStatus:
        deployment = entry.deployment
        row = DeploymentStatus(
            id=deployment.id,
            stack=_stack(deployment.identity),
            resource=deployment.identity.resource_name,
            action=deployment.action,
            group=deployment.group,
            state=_state(entry),
            status_code=entry.result.status_code if entry.result else None,
            since=moment(entry.decided_at or entry.started_at or entry.seen_at),
            signal=entry.signal,
            signal_answer=self._answer(entry) if self._reasons else "",
            attempts=entry.attempts,
            next_attempt=moment(entry.next_attempt) if entry.signal == PENDING and entry.next_attempt else None,
            pods_wanted=self._wanted(entry),
        )
        if row.pods_wanted is not None and self._statuses is not None:
            ready = sum(is_ready(self._statuses.get(pod.uid)) for pod in self._pods(entry))
            row = replace(row, pods_ready=ready)
        health = self._health(entry, row)
        return replace(row, health=health, reason=self._reason(entry, row, health) if self._reasons else "")

    def _owns(self, entry: Entry) -> bool:
        return self._owners[entry.deployment.identity] is entry

    def _pods(self, entry: Entry) -> list[PodRow]:
        """Its manifests, but those that are being removed."""
        return [row for row in self._rows.get(entry.deployment.identity, ()) if row.phase != REMOVING]

    def _wanted(self, entry: Entry) -> int | None:
        deployment = entry.deployment
        if deployment.removes or not self._owns(entry):
            return None
        if deployment.group != KUBELET_GROUP or (entry.result and not entry.result.status_code):
            return len(self._pods(entry)) or (0 if self._has_config(deployment) else None)
        return self._count(entry) or len(self._pods(entry)) or None

    @staticmethod
    def _has_config(deployment: Deployment) -> bool:
        return deployment.group == KUBELET_GROUP and not deployment.tool_missing and bool(deployment.config)

    def _health(self, entry: Entry, row: DeploymentStatus) -> str:
        if entry.state != DONE:
            return IS_PENDING
        if row.status_code:
            return FAILED
        lost = entry.signal == DROPPED and entry.result is not None and self._owns(entry)
        if entry.signal in (REFUSED, DOUBTFUL) or lost or self._pods_missing(row):
            return DEGRADED
        return IS_PENDING if entry.signal == PENDING else WELL

    @staticmethod
    def _pods_missing(row: DeploymentStatus) -> bool:
        """Whether a deployment that has succeeded has pods that are not ready now, or none at all any more."""
        if row.pods_wanted == 0:
            return True
        return row.pods_wanted is not None and row.pods_ready is not None and row.pods_ready < row.pods_wanted

    # --- words

    def _answer(self, entry: Entry) -> str:
        """What is known of a signal; of one that was never sent, why it waits."""
        if entry.signal != PENDING or entry.answer:
            return entry.answer
        from .outbox import Parcel, Step, decide, listed

        deployment = entry.deployment
        parcel = Parcel(
            id=deployment.id,
            identity=deployment.identity,
            transport=deployment.transport,
            decided_at=entry.decided_at or self._now,
            delete=deployment.action == "DELETE",
        )
        others = listed(self._entries, self._owners)
        decision = decide(parcel, others, self._now, max_age=self._max_age)
        return decision.reason if decision.step is not Step.SEND else "it was not sent yet"

    def _reason(self, entry: Entry, row: DeploymentStatus, health: str) -> str:
        text = ""
        if health == FAILED and entry.result:
            text = _last_line(entry.result.stderr) or _last_line(entry.result.stdout)
            text = text or f"it ended with status {entry.result.status_code} and said nothing"
        elif entry.state == WANTED:
            text = "it was not begun yet"
        elif entry.state != DONE:
            text = self._waits_for(entry)
        elif self._pods_missing(row):
            text = self._missing(entry, row)
        if not text:
            return ""
        from .secrets import Blanker

        return " ".join(Blanker.of(entry.deployment).text(text).split())

    def _waits_for(self, entry: Entry) -> str:
        if entry.hook:
            return "its hook runs"
        leaving = [str(row.key) for row in self._rows.get(entry.deployment.identity, ()) if row.phase == REMOVING]
        told = [f"{key}: is being ended" for key in leaving] + self._not_ready(entry)
        return _few(told) or "its pods are not written yet"

    def _missing(self, entry: Entry, row: DeploymentStatus) -> str:
        if not row.pods_wanted:
            return "it has succeeded, but none of its manifests is there any more"
        count = row.pods_wanted - (row.pods_ready or 0)
        verb = "pod is" if count == 1 else "pods are"
        return f"it has succeeded, but {count} {verb} not ready now: {_few(self._not_ready(entry))}"

    def _not_ready(self, entry: Entry) -> list[str]:
        if self._statuses is None:
            return []
        looks = [(row, self._statuses.get(row.uid)) for row in self._pods(entry)]
        return [f"{row.key}: {why_not_ready(status)}" for row, status in looks if not is_ready(status)]


def _few(told: Sequence[str]) -> str:
    return "; ".join(told[:2]) + (f"; and {len(told) - 2} more" if len(told) > 2 else "")


def _last_line(text: str) -> str:
    return next((line for line in reversed(text.splitlines()) if line.strip()), "")


def _state(entry: Entry) -> str:
    if entry.state != DONE:
        return entry.state
    if entry.result is None:
        return "skipped"
    return "failed" if entry.result.status_code else "succeeded"
