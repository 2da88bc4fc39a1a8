"""Sends results beside the loop's own work: a few threads, so that one endpoint that hangs holds up nobody.

When to send is said in `outbox.py`, how in `signals.py`; the store is only touched by the loop's own thread.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import Protocol

from .signals import Answer, AnswerKind
from .values import Deployment

THREADS = 4


class CanSend(Protocol):
    """`signals.Sender`, or what stands for it in a unit test."""

    def send(self, deployment: Deployment, body: bytes) -> Answer:
        """Make one attempt."""


class Delivery:
    """Attempts under way, by entry id."""

    def __init__(self, sender: CanSend, notify: Callable[[], None]) -> None:
        self._sender = sender
        self._notify = notify
        self._todo: queue.SimpleQueue[tuple[Deployment, bytes]] = queue.SimpleQueue()
        self._done: queue.SimpleQueue[tuple[str, Answer]] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        self.under_way: set[str] = set()

    def submit(self, deployment: Deployment, body: bytes) -> None:
        """Begin an attempt; `notify` is called when it has ended."""
        self.under_way.add(deployment.id)
        self._todo.put((deployment, body))
        if len(self._threads) < min(THREADS, len(self.under_way)):
            thread = threading.Thread(target=self._work, daemon=True, name="signal")
            thread.start()
            self._threads.append(thread)

    def answers(self) -> list[tuple[str, Answer]]:
        """Give the attempts that have ended since the last call."""
        ended = []
        while not self._done.empty():
            entry_id, answer = self._done.get()
            self.under_way.discard(entry_id)
            ended.append((entry_id, answer))
        return ended

    def _work(self) -> None:
        while True:
            deployment, body = self._todo.get()
            try:
                answer = self._sender.send(deployment, body)
            except Exception as error:  # a bug of ours must not lose the result: it is tried again, and said
                answer = Answer(AnswerKind.RETRY, f"internal error: {type(error).__name__}")
            self._done.put((deployment.id, answer))
            self._notify()
