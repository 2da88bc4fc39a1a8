"""Kills a Python process of the agent at the n-th thing that it changes; put on PYTHONPATH by `lab.kills`.

A change is what lasts: a transaction's end, a write outside of one, a file or folder made, replaced or removed, a
process started, a connection to somebody else than the kubelet. The process dies just before it, so that killed at
n and at n + 1 together see it before and after each. Each change is noted in a file, the last one was not made.
Nothing of the agent is replaced: Python's audit events and SQLite's trace tell what it is about to do.
"""

from __future__ import annotations

import os
import signal
import sqlite3
import sys
from typing import Any

COMMAND, AT, JOURNAL, PORT = "LAB_KILL_COMMAND", "LAB_KILL_AT", "LAB_KILL_JOURNAL", "LAB_KILL_PORT"

_IGNORED = ("/loop.lock", "/dev/null", "-wal", "-shm", "-journal", ".pyc")


class _Killer:
    def __init__(self, at: int, journal: str, port: int) -> None:
        self._left = at
        self._journal = os.open(journal, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._port = port
        self._stores: dict[int, sqlite3.Connection] = {}
        self._changes: dict[int, int] = {}

    def point(self, what: str) -> None:
        """Die here if it is time."""
        os.write(self._journal, what.encode() + b"\n")
        self._left -= 1
        if self._left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        """Look at what Python is about to do."""
        if event == "open":
            self._opened(*arguments)
        elif event in ("os.rename", "os.mkdir", "os.remove"):
            path = str(arguments[0])
            if os.path.lexists(path) != (event == "os.mkdir"):
                self.point(f"{event[3:]} {path}")
        elif event == "subprocess.Popen":
            self.point(f"start {arguments[0]}")
        elif event == "socket.connect" and arguments[1][1:2] == (self._port,):
            self.point("connect")
        elif event == "sqlite3.connect/handle":
            self._watch(arguments[0])

    def _opened(self, path: object, mode: object, flags: int) -> None:
        if not isinstance(path, str) or path.endswith(_IGNORED):
            return
        made = flags & os.O_CREAT and not os.path.lexists(path)
        if made or flags & os.O_TRUNC:
            self.point(f"make {path}")

    def _watch(self, store: sqlite3.Connection) -> None:
        number = id(store)
        self._stores[number] = store
        self._changes[number] = 0
        store.set_trace_callback(lambda statement: self._stated(number, statement))

    def _stated(self, number: int, statement: str) -> None:
        store = self._stores[number]
        word = statement.split(maxsplit=1)[0]
        if word == "COMMIT" and store.total_changes != self._changes[number]:
            self._changes[number] = store.total_changes
            self.point("commit")
        elif word in ("INSERT", "UPDATE") and not store.in_transaction:
            self.point(statement.split(" SET ")[0].split("(")[0])


def _install() -> None:
    command = os.environ.get(COMMAND)
    if command and sys.orig_argv[-1] == command:
        sys.dont_write_bytecode = True
        killer = _Killer(int(os.environ[AT]), os.environ[JOURNAL], int(os.environ[PORT]))
        sys.addaudithook(killer.audit)


_install()
