"""`status`: every deployment in a line, below them what is to be said of them, and what is wrong with the node.

Without root it shows the summary that the loop keeps under /run (`summary.py`).
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from .. import settings as settings_module
from ..errors import AgentError
from ..overview import (
    DEGRADED,
    FAILED,
    IS_PENDING,
    UNKNOWN,
    WELL,
    DeploymentStatus,
    from_manifests,
    is_pending,
    overview,
)
from ..settings import Settings
from ..store import DELIVERED, PENDING, UNSENT, WANTED, WORKING, Entry, Store
from ..values import KUBELET_GROUP
from . import names
from .console import FAINT, GREEN, RED, YELLOW, Column, Console, duration, remark, seconds_since
from .node_view import NodeView

_PATIENCE_SECONDS = 300.0
"""How long os-collect-config and the loop may do nothing before that is said; as `health`."""
_LOOK_SECONDS = 0.25
_PODS_SECONDS = 2.0
"""Pods change without the store's changing: so often the kubelet is asked while a person watches."""
_CLEAR = "\x1b[H\x1b[2J\x1b[3J"
_COLOURS: Mapping[str, str] = {WELL: GREEN, IS_PENDING: YELLOW, DEGRADED: YELLOW, FAILED: RED, UNKNOWN: RED}

ALL_WELL, SOMETHING_FAILED, NOT_YET_WELL = 0, 1, 2


@dataclass(frozen=True)
class Seen:
    """What there is to show at one moment."""

    rows: tuple[DeploymentStatus, ...]
    troubles: tuple[str, ...] = ()
    """What is wrong with the node, a line each."""
    blind: AgentError | None = None
    """Why the store cannot be read, where it cannot."""
    remark: str = ""
    """What is to be known of all that is shown."""

    @property
    def essence(self) -> object:
        """What has to change for a person to be shown it again: not the seconds that something has lasted."""
        return self.rows, [re.sub(r"\d+", "", text) for text in self.troubles], str(self.blind)

    @property
    def exit_status(self) -> int:
        """0 all well, 1 something failed or the store cannot be read, 2 degraded or pending."""
        found = {row.health for row in self.rows}
        if self.blind or FAILED in found:
            return SOMETHING_FAILED
        return NOT_YET_WELL if self.troubles or found - {WELL} else ALL_WELL


def main(given: argparse.Namespace) -> int:
    """Show it; gives the exit status."""
    settings = settings_module.load(given.settings)
    source: _Source = (_Summary if _is_shut(settings) else _Node)(settings, given.deployment)
    deadline = time.monotonic() + given.timeout if given.timeout is not None else float("inf")
    console = Console.standard()
    form = "json" if given.json else given.output
    with contextlib.closing(source):
        if given.watch:
            return _watch(source, console, form, until_settled=given.wait, deadline=deadline)
        if given.wait:
            _wait(source, deadline)
        seen = source.look()
    show(seen, console, form)
    return seen.exit_status


def look(settings: Settings, wanted: Sequence[str] = ()) -> Seen:
    """Look at the store, the kubelet, and the traces that os-collect-config and the loop leave.

    `wanted` are names of deployments, all where it is empty. Raises UnknownNameError.
    """
    from ..health import idle

    view = NodeView(settings)
    now = time.time()
    if view.store:
        # None of a node's deployments may have a pod: then the kubelet is not asked, which costs half of the time.
        kubelet = view.pod_rows or any(entry.deployment.group == KUBELET_GROUP for entry in view.live)
        statuses = view.by_uid if kubelet else None
        rows = overview(view.live, view.pod_rows, statuses, max_age=settings.signal_max_age, now=now)
        chosen = {entry.sequence for entry in _chosen_of(view.live, wanted)}
        rows = tuple(row for entry, row in zip(view.live, rows, strict=True) if entry.sequence in chosen)
    else:
        rows = from_manifests(view.manifests, view.by_uid if view.manifests else None)
        rows = _chosen(rows, wanted)
    troubles = [text for part, text in view.problems.items() if part != "store"]
    troubles += idle(settings, os.environ, now, _PATIENCE_SECONDS)
    view.close()
    return Seen(rows, tuple(troubles), view.store_error)


def _chosen_of(live: Sequence[Entry], wanted: Sequence[str]) -> tuple[Entry, ...]:
    """Those that a person named, with all that are of the same stack and resource."""
    meant = {names.deployment(name, live).deployment.identity for name in wanted}
    return tuple(entry for entry in live if not wanted or entry.deployment.identity in meant)


def _chosen(rows: tuple[DeploymentStatus, ...], wanted: Sequence[str]) -> tuple[DeploymentStatus, ...]:
    """Those that a person named, where no store knows more names of them."""
    called = [names.find(name, rows, lambda row: (row.name, row.resource, row.id), "deployment") for name in wanted]
    return tuple(called) if wanted else rows


# --- showing


def show(seen: Seen, console: Console, form: str) -> None:
    """Write it. What is not of a deployment goes to standard error where standard output is for a machine."""
    now = time.time()
    if form in ("json", "yaml"):
        console.show(seen.rows, COLUMNS, form)
        for trouble in seen.troubles:
            remark(trouble)
    else:
        console.write(_drawn(seen, console, form, now))
    if seen.blind:
        remark(seen.blind.message, seen.blind.hint)
    if seen.remark:
        remark(seen.remark)


def _drawn(seen: Seen, console: Console, form: str, now: float) -> str:
    if not seen.rows and not seen.troubles:
        return "no deployments"
    parts = [console.table(seen.rows, COLUMNS, wide=form == "wide") if seen.rows else "no deployments"]
    said = [*_said(seen.rows, now), *(console.painted(text, RED) for text in seen.troubles)]
    return "\n\n".join([*parts, "\n".join(said)] if said else parts)


def _said(rows: Iterable[DeploymentStatus], now: float) -> Iterable[str]:
    """What is to be said of deployments, a line each: why they are not well, and why a signal has not arrived."""
    for row in rows:
        if row.reason:
            yield f"{row.name}, {row.action}: {row.reason}"
        if row.signal_answer and row.signal not in (DELIVERED, UNSENT):
            yield f"{row.name}, {row.action}: signal {row.signal}: {row.signal_answer}{_again(row, now)}"


def _again(row: DeploymentStatus, now: float) -> str:
    if row.signal != PENDING or not row.attempts:
        return ""
    told = f"; tried {row.attempts} times" if row.attempts > 1 else "; tried once"
    left = -seconds_since(row.next_attempt, now) if row.next_attempt else 0.0
    return f"{told}, again in {duration(left)}" if left > 0 else f"{told}, again now"


def _state(row: DeploymentStatus) -> str:
    return DEGRADED if row.health == DEGRADED and row.state == "succeeded" else row.state


def _pods(row: DeploymentStatus) -> str:
    if row.pods_wanted is None:
        return "-"
    return f"{'?' if row.pods_ready is None else row.pods_ready}/{row.pods_wanted}"


def _since(row: DeploymentStatus) -> str:
    return f"{duration(seconds_since(row.since, time.time()))} ago" if row.since else ""


COLUMNS = (
    Column[DeploymentStatus]("STACK", lambda row: row.stack, may_shrink=True),
    Column[DeploymentStatus]("RESOURCE", lambda row: row.resource, may_shrink=True),
    Column[DeploymentStatus]("ACTION", lambda row: row.action or "-"),
    Column[DeploymentStatus]("GROUP", lambda row: row.group, wide=True),
    Column[DeploymentStatus]("STATE", _state, colour=lambda row: _COLOURS[row.health]),
    Column[DeploymentStatus]("PODS", _pods),
    Column[DeploymentStatus]("SIGNAL", lambda row: row.signal or "-"),
    Column[DeploymentStatus]("SINCE", lambda row: _since(row) or "-", colour=lambda _: FAINT),
    Column[DeploymentStatus]("ATTEMPTS", lambda row: str(row.attempts), wide=True),
    Column[DeploymentStatus]("ID", lambda row: row.id or "-", wide=True),
)


# --- without root


def _is_shut(settings: Settings) -> bool:
    """Whether the store is there and not for us to see."""
    return settings.state_dir.exists() and not os.access(settings.state_dir, os.R_OK | os.X_OK)


# --- waiting and watching


class _Source(Protocol):
    """Where it is looked, and how it is known cheaply whether anything has changed there."""

    def version(self) -> object:
        """Something that changes when what is shown does; None where there is nothing yet."""

    def settled(self) -> bool:
        """Whether there was metadata, and nothing is left to be done about what is wanted."""

    def look(self) -> Seen:
        """Look at all of it. Raises UnknownNameError."""

    def close(self) -> None:
        """Let go of it."""


class _Node:
    """The store, and all that `look` looks at."""

    def __init__(self, settings: Settings, wanted: Sequence[str]) -> None:
        self._settings = settings
        self._wanted = wanted
        self._opened: Store | None = None

    def version(self) -> object:
        store = self._store()
        return (id(store), store.version()) if store else None

    def settled(self) -> bool:
        store = self._store()
        try:
            return store is not None and not any(map(is_pending, _chosen_of(store.entries(), self._wanted)))
        except names.UnknownNameError:
            return False

    def look(self) -> Seen:
        return look(self._settings, self._wanted)

    def _store(self) -> Store | None:
        """The store as it is there now; None too while it cannot be read."""
        if self._opened and self._opened.replaced:
            self._opened.close()
            self._opened = None
        if self._opened is None:
            with contextlib.suppress(AgentError):
                self._opened = Store.open(self._settings.store_file, create=False)
        return self._opened

    def close(self) -> None:
        if self._opened:
            self._opened.close()


class _Summary:
    """The summary that everybody may read."""

    def __init__(self, settings: Settings, wanted: Sequence[str]) -> None:
        self._file = settings.summary_file
        self._wanted = wanted

    def version(self) -> object:
        try:
            state = self._file.stat()
        except OSError:
            return None
        return state.st_ino, state.st_mtime_ns

    def settled(self) -> bool:
        try:
            rows = self.look().rows
        except AgentError:
            return False
        return not any(row.state in (WANTED, WORKING) or row.signal == PENDING for row in rows)

    def look(self) -> Seen:
        from ..summary import read

        found = read(self._file)
        age = duration(seconds_since(found.written_at, time.time()))
        told = (
            f"this is the summary of {age} ago, {self._file}; root sees the pods as they are now, the reasons, "
            "and why signals wait"
        )
        return Seen(_chosen(found.deployments, self._wanted), remark=told)

    def close(self) -> None:
        """Nothing is open."""


def _wait(source: _Source, deadline: float) -> None:
    """Wait until nothing is pending, or until the deadline (steady seconds)."""
    seen: object = ()
    while time.monotonic() < deadline:
        version = source.version()
        if version != seen and source.settled():
            break
        seen = version
        time.sleep(min(_LOOK_SECONDS, max(0.0, deadline - time.monotonic())))


def _watch(source: _Source, console: Console, form: str, *, until_settled: bool, deadline: float) -> int:
    """Show it again whenever it changes, until the deadline or, if that is asked for, until nothing is pending."""
    shown: Seen | None = None
    while True:
        version = source.version()
        seen = source.look()
        if shown is None or seen.essence != shown.essence:
            if console.width:
                sys.stdout.write(_CLEAR)
            elif shown:
                sys.stdout.write("\n")
            show(seen, Console(sys.stdout, width=console.width, colour=console.has_colour), form)
            shown = seen
        if until_settled and source.settled():
            return seen.exit_status
        looked_at = time.monotonic()
        while source.version() == version and time.monotonic() < min(looked_at + _PODS_SECONDS, deadline):
            time.sleep(_LOOK_SECONDS)
        if time.monotonic() >= deadline:
            return seen.exit_status
