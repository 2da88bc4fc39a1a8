"""`show`: one deployment whole: what was received, its pods wanted beside those that run, its result and its signal.

Also of one that has vanished, as long as the store remembers it; where the store cannot be read, what manifests and
kubelet tell. Everything is blanked before it is drawn.
"""

from __future__ import annotations

import argparse
import dataclasses
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar
from urllib.parse import urlsplit

from .. import settings as settings_module
from ..container_faults import said
from ..errors import PodError
from ..kubelet_log import KubeletLog, pod_trouble, refusal
from ..manifests import row_of
from ..overview import UNKNOWN, DeploymentStatus, from_manifests, is_ready, overview, why_not_ready
from ..plan import owner_of
from ..pods import pods_of
from ..secrets import BLANK, Blanker
from ..signals import shown_url
from ..store import REMOVING, Entry, Event, PodRow
from ..values import KUBELET_GROUP, ContainerState, ContainerStatus, Deployment, Pod, PodKey, PodStatus
from . import names
from .console import BOLD, GREEN, RED, YELLOW, Column, Console, duration, one_line, plain, seconds_since
from .node_view import NodeView
from .timeline import Timeline, bars, chosen, moment, timeline

_LOG_LINES = 4000
_SIGNAL = "signal "

Value = TypeVar("Value")


@dataclass(frozen=True)
class ContainerShown:
    """A container of a pod, as the manifest wants it and as the kubelet has it."""

    name: str
    init: bool
    """Whether it is an init container."""
    image: str
    """The image that the config names; the kubelet's word where that is not known."""
    image_id: str = ""
    """The image that runs, by its digest; empty where none is there yet."""
    container_id: str = ""
    state: str = ""
    """waiting, running or terminated; unknown where the kubelet says nothing of it."""
    ready: bool = False
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
    last_message: str = ""
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
    host_ip: str
    why: str
    """Why what runs is not what is wanted; empty where it is."""
    containers: tuple[ContainerShown, ...] = ()
    """Init containers first, in the manifest's order."""


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


@dataclass(frozen=True)
class ResultShown:
    """What a deployment has come to, as it is signalled, without secrets."""

    status_code: int
    stdout: str
    stderr: str
    outputs: Mapping[str, Any]


@dataclass(frozen=True)
class Other:
    """Another entry of the same stack and resource."""

    id: str
    action: str
    state: str
    """wanted, working or done."""
    seen_at: str
    vanished_at: str | None


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
    result: ResultShown | None
    signal: SignalShown
    timeline: Timeline | None
    others: tuple[Other, ...]
    """Other entries of the same stack and resource."""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    """The entry of the metadata as it was received."""
    unseen: Mapping[str, str] = field(default_factory=dict)
    """By part (store, manifests, kubelet), why it could not be seen."""


def main(given: argparse.Namespace) -> int:
    """Show it; gives the exit status."""
    settings = settings_module.load(given.settings)
    view = NodeView(settings)
    try:
        found = look(given.deployment, view, time.time())
    finally:
        view.close()
    console = Console.standard()
    if given.output in ("json", "yaml"):
        console.show_value(plain(found), given.output)
    else:
        console.write(drawn(found, console, time.time(), wide=given.output == "wide"))
    return 0


def look(name: str, view: NodeView, now: float) -> Shown:
    """Look at one deployment. Raises UnknownNameError; StoreError where neither store nor manifests tell anything."""
    if view.store is None:
        return _without_store(name, view)
    return _Look(chosen(name, view), view, now).shown()


def _without_store(name: str, view: NodeView) -> Shown:
    rows = from_manifests(view.manifests, view.by_uid if view.manifests else None)
    if not rows and view.store_error:
        raise view.store_error
    status = names.find(name, rows, lambda row: (row.name, row.resource), "deployment")
    own = [
        row_of(each.key, each.mark, each, 0.0)
        for each in view.manifests
        if each.ours and each.key and each.mark and str(each.mark.identity) == status.name
    ]
    pods = _Pods(view, own, None).shown()
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
        shown_pods = _Pods(view, rows, pods).shown() if rows or pods else ()
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
                started_at=_moment(entry.started_at),
                decided_at=_moment(entry.decided_at),
                vanished_at=_moment(entry.vanished_at),
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
        return next(row for row in found if row.id == entry.deployment.id)

    def _wanted(self) -> tuple[tuple[Pod, ...] | None, tuple[str, ...]]:
        """The pods that it wants, and why it cannot have any; None where it wants none of them now."""
        entry = self._entry
        deployment = entry.deployment
        runs = deployment.group == KUBELET_GROUP and not deployment.removes and not deployment.tool_missing
        if not runs:
            return None, ()
        try:
            pods = pods_of(
                deployment.config,
                identity=deployment.identity,
                strict=deployment.options.get("strict") is not False,
                node_name=self._view.settings.node_name,
            )
        except PodError as error:
            return None, error.faults
        return (pods, ()) if self._owner is entry else (None, ())


class _Pods:
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
            written_at=_moment(row.since or None) if row else None,
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
        started_at=_moment(found.started_at),
        ended_at=_moment(found.ended_at),
        why="" if fine else said(found),
    )


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
    return Other(deployment.id, deployment.action, entry.state, moment(entry.seen_at), _moment(entry.vanished_at))


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


def _moment(seconds: float | None) -> str | None:
    return None if seconds is None else moment(seconds)


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


# --- drawn for a person


def drawn(found: Shown, console: Console, now: float, *, wide: bool = False) -> str:
    """Draw it: a heading, then a part for each of what there is."""
    parts = [_head(found, console, now)]
    if found.faults:
        parts.append(_part("Why its config cannot be run", found.faults, console))
    if found.pods:
        parts.append(_part("Pods", console.table(found.pods, _POD_COLUMNS, wide=wide).splitlines(), console))
        told = [f"{each.pod}: {one_line(each.why)}" for each in found.pods if each.why]
        parts += [_part("Why they are not as wanted", told, console)] if told else []
        lines = [(pod, each) for pod in found.pods for each in pod.containers]
        if lines:
            table = console.table(lines, _CONTAINER_COLUMNS, wide=wide).splitlines()
            parts.append(_part("Containers", table, console))
    if found.result:
        parts.append(_part("Result", _result(found.result), console))
    parts += [_part("Signal", _signal_lines(found.signal, now), console)] if found.signal.transport else []
    if found.timeline:
        parts.append(_part("Timeline", bars(found.timeline, console, wide=wide), console))
    if found.others:
        table = console.table(found.others, _OTHER_COLUMNS, wide=wide).splitlines()
        parts.append(_part("Other entries of this stack and resource", table, console))
    if found.metadata:
        import yaml

        text = yaml.safe_dump(dict(found.metadata), sort_keys=False, allow_unicode=True)
        parts.append(_part("Metadata as received", _lines(text), console))
    if found.unseen:
        told = [f"{part}: {one_line(why)}" for part, why in found.unseen.items()]
        parts.append(_part("What could not be seen", told, console))
    return "\n\n".join(parts)


def _part(title: str, lines: Iterable[str], console: Console) -> str:
    return "\n".join([console.painted(title, BOLD), *lines])


_HEALTH_COLOURS = {"well": GREEN, "pending": YELLOW, "degraded": YELLOW, "failed": RED, UNKNOWN: RED}


def _head(found: Shown, console: Console, now: float) -> str:
    status = found.status
    state = console.painted(status.state, _HEALTH_COLOURS.get(status.health, ""))
    name = console.painted(status.name, BOLD)
    lines = [" ".join(filter(None, (name, status.action, state))) + (" (vanished)" if found.vanished_at else "")]
    if status.reason:
        lines.append(one_line(status.reason))
    facts = {
        "id": status.id,
        "stack": found.stack_id,
        "group": status.group,
        "way in": f"{found.mode}, from {', '.join(found.sources) or 'no source any more'}" if found.mode else "",
        "collected": _when(found.seen_at, now),
        "begun": _when(found.started_at, now),
        "decided": _when(found.decided_at, now),
        "vanished": _when(found.vanished_at, now),
        "pods": f"are those of {found.owner}" if found.owner else "",
    }
    return "\n".join([*lines, "", *(f"{name:<11}{value}" for name, value in facts.items() if value)])


def _when(text: str | None, now: float) -> str:
    return f"{text[:19].replace('T', ' ')} UTC, {duration(seconds_since(text, now))} ago" if text else ""


def _result(result: ResultShown) -> list[str]:
    lines = [f"status_code {result.status_code}"]
    told = {"deploy_stdout": result.stdout, "deploy_stderr": result.stderr}
    told.update((name, value if isinstance(value, str) else repr(value)) for name, value in result.outputs.items())
    for name, text in told.items():
        if text.strip():
            lines += [f"{name}:", *(f"  {line}" for line in _lines(text))]
    return lines


def _signal_lines(signal: SignalShown, now: float) -> list[str]:
    to = f" to {signal.endpoint}" if signal.endpoint else ""
    lines = [f"{signal.transport}{to}: {signal.state or 'there is no result yet'}"]
    if signal.why and not (signal.attempts and signal.attempts[-1].answer == signal.why):
        lines.append(one_line(signal.why))
    if signal.next_attempt:
        lines.append(f"sent again {signal.next_attempt[:19].replace('T', ' ')} UTC")
    lines += [f"{_when(each.began, now)}: {each.state}: {one_line(each.answer)}" for each in signal.attempts]
    return lines


def _lines(text: str) -> list[str]:
    """The lines of a text, without what a terminal would obey."""
    return ["".join(char if char.isprintable() else " " for char in line) for line in text.splitlines()]


def _yes(value: bool | None) -> str:
    return "?" if value is None else "yes" if value else "no"


def _last_exit(each: ContainerShown) -> str:
    code = each.exit_code if each.exit_code is not None else each.last_exit_code
    reason = each.reason if each.exit_code is not None else each.last_reason
    when = f" at {each.ended_at[11:19]}" if each.ended_at else ""
    return "-" if code is None else f"{code} {reason}".rstrip() + when


_POD_COLUMNS = (
    Column[PodShown]("POD", lambda pod: pod.pod, may_shrink=True),
    Column[PodShown]("WANTED", lambda pod: _yes(pod.wanted)),
    Column[PodShown]("MANIFEST", lambda pod: pod.written or "none"),
    Column[PodShown]("RUNNING", lambda pod: pod.phase or ("?" if pod.ready is None else "no")),
    Column[PodShown]("READY", lambda pod: _yes(pod.ready), colour=lambda pod: GREEN if pod.ready else RED),
    Column[PodShown]("IP", lambda pod: pod.pod_ip or "-"),
    Column[PodShown]("FILE", lambda pod: pod.file or "-", wide=True),
    Column[PodShown]("UID", lambda pod: pod.uid or "-", wide=True),
)

_CONTAINER_COLUMNS = (
    Column[tuple[PodShown, ContainerShown]](
        "CONTAINER", lambda line: f"{line[0].pod}/{line[1].name}" + (" (init)" if line[1].init else ""), may_shrink=True
    ),
    Column[tuple[PodShown, ContainerShown]]("STATE", lambda line: line[1].state or "-"),
    Column[tuple[PodShown, ContainerShown]]("READY", lambda line: _yes(line[1].ready)),
    Column[tuple[PodShown, ContainerShown]]("RESTARTS", lambda line: str(line[1].restarts)),
    Column[tuple[PodShown, ContainerShown]]("LAST EXIT", lambda line: _last_exit(line[1])),
    Column[tuple[PodShown, ContainerShown]]("IMAGE", lambda line: line[1].image or "-", may_shrink=True),
    Column[tuple[PodShown, ContainerShown]]("IMAGE ID", lambda line: line[1].image_id or "-", may_shrink=True),
    Column[tuple[PodShown, ContainerShown]]("CONTAINER ID", lambda line: line[1].container_id or "-", wide=True),
)

_OTHER_COLUMNS = (
    Column[Other]("ID", lambda other: other.id),
    Column[Other]("ACTION", lambda other: other.action),
    Column[Other]("STATE", lambda other: other.state + (", vanished" if other.vanished_at else "")),
    Column[Other]("COLLECTED (UTC)", lambda other: other.seen_at[:19].replace("T", " ")),
)
