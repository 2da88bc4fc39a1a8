"""Brings the manifest directory to what the plan wants, in steps that a crash at any point leaves resumable.

A pod that changes is removed, waited for until it is really gone from the runtime, and only then written anew:
a kubelet left to replace it adds its back-off of 10 s or more to the grace period. Each phase is stored before
the step it announces. What is wanted is decided in `plan.py`; nothing is decided here.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from .clock import Clock
from .log import Log
from .manifest_dir import Found, ManifestDir, Mark, file_name, render
from .store import REMOVING, WRITING, WRITTEN, Entry, PodRow, Store
from .values import Pod, PodKey, PodStatus

GONE_AFTER_GRACE = 10.0
"""Seconds over the grace period after which a pod's successor is written all the same."""
_UNSEEN_SECONDS = 1.0
"""A pod without a control group may still be on its way into the runtime when its manifest is unlinked, and the kubelet
shows it no more: it had just begun with it, after a boot for example."""


_QUICK_PAUSE, _SLOW_PAUSE = 0.05, 0.2
_SOON = 3.0
_FIRST_NUDGE = 0.05
_NUDGE_GROWTH = 1.25
_NUDGED_SECONDS = 30.0


@dataclass
class _Successor:
    """A manifest that was written in place of one whose pod has just gone."""

    row: PodRow
    written_at: float
    nudged_at: float
    nudges: int = 0

    @property
    def due_at(self) -> float:
        """When the next nudge is due, steady seconds: soon at first, then less and less often."""
        return self.nudged_at + _FIRST_NUDGE * _NUDGE_GROWTH**self.nudges


@dataclass(frozen=True)
class Removed:
    """A manifest whose pod is gone, or `overdue`: still there when its time was over."""

    row: PodRow
    overdue: bool


class Manifests:
    """The directory and what the store knows about it, kept in step."""

    def __init__(
        self,
        store: Store,
        directory: ManifestDir,
        in_runtime: Callable[[str], bool],
        log: Log,
        clock: Clock,
    ) -> None:
        self._store = store
        self._directory = directory
        self._in_runtime = in_runtime
        self._log = log
        self._clock = clock
        self._ran: set[str] = set()
        self._removed_at: dict[str, float] = {}
        self._gone_at: dict[PodKey, float] = {}
        self._successors: dict[str, _Successor] = {}

    def rows(self) -> tuple[PodRow, ...]:
        """Our manifests as the store has them."""
        return self._store.pods()

    def scan(self) -> tuple[Found, ...]:
        """The directory's files. Raises ManifestError."""
        return self._directory.scan()

    def resume(self) -> None:
        """Take up what a crash, a reboot, a lost store or a fault of the disk left. Raises ManifestError."""
        self._directory.prepare()
        found = {each.file: each for each in self._directory.scan()}
        with self._store.transaction():
            for row in self._store.pods():
                there = found.get(row.file)
                if row.phase == WRITING and there and there.mark and there.mark.uid == row.uid:
                    self._store.set_phase(replace(row, file_hash=there.file_hash), WRITTEN, self._clock.wall())
                elif row.phase == WRITING:
                    self._store.drop_pod(row.key)
            self._adopt(found.values())
        left = [row for row in self._store.pods() if row.phase == REMOVING]
        self._unlink(left)

    def _adopt(self, found: Iterable[Found]) -> None:
        """Know our manifests again by their mark; to be called in a transaction."""
        known = {row.file for row in self._store.pods()}
        taken = {row.key for row in self._store.pods()}
        for each in found:
            if not each.ours or not each.mark or not each.key or each.file in known or each.key in taken:
                continue
            self._store.put_pod(row_of(each.key, each.mark, each, self._clock.wall()))
            taken.add(each.key)
            self._log.info("manifest recognised", pod=each.key, deployment=each.mark.identity, file=each.file)

    def remove(self, rows: Sequence[PodRow]) -> None:
        """Begin to remove: the phase first, then the file. Raises ManifestError."""
        if not rows:
            return
        for row in rows:
            self._removed_at[row.uid] = self._clock.steady()
            self._runs(row)
        with self._store.transaction():
            removing = [self._store.set_phase(row, REMOVING, self._clock.wall()) for row in rows]
        self._unlink(removing)
        for row in rows:
            self._log.info("manifest removed", pod=row.key, deployment=row.identity, file=row.file)

    def _unlink(self, rows: Sequence[PodRow]) -> None:
        for row in rows:
            self._directory.remove(row.file)
        if rows:
            self._directory.sync()

    def gone(self, visible: frozenset[str] | None, patience: float) -> tuple[Removed, ...]:
        """Give the manifests being removed whose pods are gone, and forget them.

        `visible` are the UIDs that the kubelet shows, None where it does not answer. A pod that is still there when
        its grace period, 10 s and `patience` seconds are over is given as overdue, and forgotten too.
        """
        ended = []
        for row in self._store.pods():
            if row.phase != REMOVING:
                continue
            waited = self._waited(row)
            if self._is_gone(row, visible, waited):
                ended.append(Removed(row, overdue=False))
            elif waited > row.grace + GONE_AFTER_GRACE + patience:
                ended.append(Removed(row, overdue=True))
        if ended:
            with self._store.transaction():
                for each in ended:
                    self._store.drop_pod(each.row.key)
        for each in ended:
            self._gone_at[each.row.key] = self._clock.steady()
            level = self._log.warning if each.overdue else self._log.info
            level("pod still there" if each.overdue else "pod gone", pod=each.row.key, deployment=each.row.identity)
        return tuple(ended)

    def may_be_gone(self) -> bool:
        """Whether a pod being removed has left the runtime: then it is worth asking the kubelet."""
        return any(row.phase == REMOVING and not self._runs(row) for row in self._store.pods())

    def pause(self) -> float | None:
        """Seconds until it is worth looking again; None where no pod is waited for.

        Most pods end soon after they are asked to, the others when their grace period is over.
        """
        waits = [(self._waited(row), row.grace) for row in self._store.pods() if row.phase == REMOVING]
        if self._successors or any(waited < _SOON or waited > grace - _SLOW_PAUSE for waited, grace in waits):
            return _QUICK_PAUSE
        return _SLOW_PAUSE if waits else None

    def _waited(self, row: PodRow) -> float:
        removed_at = self._removed_at.setdefault(row.uid, self._clock.steady_since(row.since))
        return self._clock.steady() - removed_at

    def _is_gone(self, row: PodRow, visible: frozenset[str] | None, waited: float) -> bool:
        if self._runs(row) or (visible is not None and row.uid in visible):
            return False
        return row.uid in self._ran or waited >= _UNSEEN_SECONDS

    def _runs(self, row: PodRow) -> bool:
        """Whether a pod is in the runtime, remembered: one that was and is not will not come again."""
        there = self._in_runtime(row.uid)
        if there:
            self._ran.add(row.uid)
        return there

    def write(self, wanted: Sequence[tuple[Pod, Entry]]) -> tuple[PodRow, ...]:
        """Write manifests, each as a new creation; gives their rows. Raises ManifestError."""
        if not wanted:
            return ()
        with self._store.transaction():
            generation = int(self._store.get("generation") or 0)
            fresh = []
            for pod, entry in wanted:
                generation += 1
                row = self._fresh(pod, entry, str(generation))
                self._store.put_pod(row)
                fresh.append((row, pod))
            self._store.put("generation", str(generation))
        written = [replace(row, file_hash=self._directory.write(row.file, _content(row, pod))) for row, pod in fresh]
        self._directory.sync()
        with self._store.transaction():
            done = tuple(self._store.set_phase(row, WRITTEN, self._clock.wall()) for row in written)
        for row in done:
            self._log.info("manifest written", pod=row.key, deployment=row.identity, file=row.file)
            if self._gone_at.pop(row.key, float("-inf")) > self._clock.steady() - _NUDGED_SECONDS:
                self._successors[row.uid] = _Successor(row, self._clock.steady(), self._clock.steady())
        return done

    # --- successors that the kubelet is slow to take up

    @property
    def has_successors(self) -> bool:
        """Whether a pod that took a predecessor's name has not been taken up yet."""
        return bool(self._successors)

    def nudge(self, statuses: Mapping[str, PodStatus]) -> None:
        """Have the kubelet try again to start what it has not taken up. Raises ManifestError.

        A pod whose name is still its predecessor's in the kubelet's books, for some tenths of a second after its
        control group has gone, is not tried again for 10 to 15 s (pkg/kubelet/pod_workers.go, allowStaticPodStart),
        unless its manifest changes: so an annotation of ours does, which restarts nothing.
        """
        now = self._clock.steady()
        for uid, successor in list(self._successors.items()):
            status = statuses.get(uid)
            taken_up = status is not None and (bool(status.containers) or status.sandbox_ready is not None)
            if taken_up or now > successor.written_at + _NUDGED_SECONDS:
                del self._successors[uid]
            elif now >= successor.due_at:
                successor.nudges, successor.nudged_at = successor.nudges + 1, now
                self._directory.nudge(successor.row.file, successor.nudges)

    def _fresh(self, pod: Pod, entry: Entry, generation: str) -> PodRow:
        identity = entry.deployment.identity
        return PodRow(
            key=pod.key,
            identity=identity,
            source=entry.sources[0] if entry.sources else "",
            file=file_name(identity, pod.key),
            content_hash=pod.content_hash,
            generation=generation,
            uid=str(uuid.uuid4()),
            file_hash="",
            grace=float(pod.grace_seconds),
            phase=WRITING,
            since=self._clock.wall(),
        )


def row_of(key: PodKey, mark: Mark, found: Found, since: float) -> PodRow:
    """Give what the store would know of a manifest of ours, from the manifest itself; `since` in seconds."""
    return PodRow(
        key=key,
        identity=mark.identity,
        source=mark.source,
        file=found.file,
        content_hash=mark.content_hash,
        generation=mark.generation,
        uid=mark.uid,
        file_hash=found.file_hash,
        grace=found.grace,
        phase=WRITTEN,
        since=since,
    )


def _content(row: PodRow, pod: Pod) -> bytes:
    return render(pod, Mark(row.identity, row.source, row.content_hash, row.generation, row.uid))
