"""`logs`: what the containers of a deployment or of a pod have written, also those that crashed.

By the kubelet's API where it answers, else from the files that the runtime writes, which is then said. What
containers write is shown as it is: nothing is blanked. The kubelet counts each 16 KiB of a long line as a line of
`--tail`, and of a container that is down it keeps the last run alone.
"""

from __future__ import annotations

import argparse
import os
import queue
import sys
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, NoReturn, TextIO

from .. import log_files
from .. import settings as settings_module
from ..container_faults import has_log, said
from ..errors import AgentError, KubeletError
from ..kubelet_api import KubeletApi
from ..store import Entry, PodRow
from ..values import ContainerStatus, PodStatus
from . import names
from .console import FAINT, Console, remark
from .node_view import NodeView
from .timeline import chosen

_LOOK_SECONDS = 0.2
_WAKE_SECONDS = 0.5
"""A Ctrl-C that comes just as Python begins to wait is seen when the wait ends: no wait is for ever."""
_PIECES = 256
"""So many pieces of logs may wait to be written before the kubelet's connections are held up."""


@dataclass(frozen=True)
class LoggedPod:
    """A pod whose containers may have written something."""

    label: str
    """ "namespace/name" as its manifest has it."""
    namespace: str
    name: str
    """As the kubelet calls it."""
    uid: str
    folder: Path
    """Where the runtime writes its logs."""
    status: PodStatus | None
    """What the kubelet says of it; None where it says nothing."""

    def containers(self) -> tuple[str, ...]:
        """The names of its containers, init containers first."""
        shown = tuple(each.name for each in self.status.containers) if self.status else ()
        return shown or log_files.PodLogs(self.namespace, self.name, self.uid, self.folder).containers()

    def container(self, name: str) -> ContainerStatus | None:
        """What the kubelet says of a container."""
        return next((each for each in self.status.containers if each.name == name), None) if self.status else None


@dataclass(frozen=True)
class Logged:
    """A container whose log is wanted."""

    pod: LoggedPod
    name: str

    @property
    def label(self) -> str:
        """Its pod and it."""
        return f"{self.pod.label}/{self.name}"

    @property
    def folder(self) -> Path:
        """Where its log is."""
        return self.pod.folder / self.name


def main(given: argparse.Namespace) -> int:
    """Show them; gives the exit status."""
    view = NodeView(settings_module.load(given.settings))
    wanted = containers_of(pods_of_name(given.name, view), given.container)
    writer = _Writer(sys.stdout, Console.standard(), several=len(wanted) > 1)
    view.close()
    try:
        return _Logs(view, writer, given).show(wanted)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else the interpreter's end complains
        return 0


# --- whose


def pods_of_name(name: str, view: NodeView) -> tuple[LoggedPod, ...]:
    """Give the pods of the deployment, or the pod, that a person means. Raises UnknownNameError."""
    pods = _pods(view)
    entry = _deployment(name, view)
    pod = _pod(name, pods)
    if entry is None:
        if pod is None:
            return (names.find(name, pods, _names, "deployment or pod"),)  # which says what there is
        return (pod,)
    own = _own(entry, view, pods)
    if pod is not None and pod not in own:
        if name not in names.names_of(entry):
            return (pod,)
        if name in _names(pod):
            raise names.UnknownNameError(
                f"{name} is the deployment {entry.deployment.identity} and the pod {pod.label}",
                hint="give the whole name of one of them",
            )
    if not own:
        raise AgentError(
            f"{entry.deployment.identity} has no pod that has written anything",
            hint=f"what became of it: heat-config-kubelet show {entry.deployment.id}",
        )
    return own if pod is None or name in names.names_of(entry) else (pod,)


def _own(entry: Entry, view: NodeView, pods: Sequence[LoggedPod]) -> tuple[LoggedPod, ...]:
    """The pods of a deployment; where it has none any more, those that it had, while their logs are there."""
    now = {row.uid for row in view.pod_rows if row.identity == entry.deployment.identity}
    before = {event.uid for event in view.events(entry) if event.uid and event.kind != "gone"}
    return next((own for uids in (now, before) if (own := tuple(each for each in pods if each.uid in uids))), ())


def _deployment(name: str, view: NodeView) -> Entry | None:
    try:
        return chosen(name, view)
    except names.UnknownNameError:
        return None


def _pod(name: str, pods: Sequence[LoggedPod]) -> LoggedPod | None:
    try:
        return names.find(name, pods, _names, "pod")
    except names.UnknownNameError:
        return None


def _names(pod: LoggedPod) -> tuple[str, ...]:
    return (pod.label, pod.label.partition("/")[2], pod.name, pod.uid)


def _pods(view: NodeView) -> tuple[LoggedPod, ...]:
    """All pods that the kubelet shows, and all that have left logs; the oldest creation of one first."""
    folder = view.access.pod_logs_dir if view.access else None
    statuses = view.statuses or ()
    rows = {row.uid: row for row in view.pod_rows}
    left = sorted(_left(view, folder) if folder else (), key=lambda each: (each.uid in rows, _changed(each.folder)))
    shown = {status.uid for status in statuses}
    found = [
        LoggedPod(_label(each.namespace, each.name, rows.get(each.uid), view), *_of(each), each.folder, None)
        for each in left
        if each.uid not in shown
    ]
    for status in statuses:
        place = (folder or Path()) / f"{status.namespace}_{status.name}_{status.uid}"
        label = _label(status.namespace, status.name, rows.get(status.uid), view)
        found.append(LoggedPod(label, status.namespace, status.name, status.uid, place, status))
    return tuple(found)


def _of(left: log_files.PodLogs) -> tuple[str, str, str]:
    return left.namespace, left.name, left.uid


def _left(view: NodeView, folder: Path) -> Iterable[log_files.PodLogs]:
    try:
        return log_files.pods(folder)
    except OSError as error:
        view.problems["logs"] = f"{folder}: {error.strerror or error}"
        return ()


def _changed(folder: Path) -> float:
    """When a container began to write there for the last time; the kubelet may remove it at any time."""
    try:
        return folder.stat().st_mtime
    except OSError:
        return 0.0


def _label(namespace: str, name: str, row: PodRow | None, view: NodeView) -> str:
    return str(row.key) if row else f"{namespace}/{name.removesuffix('-' + view.settings.node_name)}"


def containers_of(pods: Sequence[LoggedPod], name: str | None) -> tuple[Logged, ...]:
    """Give the containers of these pods, or those of one name. Raises UnknownNameError where there is none."""
    there = tuple(Logged(pod, each) for pod in pods for each in pod.containers())
    found = tuple(each for each in there if name in (None, each.name))
    if not found:
        known = ", ".join(dict.fromkeys(each.name for each in there))
        what = f"container {name}" if name else "container yet"
        raise names.UnknownNameError(
            f"{pods[0].label} has no {what}", hint=f"there are {known}" if known else "show tells what it waits for"
        )
    return found


# --- what they wrote


class _Writer:
    """Writes whole lines, each with its container's name before it where there are several."""

    def __init__(self, out: TextIO, console: Console, *, several: bool) -> None:
        self._out = out
        self._bytes: BinaryIO | None = getattr(out, "buffer", None)
        """Where what is no text goes as it is; a stream in memory has none."""
        self._console = console
        self._several = several
        self._half: dict[str, bytes] = {}
        self.wrote: set[str] = set()

    def line(self, container: Logged, text: bytes) -> None:
        """Write a line."""
        self.wrote.add(container.label)
        prefix = self._console.painted(container.label, FAINT).encode() + b" | " if self._several else b""
        if self._bytes is not None:
            self._bytes.write(prefix + text + b"\n")
        else:
            self._out.write((prefix + text + b"\n").decode("utf-8", "replace"))

    def take(self, container: Logged, piece: bytes) -> None:
        """Write the lines of a piece of a log, which may end anywhere."""
        whole = (self._half.pop(container.label, b"") + piece).split(b"\n")
        half = whole.pop()
        for text in whole:
            self.line(container, text)
        if half:
            self._half[container.label] = half
        self.flush()

    def end(self, container: Logged) -> None:
        """Write what a log has ended with, where that is no whole line."""
        if half := self._half.pop(container.label, b""):
            self.line(container, half)
        self.flush()

    def flush(self) -> None:
        """Let it be seen."""
        if self._bytes is not None:
            self._bytes.flush()
        self._out.flush()


class _Logs:
    """Shows the logs of some containers, from wherever they can be had."""

    def __init__(self, view: NodeView, writer: _Writer, given: argparse.Namespace) -> None:
        self._view = view
        self._writer = writer
        self._tail: int | None = given.tail
        self._previous: bool = given.previous
        self._follow: bool = given.follow
        self._failed = False
        self._shown = 0
        """Containers whose log was found, empty or not."""

    def show(self, wanted: Sequence[Logged]) -> int:
        """Write them; 1 where one could not be had, or none has run yet."""
        if self._view.statuses is None:
            why = self._view.problems.get("kubelet", "the kubelet cannot be asked")
            remark(f"{why}: what follows is from the files below {wanted[0].pod.folder.parent}")
            if self._follow:
                self._follow_files(wanted)
        elif self._follow:
            self._follow_by_kubelet([each for each in wanted if each.pod.status and self._has_run(each)])
            wanted = [each for each in wanted if each.pod.status is None]  # they are over
        for container in wanted:
            self._show(container)
        return 0 if self._shown and not self._failed else 1

    def _show(self, container: Logged) -> None:
        why = ""
        if container.pod.status:
            if not self._has_run(container):
                return
            try:
                self._stream(container, lambda piece: self._writer.take(container, piece))
                self._writer.end(container)
                self._shown += 1
                return
            except KubeletError as error:
                why = error.message
        self._from_files(container, why)

    def _from_files(self, container: Logged, why: str) -> None:
        if container.label in self._writer.wrote:  # it broke off in the middle
            self._fail(f"{container.label}: {why}")
            return
        paths = log_files.files(container.folder, previous=self._previous)
        if not paths:
            run = "log of the run before the last" if self._previous else "log of it"
            more = "; the last run may be all that is left: without --previous" if self._previous else ""
            self._fail(f"{container.label}: {why or f'there is no {run} in {container.folder}'}{more}")
            return
        if why:
            remark(f"{container.label}: {why}: from {paths[-1]}")
        self._shown += 1
        try:
            for text in log_files.lines(paths, self._tail):
                self._writer.line(container, text)
        except BrokenPipeError:
            raise
        except OSError as error:
            self._fail(f"{container.label}: {error.filename}: {error.strerror}")
        self._writer.end(container)

    def _has_run(self, container: Logged) -> bool:
        """Whether the container has written a log; says why not."""
        status = container.pod.container(container.name)
        if status is None or status.restart_count or has_log(status):
            return True
        remark(f"{container.label}: it has not run yet: {self._view.blanker.text(said(status))}")
        return False

    # --- following

    def _follow_by_kubelet(self, wanted: Sequence[Logged]) -> None:
        pieces: queue.Queue[tuple[Logged, bytes | KubeletError | None]] = queue.Queue(_PIECES)

        def read(container: Logged) -> None:
            try:
                self._stream(container, lambda piece: pieces.put((container, piece)))
            except KubeletError as error:
                pieces.put((container, error))
            pieces.put((container, None))

        for container in wanted:
            threading.Thread(target=read, args=(container,), daemon=True).start()
        left = self._shown = len(wanted)
        while left:
            try:
                container, piece = pieces.get(timeout=_WAKE_SECONDS)
            except queue.Empty:
                continue
            if piece is None:
                self._writer.end(container)
                left -= 1
            elif isinstance(piece, bytes):
                self._writer.take(container, piece)
            else:
                self._fail(f"{container.label}: {piece.message}")

    def _follow_files(self, wanted: Sequence[Logged]) -> NoReturn:
        followers = {container: log_files.Follower(container.folder) for container in wanted}
        try:
            for container, follower in followers.items():
                self._from_files(container, "")
                follower.skip()
            while True:
                for container, follower in followers.items():
                    for text in follower.added():
                        self._writer.line(container, text)
                    self._writer.end(container)
                time.sleep(_LOOK_SECONDS)
        finally:
            for follower in followers.values():
                follower.close()

    # --- how

    def _stream(self, container: Logged, take: Callable[[bytes], None]) -> None:
        """Read a log from the kubelet, over a connection of its own: requests' sessions are not for several threads."""
        if not self._view.access:
            raise KubeletError("nothing is known of the kubelet")
        api = KubeletApi(self._view.access, node_name=self._view.settings.node_name)
        try:
            api.stream_log(
                container.pod.namespace,
                container.pod.name,
                container.name,
                take,
                tail=self._tail,
                previous=self._previous,
                follow=self._follow,
            )
        finally:
            api.close()

    def _fail(self, why: str) -> None:
        self._failed = True
        remark(why)
