"""One deployment whole, as `show` gives it: what was received, its pods, its result, its signal and its timeline.

Also of one that has vanished, as long as the store remembers it; where the store cannot be read, what manifests and
kubelet tell. Everything is blanked before it is given.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar
from urllib.parse import urlsplit

from ..errors import PodError
from ..overview import FAILED, WELL, DeploymentStatus, from_manifests, overview
from ..plan import owner_of
from ..secrets import BLANK, Blanker
from ..signals import shown_url
from ..store import Entry, Event
from ..values import KUBELET_GROUP, Deployment, Pod
from ..wanted import wanted_pods
from . import names
from .node_view import NodeView
from .pods_of_deployment import PodShown, PodsView
from .timeline import Timeline, chosen, moment, moment_or_none, timeline

_SIGNAL = "signal "

Value = TypeVar("Value")


@dataclass(frozen=True)
class Attempt:
    """An attempt to signal, or a decision about it."""

    began: str
    """When it was sent. RFC 3339 in UTC."""
    at: str | None
    """When it was answered; null while it waits."""
    state: str
    """What it made of the signal: pending (it will be sent again), delivered, doubtful, refused, dropped."""
    answer: str
    """What was answered."""


@dataclass(frozen=True)
class SignalShown:
    """How Heat is told, and what came of it."""

    transport: str
    """CFN_SIGNAL, TEMP_URL_SIGNAL, HEAT_SIGNAL, ZAQAR_SIGNAL or NO_SIGNAL."""
    endpoint: str
    """Where it is sent to, without signature: for HEAT_SIGNAL and ZAQAR_SIGNAL that is Keystone."""
    state: str
    """pending, delivered, doubtful, refused, dropped, unsent; empty before there is a result."""
    why: str
    """What was answered last, or why it waits or was not sent."""
    next_attempt: str | None
    """When it is sent again. RFC 3339 in UTC."""
    attempts: tuple[Attempt, ...]
    """Each of them, the oldest first, as far as the store remembers."""


@dataclass(frozen=True)
class ResultShown:
    """What a deployment has come to, as it is signalled, without secrets."""

    status_code: int
    """0 for success."""
    stdout: str
    """deploy_stdout: of a kubelet deployment the table of its pods."""
    stderr: str
    """deploy_stderr: why it failed."""
    outputs: Mapping[str, Any]
    """The declared outputs by name."""


@dataclass(frozen=True)
class Other:
    """Another entry of the same stack and resource."""

    id: str
    """The id of its derived config."""
    action: str
    """What Heat wanted with it: CREATE, UPDATE, DELETE…"""
    state: str
    """wanted, working or done."""
    seen_at: str
    """When it was collected."""
    vanished_at: str | None
    """When its sources answered without it; null while they have it."""


@dataclass(frozen=True)
class Shown:
    """A deployment, whole. Times are RFC 3339 in UTC; secrets are replaced by ***."""

    status: DeploymentStatus
    """As in `status`."""
    stack_id: str
    """The stack's name and id."""
    name: str
    """The deployment's name."""
    mode: str
    """The way in that brought it: run or hook; empty where the store cannot be read."""
    sources: tuple[str, ...]
    """os-collect-config's sources that have it."""
    seen_at: str | None
    """When it was collected."""
    started_at: str | None
    """When work on it began."""
    decided_at: str | None
    """When its result was known."""
    vanished_at: str | None
    """When its sources answered without it."""
    owner: str
    """The id of the entry to whose content the pods belong, where that is another one."""
    faults: tuple[str, ...]
    """Why its config cannot be run."""
    pods: tuple[PodShown, ...]
    """Those that it wants, then those of its manifests that it does not want any more."""
    result: ResultShown | None
    """What it has come to; null while it is pending, and where it is skipped."""
    signal: SignalShown
    """How Heat is told of that."""
    timeline: Timeline | None
    """As in `timeline`; null where the store cannot be read."""
    others: tuple[Other, ...]
    """Other entries of the same stack and resource."""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    """The entry of the metadata as it was received."""
    unseen: Mapping[str, str] = field(default_factory=dict)
    """By part (store, manifests, kubelet), why it could not be seen."""


def look(name: str, view: NodeView, now: float) -> Shown:
    """Look at one deployment. Raises UnknownNameError; StoreError where neither store nor manifests tell anything."""
    if view.store is None:
        return _without_store(name, view)
    return _Look(chosen(name, view), view, now).shown()


def _without_store(name: str, view: NodeView) -> Shown:
    from ..manifests import row_of

    rows = from_manifests(view.manifests, view.by_uid if view.manifests else None)
    if not rows and view.store_error:
        raise view.store_error
    status = names.find(name, rows, lambda row: (row.name, row.resource), "deployment")
    own = [
        row_of(each.key, each.mark, each, 0.0)
        for each in view.manifests
        if each.ours and each.key and each.mark and str(each.mark.identity) == status.name
    ]
    pods = PodsView(view, own, None).shown()
    return Shown(
        status=status,
        stack_id=own[0].identity.stack_id if own else "",
        name=status.resource,
        mode="",
        sources=(),
        seen_at=None,
        started_at=None,
        decided_at=None,
        vanished_at=None,
        owner="",
        faults=(),
        pods=pods,
        result=None,
        signal=SignalShown("", "", "", "", None, ()),
        timeline=None,
        others=(),
        unseen=dict(view.problems),
    )


class _Look:
    """One entry with all that belongs to it."""

    def __init__(self, entry: Entry, view: NodeView, now: float) -> None:
        self._entry = entry
        self._view = view
        self._now = now
        identity = entry.deployment.identity
        self._same = [each for each in view.entries if each.deployment.identity == identity]
        self._live = [each for each in self._same if each.vanished_at is None]
        self._owner = owner_of(self._live)

    def shown(self) -> Shown:
        entry, view = self._entry, self._view
        deployment = entry.deployment
        pods, faults = self._wanted()
        mine = self._owner in (entry, None)
        rows = [row for row in view.pod_rows if mine and row.identity == deployment.identity]
        shown_pods = PodsView(view, rows, pods).shown() if rows or pods else ()
        status = self._status()
        blank = Blanker()
        for each in self._same:
            blank = blank + Blanker.of(each.deployment)
        blank = blank + Blanker.of(deployment, [pod.manifest for pod in pods or ()])
        events = view.events(entry)
        result = entry.result
        return _blanked(
            Shown(
                status=status,
                stack_id=deployment.identity.stack_id,
                name=deployment.name,
                mode=entry.mode,
                sources=entry.sources,
                seen_at=moment(entry.seen_at),
                started_at=moment_or_none(entry.started_at),
                decided_at=moment_or_none(entry.decided_at),
                vanished_at=moment_or_none(entry.vanished_at),
                owner="" if mine or self._owner is None else self._owner.deployment.id,
                faults=faults,
                pods=shown_pods,
                result=None
                if result is None
                else ResultShown(result.status_code, result.stdout, result.stderr, dict(result.outputs)),
                signal=_signal(entry, events, status),
                timeline=timeline(entry, events, self._now),
                others=tuple(_other(each) for each in self._same if each is not entry),
                metadata=_metadata(deployment),
                unseen=dict(view.problems),
            ),
            blank,
        )

    def _status(self) -> DeploymentStatus:
        entry, view = self._entry, self._view
        entries = self._live if entry.vanished_at is None else [entry]
        rows = view.pod_rows if entry.vanished_at is None else ()
        statuses = view.by_uid if rows else None
        max_age = view.settings.signal_max_age
        found = overview(entries, rows, statuses, max_age=max_age, now=self._now)
        row = next(row for row in found if row.id == entry.deployment.id)
        if entry.vanished_at is None:
            return row
        failed = bool(row.status_code)  # whether its pods run now is no matter of its any more
        return dataclasses.replace(
            row, health=FAILED if failed else WELL, reason=row.reason if failed else "", pods_wanted=None
        )

    def _wanted(self) -> tuple[tuple[Pod, ...] | None, tuple[str, ...]]:
        """The pods that it wants, and why it cannot have any; None where it wants none of them now."""
        entry = self._entry
        deployment = entry.deployment
        runs = deployment.group == KUBELET_GROUP and not deployment.removes and not deployment.tool_missing
        if not runs:
            return None, ()
        try:
            pods = wanted_pods(deployment, self._view.settings)
        except PodError as error:
            return None, error.faults
        return (pods, ()) if self._owner is entry else (None, ())


def _signal(entry: Entry, events: Sequence[Event], status: DeploymentStatus) -> SignalShown:
    inputs = entry.deployment.inputs
    url = inputs.get("deploy_signal_id") or inputs.get("deploy_auth_url")
    attempts = []
    sent: float | None = None
    for event in events:
        if event.kind == "sent":
            sent = event.at
        elif event.kind.startswith(_SIGNAL):
            began, sent = event.at if sent is None else sent, None
            attempts.append(Attempt(moment(began), moment(event.at), event.kind.removeprefix(_SIGNAL), event.text))
    return SignalShown(
        transport=entry.deployment.transport,
        endpoint=shown_url(url) if isinstance(url, str) else "",
        state=entry.signal,
        why=status.signal_answer,
        next_attempt=status.next_attempt,
        attempts=tuple(attempts),
    )


def _other(entry: Entry) -> Other:
    deployment = entry.deployment
    return Other(
        deployment.id, deployment.action, entry.state, moment(entry.seen_at), moment_or_none(entry.vanished_at)
    )


def _metadata(deployment: Deployment) -> dict[str, Any]:
    """The entry as received; of pre-signed URLs host and path are left."""
    told = dict(deployment.raw)
    inputs = told.get("inputs")
    if isinstance(inputs, list):
        told["inputs"] = [_input(each) for each in inputs]
    return told


def _input(given: Any) -> Any:
    if not isinstance(given, Mapping) or given.get("name") != "deploy_signal_id":
        return given
    url = given.get("value")
    if not isinstance(url, str) or not urlsplit(url).query:
        return given
    return {**given, "value": f"{shown_url(url)}?{BLANK}"}


def _blanked(value: Value, blank: Blanker) -> Value:
    """Blank every text in a dataclass, tuples and dataclasses in it included."""
    return _any_blanked(value, blank)  # type: ignore[no-any-return]


def _any_blanked(value: Any, blank: Blanker) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        parts = {each.name: _any_blanked(getattr(value, each.name), blank) for each in dataclasses.fields(value)}
        return dataclasses.replace(value, **parts)
    if isinstance(value, tuple):
        return tuple(_any_blanked(each, blank) for each in value)
    return blank.value(value) if isinstance(value, str | Mapping | list) else value
