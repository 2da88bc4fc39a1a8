"""Delivers results from the outbox, beside the loop's own work: an endpoint that hangs holds up nobody.

A few threads make the attempts; the store is only touched by the loop's own thread. When to send is said in
`outbox.py`, how in `signals.py`, what in `result.py`.
"""

from __future__ import annotations

import contextlib
import queue
import random
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from .ledger import Ledger
from .outbox import LONGEST_RETRY_AFTER_SECONDS, Listed, Parcel, Step, decide, listed, next_attempt
from .result import signal_body
from .secrets import Blanker
from .settings import Settings
from .signals import Answer, AnswerKind, body_limit, names_resource, url_expiry
from .store import DELIVERED, DOUBTFUL, DROPPED, PENDING, REFUSED, UNSENT, Entry
from .values import Deployment

THREADS = 8
"""Attempts at a time. What is due beyond them is not submitted: it may be superseded before its turn comes."""
_LONGEST_PAUSE = 60.0
_MOST_AHEAD = 1.1 * LONGEST_RETRY_AFTER_SECONDS
"""No attempt is planned later than that: a stored time that is was noted before the time of day was corrected."""
_GIVEN_TO_SUCCESSOR = (
    "{transport} names the resource, and Heat may have given this to {successor}, which replaces the deployment: then "
    "nothing ends the wait for its DELETE but the stack's timeout; a deployment with DELETE among its actions needs "
    "signal_transport TEMP_URL_SIGNAL or ZAQAR_SIGNAL"
)
_STATES = {
    AnswerKind.ACCEPTED: DELIVERED,
    AnswerKind.REFUSED: REFUSED,
    AnswerKind.EXPIRED: DROPPED,
    AnswerKind.NOTHING: UNSENT,
}


class CanSend(Protocol):
    """`signals.Sender`, or what stands for it in a unit test."""

    def send(self, deployment: Deployment, body: bytes) -> Answer:
        """Make one attempt."""


class Delivery:
    """Every result that is still to be signalled. `notify` is called, from a thread, when an attempt has ended."""

    def __init__(
        self, ledger: Ledger, sender: CanSend, settings: Settings, notify: Callable[[], None], rng: random.Random
    ) -> None:
        self._ledger = ledger
        self._threads = _Threads(sender, notify)
        self._settings = settings
        self._rng = rng
        self._steady: dict[tuple[str, float], float] = {}
        self._held: set[str] = set()
        """Entries that wait for another one's signal, not for a time."""

    def advance(self) -> None:
        """Take in what has been answered and send what is due."""
        ended = self._threads.ended()
        with self._ledger.store.transaction() if ended else contextlib.nullcontext():
            for attempt, answer in ended:
                entry = self._ledger.entries.get(attempt.deployment.id)
                if entry is not None and entry.signal == PENDING and entry.decided_at == attempt.decided_at:
                    self._note(entry, answer, attempt.sent_at)
        pending = self._pending()
        if not pending or self._ledger.has_news():
            return  # a configuration that `run` has just superseded is not signalled any more
        others = listed(self._ledger.entries.values(), self._ledger.owners())
        for entry in sorted(pending, key=self._due):  # a sort is stable: new results in the order of their entries
            self._consider(entry, others)

    def pause(self) -> float | None:
        """Seconds until a signal is due and may be sent; None where none is pending."""
        if self._threads.full:
            return _LONGEST_PAUSE  # the end of an attempt is notified
        pauses = [_LONGEST_PAUSE] if self._threads.under_way else []
        now = self._ledger.clock.wall()
        for entry in self._pending():
            due = self._due(entry) - now
            pauses.append(_LONGEST_PAUSE if entry.deployment.id in self._held else min(max(due, 0.05), _LONGEST_PAUSE))
        return min(pauses, default=None)

    def _due(self, entry: Entry) -> float:
        return self._now_that(entry, entry.next_attempt) if entry.next_attempt else 0.0

    def _now_that(self, entry: Entry, stored: float) -> float:
        """A stored time of day as it would be now, had nobody corrected the time of day since it was noted."""
        clock = self._ledger.clock
        ahead = min(stored - clock.wall(), _MOST_AHEAD)
        steady = self._steady.setdefault((entry.deployment.id, stored), clock.steady() + ahead)
        return clock.wall() + steady - clock.steady()

    def _pending(self) -> list[Entry]:
        return [
            entry
            for entry in self._ledger.entries.values()
            if entry.signal == PENDING and entry.deployment.id not in self._threads.under_way
        ]

    def _consider(self, entry: Entry, others: list[Listed]) -> None:
        deployment = entry.deployment
        parcel = Parcel(
            id=deployment.id,
            identity=deployment.identity,
            transport=deployment.transport,
            decided_at=self._now_that(entry, entry.sent_from),
            attempts=entry.attempts,
            next_attempt=self._due(entry),
            delete=deployment.action == "DELETE",
            expires_at=url_expiry(deployment, self._settings.cfn_url_lifetime),
        )
        decision = decide(parcel, others, self._ledger.clock.wall(), max_age=self._settings.signal_max_age)
        self._held.discard(deployment.id)
        if decision.step is Step.DROP:
            self._ledger.note_signal(entry, DROPPED, decision.reason)
        elif decision.step is Step.WAIT and decision.until is None:
            self._held.add(deployment.id)
        elif decision.step is Step.SEND and entry.result is not None and not self._threads.full:
            body = signal_body(entry.result, deployment, Blanker.of(deployment), body_limit(deployment.transport))
            self._threads.submit(_Attempt(deployment, entry.decided_at, body, self._ledger.clock.wall()))

    def _note(self, entry: Entry, answer: Answer, sent_at: float) -> None:
        doubt = self._doubt(entry) if answer.kind is AnswerKind.ACCEPTED else ""
        if doubt:
            self._ledger.note_signal(entry, DOUBTFUL, f"{answer.detail}; {doubt}", sent_at)
            return
        if answer.final:
            self._ledger.note_signal(entry, _STATES[answer.kind], answer.detail, sent_at)
            return
        again = next_attempt(entry.attempts + 1, self._ledger.clock.wall(), self._rng, answer.retry_after)
        self._ledger.note_retry(entry, answer.detail, again, sent_at)

    def _doubt(self, entry: Entry) -> str:
        """Why a signal that Heat has accepted may not be what ends its wait; "" where it is."""
        deployment = entry.deployment
        successor = self._ledger.owners()[deployment.identity]
        if successor is None or successor is entry or not names_resource(deployment.transport):
            return ""
        return _GIVEN_TO_SUCCESSOR.format(transport=deployment.transport, successor=successor.deployment.id)


@dataclass(frozen=True)
class _Attempt:
    """What is sent. An entry that was restarted under its id may have another result when the answer comes."""

    deployment: Deployment
    decided_at: float | None
    body: bytes
    sent_at: float
    """Seconds since the epoch."""


class _Threads:
    """Attempts under way, by entry id."""

    def __init__(self, sender: CanSend, notify: Callable[[], None]) -> None:
        self._sender = sender
        self._notify = notify
        self._todo: queue.SimpleQueue[_Attempt] = queue.SimpleQueue()
        self._done: queue.SimpleQueue[tuple[_Attempt, Answer]] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        self.under_way: set[str] = set()

    @property
    def full(self) -> bool:
        return len(self.under_way) >= THREADS

    def submit(self, attempt: _Attempt) -> None:
        self.under_way.add(attempt.deployment.id)
        self._todo.put(attempt)
        if len(self._threads) < min(THREADS, len(self.under_way)):
            thread = threading.Thread(target=self._work, daemon=True, name="signal")
            thread.start()
            self._threads.append(thread)

    def ended(self) -> list[tuple[_Attempt, Answer]]:
        answers = []
        while not self._done.empty():
            attempt, answer = self._done.get()
            self.under_way.discard(attempt.deployment.id)
            answers.append((attempt, answer))
        return answers

    def _work(self) -> None:
        while True:
            attempt = self._todo.get()
            try:
                answer = self._sender.send(attempt.deployment, attempt.body)
            except Exception as error:  # a bug of ours must not lose the result: it is tried again, and said
                answer = Answer(AnswerKind.RETRY, f"internal error: {type(error).__name__}")
            self._done.put((attempt, answer))
            self._notify()
