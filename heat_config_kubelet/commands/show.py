"""`show`: one deployment whole (`deployment_view.py`), drawn for a person or given to machines."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterable

from .. import settings as settings_module
from ..overview import UNKNOWN
from .console import BOLD, GREEN, RED, YELLOW, Column, Console, duration, one_line, plain, seconds_since
from .deployment_view import Other, ResultShown, Shown, SignalShown, look
from .node_view import NodeView
from .pods_of_deployment import ContainerShown, PodShown
from .timeline import bars


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


# --- drawn for a person


def drawn(found: Shown, console: Console, now: float, *, wide: bool = False) -> str:
    """Draw it: a heading, then a part for each of what there is."""
    parts = [_head(found, console, now)]
    if found.unseen:
        told = [f"{part}: {one_line(why)}" for part, why in found.unseen.items()]
        parts.append(_part("What could not be seen", told, console))
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
