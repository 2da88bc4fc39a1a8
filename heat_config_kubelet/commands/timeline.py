"""`timeline`: what happened to a deployment and when, and how long each step took; without a name what happened last.

Events of the store (`store.Event`, noted by `pod_steps.py` and `ledger.py`) become steps: each begins where the one
that it follows has ended.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from .. import settings as settings_module
from ..errors import StoreError
from ..plan import owner_of
from ..secrets import Blanker
from ..store import DONE, PENDING, Entry, Event
from ..values import KUBELET_GROUP, Identity
from . import names
from .console import BOLD, GREEN, RED, YELLOW, Column, Console, duration, one_line, plain, seconds_since
from .node_view import NodeView

BEGUN, VALIDATED, WRITTEN = "begun", "validated", "written"
_NEXT = {WRITTEN: "sandbox", "sandbox": "image", "image": "started", "started": "ready"}
_OUTCOMES = ("succeeded", "failed", "skipped")
_BAD = ("failed", "signal refused", "signal dropped", "signal doubtful")
_AFTERWARDS = ("vanished", "resend")
"""Steps that may come days later: the bars do not reach so far."""
_SIGNAL = "signal "
_BAR_WIDTH, _LEAST_BAR = 40, 16
"""Columns of the bars where nothing has to fit, and the fewest."""


@dataclass(frozen=True)
class Step:
    """One step on a deployment's way."""

    step: str
    """collected, begun, validated; per pod gone (of its predecessor), kept or written, sandbox, image, started, ready;
    succeeded, failed or skipped; "signal <state>" for each attempt; resend, vanished. Where it is not over yet: what is
    waited for; "decided" and "signal" then stand for any of theirs."""
    pod: str
    """"namespace/name" of the pod, empty for steps of the whole deployment."""
    began: str
    """When it began: when the step that it follows was over. RFC 3339 in UTC."""
    at: str | None
    """When it was over; null while it is under way."""
    seconds: float
    """How long it took, or takes so far."""
    text: str = ""
    """What was said about it: where the deployment was collected from, the answer to an attempt to signal."""


@dataclass(frozen=True)
class Timeline:
    """A deployment's way, from when it was collected last."""

    id: str
    """The id of the derived config."""
    stack: str
    """The stack's name."""
    resource: str
    """The deployment's resource name in the stack."""
    action: str
    """What Heat wants: CREATE, UPDATE, DELETE…"""
    outcome: str
    """succeeded, failed or skipped; empty while it is pending."""
    seconds: float
    """From when it was collected until it was decided, or until now."""
    steps: tuple[Step, ...]
    """In the order in which they were noted; what is under way comes last."""


@dataclass(frozen=True)
class Happening:
    """Something that happened to any deployment."""

    at: str
    """When, as RFC 3339 in UTC."""
    id: str
    """The id of the deployment's derived config."""
    stack: str
    """The stack's name; empty where the deployment is forgotten."""
    resource: str
    """The deployment's resource name; empty where it is forgotten."""
    step: str
    """As in a timeline; "sent" is the beginning of an attempt to signal."""
    pod: str
    """"namespace/name" of the pod; empty for what concerns the whole deployment."""
    text: str
    """What was said about it."""


def main(given: argparse.Namespace) -> int:
    """Show it; gives the exit status."""
    view = NodeView(settings_module.load(given.settings))
    console = Console.standard()
    if view.store is None:
        raise view.store_error or StoreError("the store cannot be read")
    try:
        if not given.deployment:
            rows = list(happenings(view.store.last_events(given.last), view.entries))
            console.show(rows, _COLUMNS, given.output, empty="nothing has happened yet")
            return 0
        entry = chosen(given.deployment, view)
        found = timeline(entry, view.events(entry), time.time())
    finally:
        view.close()
    if given.output in ("json", "yaml"):
        console.show_value(plain(found), given.output)
    else:
        console.write(drawn(found, console, wide=given.output == "wide"))
    return 0


def chosen(name: str, view: NodeView) -> Entry:
    """Give the entry that a person means, the vanished too; of two with one identity that to which the pods belong.

    Raises UnknownNameError.
    """
    try:
        entry = names.deployment(name, view.live)
    except names.UnknownNameError:
        entry = names.deployment(name, view.entries)
    if name in entry.deployment.id:
        return entry
    return owner_of(each for each in view.live if each.deployment.identity == entry.deployment.identity) or entry


def moment(seconds: float) -> str:
    """Give a time, seconds since the epoch, as RFC 3339 in UTC with its milliseconds."""
    whole = int(seconds // 1)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(whole))}.{int((seconds - whole) * 1000):03}Z"


def moment_or_none(seconds: float | None) -> str | None:
    """Give the same of a time that may not have come."""
    return None if seconds is None else moment(seconds)


# --- from events to steps


@dataclass(frozen=True)
class _Span:
    step: str
    pod: str
    began: float
    at: float | None
    text: str = ""


def timeline(entry: Entry, events: Sequence[Event], now: float) -> Timeline:
    """Make a deployment's timeline; `now` is seconds since the epoch."""
    spans = list(_spans(_last_run(events)))
    outcome = next((span.step for span in reversed(spans) if span.step in _OUTCOMES), "")
    spans += _under_way(entry, spans)
    blank = Blanker.of(entry.deployment)
    first = spans[0].began if spans else entry.seen_at
    decided = next((span.at for span in reversed(spans) if span.step in _OUTCOMES), None)
    deployment = entry.deployment
    return Timeline(
        id=deployment.id,
        stack=deployment.identity.stack_id.split("/")[0],
        resource=deployment.identity.resource_name,
        action=deployment.action,
        outcome=outcome,
        seconds=_rounded((now if decided is None else decided) - first),
        steps=tuple(_step(span, now, blank) for span in spans),
    )


def _step(span: _Span, now: float, blank: Blanker) -> Step:
    return Step(
        step=span.step,
        pod=span.pod,
        began=moment(span.began),
        at=moment_or_none(span.at),
        seconds=_rounded((now if span.at is None else span.at) - span.began),
        text=blank.text(span.text),
    )


def _rounded(seconds: float) -> float:
    return round(max(0.0, seconds), 3)


def _last_run(events: Sequence[Event]) -> Sequence[Event]:
    starts = [number for number, event in enumerate(events) if event.kind == "collected"]
    return events[starts[-1] :] if starts else events


def _spans(events: Iterable[Event]) -> Iterator[_Span]:
    whole: float | None = None
    """The end of the last step of the whole deployment."""
    pods: dict[str, float] = {}
    """By pod, the end of its last step."""
    sent: float | None = None
    for event in events:
        if event.kind == "sent":
            sent = event.at
            continue
        if event.pod:
            began = pods.get(event.pod, event.at if whole is None else whole)
            pods[event.pod] = event.at
        elif event.kind.startswith(_SIGNAL):
            began, sent = event.at if sent is None else sent, None
        elif event.kind in _AFTERWARDS or whole is None:
            began = event.at
        else:
            began = max([whole, *pods.values()]) if event.kind in _OUTCOMES else whole
        if not event.pod:
            whole = event.at
        yield _Span(_named(event), event.pod, min(began, event.at), event.at, event.text)


def _named(event: Event) -> str:
    """The store calls the beginning of the work on a deployment and that of a pod's containers the same."""
    return BEGUN if event.kind == "started" and not event.pod else event.kind


def _under_way(entry: Entry, spans: Sequence[_Span]) -> Iterator[_Span]:
    """What an entry waits for."""
    ends = [span.at for span in spans if span.at is not None]
    if entry.state == DONE:
        if entry.signal == PENDING:
            yield _Span("signal", "", max(ends, default=entry.seen_at), None, entry.answer)
        return
    last = {span.pod: span for span in spans if span.pod and span.step != "gone"}
    waits = [_Span(_NEXT[span.step], pod, span.at or 0.0, None) for pod, span in last.items() if span.step in _NEXT]
    if waits:
        yield from waits
        return
    seen = {span.step for span in spans}
    awaited = "decided" if last or entry.deployment.group != KUBELET_GROUP or entry.deployment.removes else WRITTEN
    if BEGUN not in seen and VALIDATED not in seen:
        awaited = BEGUN
    yield _Span(awaited, "", max(ends, default=entry.seen_at), None)


# --- drawn for a person


def drawn(found: Timeline, console: Console, *, wide: bool = False) -> str:
    """Draw a timeline: a title, a line with a bar for each step, and what was said about some of them."""
    said = [f"{each.step}: {one_line(each.text)}" for each in found.steps if each.text and each.step != "collected"]
    return "\n".join([_title(found, console), "", *bars(found, console, wide=wide), *([""] if said else []), *said])


def _title(found: Timeline, console: Console) -> str:
    name = f"{found.stack}/{found.resource}" if found.stack else found.resource
    told = f"{found.outcome} after" if found.outcome else "pending for"
    colour = RED if found.outcome == "failed" else GREEN if found.outcome else YELLOW
    came = f", collected {found.steps[0].began[:19].replace('T', ' ')} UTC" if found.steps else ""
    return (
        f"{console.painted(name, BOLD)} {found.action}: {console.painted(told, colour)} {duration(found.seconds)}{came}"
    )


def bars(found: Timeline, console: Console, *, wide: bool = False) -> list[str]:
    """Give a line for each step, with a bar as long as it took."""
    if not found.steps:
        return ["its steps are not known any more"]
    places = _places(found.steps)
    least = console.width - _LEAST_BAR - 2 if console.width else 0
    left = Console(sys.stdout, width=max(least, 0)).table(places, _STEP_COLUMNS, wide=wide).splitlines()
    room = max(map(len, left)) + 2
    width = max(_LEAST_BAR, console.width - room) if console.width else _BAR_WIDTH
    length = max(place.end for place in places)
    title = "0s" + duration(length).rjust(width - 2)
    lines = [console.painted(f"{left[0]:<{room}}{title}", BOLD)]
    for place, line in zip(places, left[1:], strict=True):
        lines.append(f"{line:<{room}}{_bar(place, length, width, console)}".rstrip())
    return lines


@dataclass(frozen=True)
class _Place:
    """A step on the scale, in seconds since the first one."""

    step: Step
    start: float
    end: float
    afterwards: bool


def _places(steps: Sequence[Step]) -> list[_Place]:
    first = seconds_since(steps[0].began, 0.0)
    places = []
    settled = False
    for step in steps:
        start = first - seconds_since(step.began, 0.0)
        afterwards = settled or step.step in _AFTERWARDS
        places.append(_Place(step, start, start if afterwards else start + step.seconds, afterwards))
        settled = settled or (step.step.startswith(_SIGNAL) and step.step != _SIGNAL + PENDING)
    end = max((place.end for place in places if not place.afterwards), default=0.0)
    return [replace(place, end=min(place.end, end)) if place.afterwards else place for place in places]


def _bar(place: _Place, length: float, width: int, console: Console) -> str:
    if place.afterwards:
        return ""
    full, open_end, mark = ("█", "░", "▏") if (sys.stdout.encoding or "").lower().startswith("utf") else ("#", ".", "|")
    start = min(width - 1, int(place.start / length * width)) if length else 0
    cells = round((place.end - place.start) / length * width) if length else 0
    text = (full if place.step.at else open_end) * min(cells, width - start) or mark
    colour = RED if place.step.step in _BAD else GREEN if place.step.at else YELLOW
    return " " * start + console.painted(text, colour)


_STEP_COLUMNS = (
    Column[_Place]("STEP", lambda place: place.step.step + ("" if place.step.at else "…")),
    Column[_Place]("POD", lambda place: place.step.pod or "-", may_shrink=True),
    Column[_Place]("AFTER", lambda place: duration(place.start + place.step.seconds)),
    Column[_Place]("TOOK", lambda place: duration(place.step.seconds)),
    Column[_Place]("AT", lambda place: place.step.at or "-", wide=True),
)


# --- of all deployments


def happenings(events: Iterable[Event], entries: Iterable[Entry]) -> Iterator[Happening]:
    """Give what happened, in the order of `events`. Their texts were blanked before they were stored."""
    identities = {entry.deployment.id: entry.deployment.identity for entry in entries}
    for event in events:
        identity = identities.get(event.entry_id, Identity("", ""))
        yield Happening(
            at=moment(event.at),
            id=event.entry_id,
            stack=identity.stack_id.split("/")[0],
            resource=identity.resource_name,
            step=_named(event),
            pod=event.pod,
            text=event.text,
        )


_COLUMNS = (
    Column[Happening]("TIME (UTC)", lambda row: row.at.rstrip("Z").replace("T", " ")),
    Column[Happening]("DEPLOYMENT", lambda row: "/".join(filter(None, (row.stack, row.resource))) or row.id),
    Column[Happening]("STEP", lambda row: row.step, colour=lambda row: RED if row.step in _BAD else ""),
    Column[Happening]("POD", lambda row: row.pod or "-", may_shrink=True),
    Column[Happening]("SAID", lambda row: row.text, may_shrink=True),
    Column[Happening]("ID", lambda row: row.id, wide=True),
)
