"""The loop's own view of the store: the live entries, and every change that the loop makes to one.

Each change is one transaction, and is in `entries` at once. News of others is taken in only by `take_news`, so
that one step of the loop works on one state.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from .clock import Clock
from .errors import ReplacedStoreError
from .log import Log
from .plan import owner_of
from .signals import NO_SIGNAL
from .store import DELIVERED, DROPPED, HOOK, PENDING, REFUSED, UNSENT, WANTED, WORKING, Entry, Event, Store
from .values import Identity, Result

NOTES_SECONDS = 5.0
"""So long a note for the timeline waits for a transaction that is there anyway: most deployments are decided sooner."""


class Ledger:
    """The live entries by id, in the order in which they were first seen."""

    def __init__(self, store: Store, clock: Clock, log: Log) -> None:
        self.store = store
        self.clock = clock
        self._log = log
        self._version = -1
        self._began: dict[str, float] = {}
        """On the steady clock, by entry id."""
        self._notes: list[Event] = []
        self._noted_at = 0.0
        """When the oldest of them was noted, on the steady clock."""
        self.entries: dict[str, Entry] = {}

    def has_news(self) -> bool:
        """Whether another process has written since `take_news`."""
        return self.store.version() != self._version

    def take_news(self) -> bool:
        """Read the entries again if another process has written; says whether it has.

        Raises ReplacedStoreError where the store is no longer the one that others write to.
        """
        if self.store.replaced:
            raise ReplacedStoreError(f"{self.store.path}: set aside by another process")
        version = self.store.version()
        if version == self._version:
            return False
        self._version = version
        for entry_id in self.store.drop_vanished_signals(self.clock.wall()):
            self._log.info("signal dropped", config=entry_id)
        self.entries = {entry.deployment.id: entry for entry in self.store.entries()}
        return True

    def _read_again(self, entry: Entry) -> Entry:
        """Take in our own change of one entry, and nothing else."""
        changed = self.entries[entry.deployment.id] = self.store.again(entry)
        return changed

    def owners(self) -> dict[Identity, Entry | None]:
        """Give, by identity, the entry whose content its pods follow; None where all that is left is a DELETE."""
        same: dict[Identity, list[Entry]] = {}
        for entry in self.entries.values():
            same.setdefault(entry.deployment.identity, []).append(entry)
        return {identity: owner_of(entries) for identity, entries in same.items()}

    # --- the timeline

    def note(self, event: Event) -> None:
        """Note a step for the timeline: in the store with the next change of any entry, or by `write_notes`."""
        if not self._notes:
            self._noted_at = self.clock.steady()
        self._notes.append(event)

    def write_notes(self) -> None:
        """Bring the notes that have waited for long enough into the store."""
        if self._notes and self.clock.steady() - self._noted_at >= NOTES_SECONDS:
            with self._change():
                pass

    @contextlib.contextmanager
    def _change(self) -> Iterator[None]:
        """A transaction that takes the notes along."""
        with self.store.transaction():
            for event in self._notes:
                self.store.event_once(event)
            self._notes.clear()
            yield

    # --- changes

    def begin(self, entry: Entry) -> Entry:
        """Note that work on an entry begins; gives it as it is then."""
        entry_id = entry.deployment.id
        entry = self.entries.get(entry_id, entry)  # it may have begun with another of its pods
        if entry.state != WANTED:
            return entry
        with self._change():
            self.store.set_state(entry_id, WORKING, self.clock.wall())
            self.store.event(entry_id, "started", "", self.clock.wall())
        self._began[entry_id] = self.clock.steady()
        return self._read_again(entry)

    def elapsed(self, entry: Entry) -> float:
        """Seconds since work on an entry began."""
        stored = self.clock.steady_since(entry.started_at or self.clock.wall())
        return self.clock.steady() - self._began.setdefault(entry.deployment.id, stored)

    def set_hook(self, entry: Entry, record: str) -> None:
        """Note the process of an entry's hook."""
        self.store.set_hook(entry.deployment.id, record)
        self._read_again(entry)

    def _started_anew(self, entry: Entry) -> bool:
        """Whether another process has begun it again: what was seen of it before says nothing any more.

        To be asked in the transaction that notes what was seen.
        """
        return self.store.again(entry).seen_at != entry.seen_at

    def decide(self, entry: Entry, outcome: Result) -> None:
        """Note an entry's result, to be signalled where somebody waits for it."""
        deployment = entry.deployment
        silent = entry.quiet or entry.mode == HOOK or deployment.transport == NO_SIGNAL
        with self._change():
            if self._started_anew(entry):
                return
            self.store.decide(deployment.id, outcome, UNSENT if silent else PENDING, self.clock.wall())
        level = self._log.error if outcome.status_code else self._log.info
        level(
            "deployment decided",
            deployment=deployment.identity,
            action=deployment.action,
            status_code=outcome.status_code,
            config=deployment.id,
        )
        self._read_again(entry)

    def skip(self, entry: Entry, signal: str, why: str) -> None:
        """Note that an entry is never answered by us."""
        with self._change():
            if self._started_anew(entry):
                return
            self.store.skip(entry.deployment.id, signal, why, self.clock.wall())
        self._log.info("deployment skipped", deployment=entry.deployment.identity, config=entry.deployment.id, why=why)
        self._read_again(entry)

    def note_signal(self, entry: Entry, signal: str, why: str, sent_at: float | None = None) -> None:
        """Note what became of an entry's signal for good; `sent_at` is when its last attempt began."""
        entry_id = entry.deployment.id
        attempts = entry.attempts + (signal != DROPPED)
        with self.store.transaction():
            if self._started_anew(entry):
                return
            self.store.set_signal(entry_id, signal, why, self.clock.wall(), attempts=attempts, sent_at=sent_at)
        levels = {DELIVERED: self._log.info, UNSENT: self._log.info, REFUSED: self._log.error}
        level = levels.get(signal, self._log.warning)
        level("signal " + signal, deployment=entry.deployment.identity, config=entry_id, answer=why)
        self._read_again(entry)

    def note_retry(self, entry: Entry, why: str, again: float, sent_at: float | None = None) -> None:
        """Note that a signal, sent at `sent_at`, was not taken, and when it is tried again: seconds since the epoch."""
        now = self.clock.wall()
        attempts = entry.attempts + 1
        with self.store.transaction():
            if self._started_anew(entry):
                return
            self.store.set_signal(
                entry.deployment.id, PENDING, why, now, attempts=attempts, next_attempt=again, sent_at=sent_at
            )
        self._log.warning(
            "signal not taken",
            deployment=entry.deployment.identity,
            config=entry.deployment.id,
            why=why,
            attempt=attempts,
            again_in=round(again - now, 1),
        )
        self._read_again(entry)
