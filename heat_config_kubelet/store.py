"""The store: what is wanted, what was written, what became of it, and results not yet delivered.

SQLite in the state directory, 0600, so that a crash at any point and a reboot lose nothing.
Only this module knows its tables; everybody else takes and gives the small values below.
The schema has a version (`PRAGMA user_version`) and `_MIGRATIONS` brings older stores up to it.
"""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

from .deployments import read
from .errors import UNWRITABLE, DamagedStoreError, MetadataError, StoreError
from .log import Log
from .values import Deployment, Identity, PodKey, Result, Source

_MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        "CREATE TABLE setting (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
        # A source's last answer that said something about deployments.
        "CREATE TABLE source (name TEXT PRIMARY KEY, answered_at REAL NOT NULL) WITHOUT ROWID",
        """CREATE TABLE entry (
            sequence INTEGER PRIMARY KEY AUTOINCREMENT,
            id TEXT NOT NULL UNIQUE,
            stack_id TEXT NOT NULL,
            resource_name TEXT NOT NULL,
            data TEXT NOT NULL,
            mode TEXT NOT NULL,
            seen_at REAL NOT NULL,
            vanished_at REAL,
            state TEXT NOT NULL,
            started_at REAL,
            decided_at REAL,
            result TEXT,
            signal TEXT NOT NULL DEFAULT '',
            attempts INTEGER NOT NULL DEFAULT 0,
            next_attempt REAL NOT NULL DEFAULT 0,
            answer TEXT NOT NULL DEFAULT '',
            hook TEXT NOT NULL DEFAULT ''
        )""",
        "CREATE INDEX entry_identity ON entry (stack_id, resource_name)",
        """CREATE TABLE entry_source (
            entry_id TEXT NOT NULL REFERENCES entry (id) ON DELETE CASCADE,
            source TEXT NOT NULL,
            PRIMARY KEY (entry_id, source)
        ) WITHOUT ROWID""",
        """CREATE TABLE pod (
            namespace TEXT NOT NULL,
            name TEXT NOT NULL,
            stack_id TEXT NOT NULL,
            resource_name TEXT NOT NULL,
            source TEXT NOT NULL,
            file TEXT NOT NULL UNIQUE,
            content_hash TEXT NOT NULL,
            generation TEXT NOT NULL,
            uid TEXT NOT NULL,
            file_hash TEXT NOT NULL,
            grace REAL NOT NULL,
            phase TEXT NOT NULL,
            since REAL NOT NULL,
            PRIMARY KEY (namespace, name)
        ) WITHOUT ROWID""",
        """CREATE TABLE event (
            at REAL NOT NULL,
            entry_id TEXT NOT NULL,
            kind TEXT NOT NULL,
            text TEXT NOT NULL
        )""",
        "CREATE INDEX event_entry ON event (entry_id, at)",
    ),
    (
        # What a person asked for: `send_again`, `start_again`, `replace_pods`.
        "ALTER TABLE entry ADD COLUMN asked_at REAL",
        "ALTER TABLE entry ADD COLUMN quiet INTEGER NOT NULL DEFAULT 0",
        "CREATE TABLE outgoing (uid TEXT PRIMARY KEY) WITHOUT ROWID",
    ),
    (
        "ALTER TABLE event ADD COLUMN pod TEXT NOT NULL DEFAULT ''",
        "ALTER TABLE event ADD COLUMN uid TEXT NOT NULL DEFAULT ''",
    ),
)
SCHEMA_VERSION = len(_MIGRATIONS)

_ENTRIES = (
    "SELECT sequence, id, data, mode, seen_at, vanished_at, state, started_at, decided_at, result, signal,"
    " attempts, next_attempt, answer, hook, asked_at, quiet FROM entry WHERE "
)

_EVENTS = "SELECT at, entry_id, kind, text, pod, uid FROM event "
_NO_STORE = "it is made at the first metadata; where that has come: heat-config-kubelet doctor"
_EVENTS_KEPT = 5000
_VANISHED_KEPT_SECONDS = 7 * 86400.0

RUN, HOOK = "run", "hook"
"""The ways in: os-collect-config's command, and heat-agents' 55-heat-config. An entry has the one that brought it."""

APPLIED = "os-apply-config"
"""Setting of the store that tells os-apply-config's last outcome: JSON [time, problem]."""

WANTED, WORKING, DONE = "wanted", "working", "done"
"""States of an entry: nothing done yet; pods being written or waited for, or its hook running; decided."""

WRITING, WRITTEN, REMOVING = "writing", "written", "removing"
"""Phases of a pod's manifest: about to be renamed in; in place; unlinked, or about to be, its pod not yet gone."""

PENDING, DELIVERED, DOUBTFUL = "pending", "delivered", "doubtful"
REFUSED, DROPPED, UNSENT = "refused", "dropped", "unsent"
"""States of a result's signal. DELIVERED: accepted, or given to heat-agents, which signal it; DOUBTFUL: accepted, but
Heat may have given it to another deployment; DROPPED: superseded, vanished or expired; UNSENT: none is due (NO_SIGNAL),
or heat-agents have not asked for it yet.
Empty while there is no result."""


@dataclass(frozen=True)
class Entry:
    """One entry of the metadata with all that the store knows about it. Times are seconds since the epoch."""

    sequence: int
    deployment: Deployment
    sources: tuple[str, ...]
    mode: str
    seen_at: float
    vanished_at: float | None
    state: str
    started_at: float | None
    decided_at: float | None
    result: Result | None
    signal: str
    attempts: int
    next_attempt: float
    answer: str
    hook: str
    """JSON about the hook's process while it runs (`hooks.py`), else empty."""
    asked_at: float | None = None
    """When a person asked for its result to be sent again."""
    quiet: bool = False
    """Whether its next result is not to be signalled: it is run again, and Heat no longer waits for it."""

    @property
    def sent_from(self) -> float:
        """From when on its result has been due; 0 where it has none."""
        return max(self.decided_at or 0.0, self.asked_at or 0.0)


@dataclass(frozen=True)
class PodRow:
    """A manifest of ours: whose, where, and how far its writing or removing has come."""

    key: PodKey
    identity: Identity
    source: str
    file: str
    content_hash: str
    generation: str
    uid: str
    file_hash: str
    grace: float
    phase: str
    since: float
    outgoing: bool = False
    """Whether a person wants this very pod replaced by a new one; written by `Store.replace_pods` alone."""


@dataclass(frozen=True)
class Event:
    """Something that happened to an entry, for the timeline; `at` is seconds since the epoch.

    Kinds, in the order in which they come: collected (also: taken up again), started (work on it), validated; for each
    pod gone (the one before it), kept (one of an earlier action, unchanged) or written, sandbox (its volumes, sandbox
    and network are there), image (all of them), started (its containers have run), ready; succeeded, failed or
    skipped; sent and "signal <its state>" for each attempt; vanished.
    """

    at: float
    entry_id: str
    kind: str
    text: str
    pod: str = ""
    """Its key, "namespace/name", where it happened to a pod."""
    uid: str = ""
    """That pod's."""


@dataclass(frozen=True)
class Recorded:
    """What one `record` found: for the log."""

    at: float
    """The time that it gave to what is new."""
    added: tuple[Identity, ...]
    vanished: tuple[Identity, ...]
    problems: tuple[str, ...]


class Store:
    """The open store. Not shared between threads."""

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self._db = connection
        self.path = path
        self._inode = path.stat().st_ino

    @property
    def replaced(self) -> bool:
        """Whether another process has set this store aside and begun a new one."""
        try:
            return self.path.stat().st_ino != self._inode
        except OSError:
            return True

    @classmethod
    def open(cls, path: Path, *, create: bool = True) -> Store:
        """Open the store, making or migrating it.

        Raises StoreError where it cannot be opened, is damaged, or is a newer release's.
        """
        try:
            if create:
                path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
                os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
            elif not path.exists():
                raise StoreError(f"{path}: there is no store yet", hint=_NO_STORE)
            store = cls(sqlite3.connect(path, timeout=30.0, isolation_level=None), path)
            try:
                store._prepare()
            except BaseException:
                store.close()
                raise
        except sqlite3.OperationalError as error:
            raise StoreError(f"{path}: {error}", hint=UNWRITABLE) from error
        except sqlite3.DatabaseError as error:
            raise DamagedStoreError(f"{path}: {error}", hint="the next pass begins a new one") from error
        except OSError as error:
            raise StoreError(f"{path}: {error.strerror or error}") from error
        return store

    @classmethod
    def open_unwritable(cls, path: Path) -> Store:
        """Open a store on a disk that is full or read-only, where SQLite makes none of the files it needs for `open`.

        Raises StoreError, also where there is a log beside it that would have to be read first.
        """
        log = Path(f"{path}-wal")
        try:
            if log.exists() and log.stat().st_size:
                raise StoreError(f"{path}: what was written last is in {log.name}, which cannot be read now")
            where = f"file:{quote(str(path))}?mode=ro&immutable=1"  # sqlite.org/uri.html
            store = cls(sqlite3.connect(where, uri=True, isolation_level=None), path)
            try:
                store._prepare()
            except BaseException:
                store.close()
                raise
        except (sqlite3.Error, OSError) as error:
            raise StoreError(f"{path}: {error}") from error
        return store

    def _prepare(self) -> None:
        self._db.execute("PRAGMA foreign_keys = ON")
        version = int(self._db.execute("PRAGMA user_version").fetchone()[0])
        if version > SCHEMA_VERSION:
            raise StoreError(
                f"{self.path}: its schema is version {version}, this release knows {SCHEMA_VERSION}",
                hint="install the newer release again, or move the file away: the pods keep running",
            )
        if version == 0:
            self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = FULL")
        if version < SCHEMA_VERSION:
            with self.transaction():
                version = int(self._db.execute("PRAGMA user_version").fetchone()[0])
                for step in _MIGRATIONS[version:]:
                    for statement in step:
                        self._db.execute(statement)
                self._db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")

    def check(self) -> None:
        """Look at every page. Raises DamagedStoreError where one makes no sense."""
        try:
            told = str(self._db.execute("PRAGMA quick_check(1)").fetchone()[0])
        except sqlite3.OperationalError:
            raise
        except sqlite3.DatabaseError as error:
            told = str(error)
        if told != "ok":
            raise DamagedStoreError(f"{self.path}: {told}", hint="the next pass begins a new one")

    def close(self) -> None:
        """Close it; what was committed stays."""
        self._db.close()

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing, alone among the writers from its first statement on; within another it is part of that."""
        if self._db.in_transaction:
            yield
            return
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    def version(self) -> int:
        """A number that changes when another process has written."""
        return int(self._db.execute("PRAGMA data_version").fetchone()[0])

    # --- settings of the store's own

    def get(self, name: str) -> str | None:
        """A value that was `put`, or None."""
        row = self._db.execute("SELECT value FROM setting WHERE name = ?", (name,)).fetchone()
        return str(row[0]) if row else None

    def put(self, name: str, value: str) -> None:
        """Keep a value by name."""
        self._db.execute("INSERT OR REPLACE INTO setting VALUES (?, ?)", (name, value))

    # --- what is wanted

    def record(self, sources: Iterable[Source], mode: str, now: float) -> Recorded:
        """Take in what each source answered; to be called in a transaction.

        An entry vanishes only when every source that brought it has answered without it. A source with an
        entry that cannot be read removes nothing this time: what is missing may be that very entry.
        """
        added: list[Identity] = []
        problems: list[str] = []
        for source in sources:
            if source.problem:
                problems.append(source.problem)
            if source.deployments is not None:
                self._record_source(source.name, source.deployments, mode, now, added, problems)
        return Recorded(now, tuple(added), self._mark_vanished(now), tuple(problems))

    def want_again(self, deployment: Deployment, source: str, mode: str, now: float) -> None:
        """Take in one deployment by itself, one whose result was given already to be done anew; in a transaction.

        A result that nobody has asked for yet is kept: `record` brought the entry, and the loop was quick.
        An entry that came this way before, of the same identity, vanishes: nobody else says that it has.
        """
        known = self._db.execute(
            "SELECT state, result IS NOT NULL AND signal = ? AND vanished_at IS NULL, vanished_at"
            " FROM entry WHERE id = ?",
            (UNSENT, deployment.id),
        ).fetchone()
        if known is None or known[2] is not None:
            self._db.execute(
                "DELETE FROM entry_source WHERE source = ? AND entry_id IN"
                " (SELECT id FROM entry WHERE stack_id = ? AND resource_name = ?)",
                (source, *deployment.identity),
            )
            self._put_entry(deployment, source, mode, now)
            self._mark_vanished(now)
        if known is not None and known[0] == DONE and not known[1]:
            self._restart_entry(deployment.id, json.dumps(deployment.raw), now, "asked for again")

    def note_given(self, entry_id: str, now: float) -> None:
        """Note that an entry's result was given to heat-agents, which signals it; in a transaction."""
        changed = self._db.execute(
            "UPDATE entry SET signal = ?, answer = ? WHERE id = ? AND result IS NOT NULL AND signal = ?",
            (DELIVERED, "given to heat-agents", entry_id, UNSENT),
        )
        if changed.rowcount:
            self.event(entry_id, "signal " + DELIVERED, "given to heat-agents", now)

    def _record_source(
        self,
        source: str,
        entries: tuple[Any, ...],
        mode: str,
        now: float,
        added: list[Identity],
        problems: list[str],
    ) -> None:
        seen: set[str] = set()
        complete = True
        for number, raw in enumerate(entries):
            try:
                deployment = read(raw, f"{source}: deployments[{number}]")
            except MetadataError as error:
                problems.append(str(error))
                complete = False
                continue
            seen.add(deployment.id)
            if self._put_entry(deployment, source, mode, now):
                added.append(deployment.identity)
            if source != HOOK:  # from now on it is this source that says when the entry vanishes
                self._db.execute("DELETE FROM entry_source WHERE entry_id = ? AND source = ?", (deployment.id, HOOK))
        self._db.execute("INSERT OR REPLACE INTO source VALUES (?, ?)", (source, now))
        if complete:
            known = {
                row[0] for row in self._db.execute("SELECT entry_id FROM entry_source WHERE source = ?", (source,))
            }
            self._db.executemany(
                "DELETE FROM entry_source WHERE source = ? AND entry_id = ?",
                [(source, gone) for gone in known - seen],
            )

    def _put_entry(self, deployment: Deployment, source: str, mode: str, now: float) -> bool:
        row = self._db.execute("SELECT data, vanished_at, signal FROM entry WHERE id = ?", (deployment.id,)).fetchone()
        data = json.dumps(deployment.raw)
        if row is None:
            self._db.execute(
                "INSERT INTO entry (id, stack_id, resource_name, data, mode, seen_at, state) VALUES (?,?,?,?,?,?,?)",
                (deployment.id, *deployment.identity, data, mode, now, WANTED),
            )
            self.event(deployment.id, "collected", f"{deployment.action} from {source}", now)
        elif row[1] is not None:
            self._db.execute("UPDATE entry SET data = ?, vanished_at = NULL WHERE id = ?", (data, deployment.id))
            if row[2] == DROPPED:  # a source that was behind for once: Heat still waits for the answer
                self._restart_entry(deployment.id, data, now, "came back before it was signalled")
        elif row[0] != data and self._only_source(deployment.id) == source:
            self._restart_entry(deployment.id, data, now, "changed under its old id")
        self._db.execute("INSERT OR IGNORE INTO entry_source VALUES (?, ?)", (deployment.id, source))
        return row is None

    def _only_source(self, entry_id: str) -> str | None:
        rows = self._db.execute("SELECT source FROM entry_source WHERE entry_id = ?", (entry_id,)).fetchall()
        return str(rows[0][0]) if len(rows) == 1 else None

    def _restart_entry(self, entry_id: str, data: str, now: float, why: str) -> None:
        """Take an old id for a new action; Heat gives a new id, metadata written by hand may not."""
        self._db.execute(
            "UPDATE entry SET data = ?, state = ?, seen_at = ?, started_at = NULL, decided_at = NULL, result = NULL,"
            " signal = '', hook = '', asked_at = NULL, quiet = 0 WHERE id = ?",
            (data, WANTED, now, entry_id),
        )
        self.event(entry_id, "collected", why, now)

    def _mark_vanished(self, now: float) -> tuple[Identity, ...]:
        gone = self._db.execute(
            "SELECT id, stack_id, resource_name FROM entry WHERE vanished_at IS NULL "
            "AND NOT EXISTS (SELECT 1 FROM entry_source WHERE entry_id = id)"
        ).fetchall()
        for entry_id, _, _ in gone:
            self._db.execute("UPDATE entry SET vanished_at = ? WHERE id = ?", (now, entry_id))
            self.event(entry_id, "vanished", "its source answers without it", now)
        return tuple(Identity(stack, resource) for _, stack, resource in gone)

    def entries(self, *, vanished: bool = False) -> tuple[Entry, ...]:
        """The live entries in the order in which they were first seen; with `vanished` the others too."""
        with self._one_state():
            sources = self._db.execute("SELECT entry_id, source FROM entry_source ORDER BY source").fetchall()
            rows = self._db.execute(_ENTRIES + "vanished_at IS NULL OR ? ORDER BY sequence", (vanished,)).fetchall()
        of_entry: dict[str, list[str]] = {}
        for entry_id, source in sources:
            of_entry.setdefault(entry_id, []).append(source)
        return tuple(_entry(row, read(json.loads(row[2]), row[1]), tuple(of_entry.get(row[1], ()))) for row in rows)

    @contextlib.contextmanager
    def _one_state(self) -> Iterator[None]:
        """Read several tables as they were at one moment."""
        if self._db.in_transaction:
            yield
            return
        self._db.execute("BEGIN")
        try:
            yield
        finally:
            self._db.execute("COMMIT")

    def again(self, entry: Entry) -> Entry:
        """Read what has become of an entry, as given where it is forgotten; its deployment and sources are not read."""
        row = self._db.execute(_ENTRIES + "sequence = ?", (entry.sequence,)).fetchone()
        return _entry(row, entry.deployment, entry.sources) if row else entry

    def answered(self) -> frozenset[str]:
        """The names of the sources that have said something about deployments since this store began."""
        return frozenset(row[0] for row in self._db.execute("SELECT name FROM source"))

    # --- what became of it

    def set_state(self, entry_id: str, state: str, now: float) -> None:
        """Note how far an entry has come."""
        self._db.execute(
            "UPDATE entry SET state = ?, started_at = COALESCE(started_at, ?) WHERE id = ?", (state, now, entry_id)
        )

    def set_hook(self, entry_id: str, hook: str) -> None:
        """Note the process of an entry's hook, or "" once it has ended."""
        self._db.execute("UPDATE entry SET hook = ? WHERE id = ?", (hook, entry_id))

    def decide(self, entry_id: str, result: Result, signal: str, now: float) -> None:
        """Note an entry's result and whether it is to be signalled."""
        data = json.dumps([result.status_code, result.stdout, result.stderr, dict(result.outputs)])
        self._db.execute(
            "UPDATE entry SET state = ?, decided_at = ?, result = ?, signal = ?, attempts = 0, next_attempt = 0,"
            " hook = '' WHERE id = ?",
            (DONE, now, data, signal, entry_id),
        )
        self.event(entry_id, "failed" if result.status_code else "succeeded", "", now)

    def set_signal(
        self,
        entry_id: str,
        signal: str,
        answer: str,
        now: float,
        *,
        attempts: int | None = None,
        next_attempt: float = 0,
        sent_at: float | None = None,
    ) -> None:
        """Note what became of a signal, or when it is tried again; `sent_at` is when the attempt began."""
        self._db.execute(
            "UPDATE entry SET signal = ?, answer = ?, attempts = COALESCE(?, attempts), next_attempt = ? WHERE id = ?",
            (signal, answer, attempts, next_attempt, entry_id),
        )
        if sent_at is not None:
            self.event(entry_id, "sent", "", sent_at)
        self.event(entry_id, "signal " + signal, answer, now)

    def skip(self, entry_id: str, signal: str, why: str, now: float) -> None:
        """Note that an entry is never answered by us."""
        self._db.execute(
            "UPDATE entry SET state = ?, decided_at = ?, signal = ?, answer = ?, hook = '' WHERE id = ?",
            (DONE, now, signal, why, entry_id),
        )
        self.event(entry_id, "skipped", why, now)

    def drop_vanished_signals(self, now: float) -> tuple[str, ...]:
        """Drop what is still to be signalled for entries that have vanished; gives their ids."""
        rows = self._db.execute(
            "SELECT id, EXISTS (SELECT 1 FROM entry AS other WHERE other.vanished_at IS NULL"
            " AND other.stack_id = entry.stack_id AND other.resource_name = entry.resource_name)"
            " FROM entry WHERE vanished_at IS NOT NULL AND signal = ?",
            (PENDING,),
        ).fetchall()
        for entry_id, followed in rows:
            why = "superseded by a newer configuration" if followed else "vanished from the metadata"
            self.set_signal(entry_id, DROPPED, why, now)
        return tuple(entry_id for entry_id, _ in rows)

    def event(self, entry_id: str, kind: str, text: str, now: float) -> None:
        """Add a line to the timeline."""
        self._db.execute("INSERT INTO event (at, entry_id, kind, text) VALUES (?,?,?,?)", (now, entry_id, kind, text))

    def event_once(self, event: Event) -> None:
        """Add a line to the timeline, unless the same has happened to the same pod since the entry was collected."""
        self._db.execute(
            "INSERT INTO event (at, entry_id, kind, text, pod, uid) SELECT ?, ?, ?, ?, ?, ? WHERE NOT EXISTS"
            " (SELECT 1 FROM event WHERE entry_id = ? AND kind = ? AND uid = ? AND rowid >"
            " COALESCE((SELECT MAX(rowid) FROM event WHERE entry_id = ? AND kind = 'collected'), 0))",
            (
                *(event.at, event.entry_id, event.kind, event.text, event.pod, event.uid),
                *(event.entry_id, event.kind, event.uid, event.entry_id),
            ),
        )

    def events(self, entry_id: str) -> tuple[Event, ...]:
        """An entry's timeline, in the order in which it was noted."""
        rows = self._db.execute(_EVENTS + "WHERE entry_id = ? ORDER BY rowid", (entry_id,))
        return tuple(Event(*row) for row in rows)

    def last_events(self, count: int) -> tuple[Event, ...]:
        """Give the last `count` events of all entries, oldest first."""
        rows = self._db.execute(_EVENTS + "ORDER BY at DESC, rowid DESC LIMIT ?", (count,)).fetchall()
        return tuple(Event(*row) for row in reversed(rows))

    # --- what a person asks for

    def send_again(self, entry_id: str, now: float) -> None:
        """Send a result again, as if it had been decided now; in a transaction."""
        self._db.execute(
            "UPDATE entry SET signal = ?, attempts = 0, next_attempt = 0, asked_at = ? WHERE id = ?",
            (PENDING, now, entry_id),
        )
        self.event(entry_id, "resend", "a person asked for it", now)

    def start_again(self, entry: Entry, now: float, *, quiet: bool) -> None:
        """Do an entry anew, with new pods; in a transaction. With `quiet` its result is then not signalled."""
        entry_id = entry.deployment.id
        self._restart_entry(entry_id, json.dumps(entry.deployment.raw), now, "a person asked for it again")
        self._db.execute(
            "UPDATE entry SET quiet = ?, answer = '', attempts = 0, next_attempt = 0 WHERE id = ?", (quiet, entry_id)
        )
        self.replace_pods(row.uid for row in self.pods() if row.identity == entry.deployment.identity)

    def replace_pods(self, uids: Iterable[str]) -> None:
        """Have pods ended and created anew, those with these UIDs and never their successors."""
        self._db.executemany("INSERT OR IGNORE INTO outgoing VALUES (?)", [(uid,) for uid in uids])

    def forget(self, entry_ids: Iterable[str]) -> None:
        """Drop entries with all that is known of them, and overwrite it in the file (`fold`); in a transaction."""
        self._db.execute("PRAGMA secure_delete = ON")
        for entry_id in entry_ids:
            self._db.execute("DELETE FROM entry WHERE id = ?", (entry_id,))
            self._db.execute("DELETE FROM event WHERE entry_id = ?", (entry_id,))

    def fold(self) -> None:
        """Bring what SQLite keeps in its log into the file, and empty the log, as far as nobody reads now."""
        self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    # --- manifests

    def pods(self) -> tuple[PodRow, ...]:
        """Every manifest of ours, by namespace and name."""
        rows = self._db.execute(
            "SELECT namespace, name, stack_id, resource_name, source, file, content_hash, generation, uid, file_hash,"
            " grace, phase, since, uid IN (SELECT uid FROM outgoing) FROM pod ORDER BY namespace, name"
        )
        return tuple(_pod_row(row) for row in rows)

    def put_pod(self, row: PodRow) -> None:
        """Add a manifest or change what is known of it."""
        self._db.execute(
            "INSERT OR REPLACE INTO pod VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?)",
            (
                *row.key,
                *row.identity,
                row.source,
                row.file,
                row.content_hash,
                row.generation,
                row.uid,
                row.file_hash,
                row.grace,
                row.phase,
                row.since,
            ),
        )

    def set_phase(self, row: PodRow, phase: str, now: float) -> PodRow:
        """Note how far a manifest has come; gives the changed row."""
        changed = replace(row, phase=phase, since=now)
        self.put_pod(changed)
        return changed

    def drop_pod(self, key: PodKey) -> None:
        """Forget a manifest whose pod is gone."""
        self._db.execute("DELETE FROM pod WHERE namespace = ? AND name = ?", key)
        self._db.execute("DELETE FROM outgoing WHERE uid NOT IN (SELECT uid FROM pod)")

    def prune(self, now: float) -> None:
        """Drop vanished entries after a week and the oldest events beyond a bound."""
        self._db.execute(
            "DELETE FROM entry WHERE vanished_at < ? AND signal <> ?", (now - _VANISHED_KEPT_SECONDS, PENDING)
        )
        self._db.execute("DELETE FROM event WHERE rowid <= (SELECT MAX(rowid) FROM event) - ?", (_EVENTS_KEPT,))


def open_or_restart(path: Path, now: float, log: Log) -> Store:
    """Open the store; a damaged one is moved aside and a new one begun.

    The manifests are recognised by their marks then, so the pods keep running. Raises StoreError where the store
    is a newer release's or the disk cannot be written.
    """
    try:
        store = Store.open(path)
        try:
            store.check()
        except BaseException:
            store.close()
            raise
        return store
    except DamagedStoreError as error:
        aside = set_aside(path, now)
        log.error("store damaged, a new one begun", problem=error.message, kept=aside)
        return Store.open(path)


def set_aside(path: Path, now: float) -> Path:
    """Move a damaged store away, with what SQLite keeps beside it; gives its new place."""
    target = path.with_name(f"{path.name}.damaged-{int(now)}")
    for suffix in ("", "-wal", "-shm"):
        with contextlib.suppress(FileNotFoundError):
            Path(f"{path}{suffix}").replace(f"{target}{suffix}")
    return target


def _pod_row(row: tuple[Any, ...]) -> PodRow:
    known = PodRow(PodKey(row[0], row[1]), Identity(row[2], row[3]), *row[4:13])
    return replace(known, outgoing=True) if row[13] else known


def _entry(row: tuple[Any, ...], deployment: Deployment, sources: tuple[str, ...]) -> Entry:
    return Entry(
        sequence=row[0],
        deployment=deployment,
        sources=sources,
        mode=row[3],
        seen_at=row[4],
        vanished_at=row[5],
        state=row[6],
        started_at=row[7],
        decided_at=row[8],
        result=Result(*json.loads(row[9])) if row[9] else None,
        signal=row[10],
        attempts=row[11],
        next_attempt=row[12],
        answer=row[13],
        hook=row[14],
        asked_at=row[15],
        quiet=bool(row[16]),
    )
