"""Kills a Python process of the agent at the n-th thing that it changes; put on PYTHONPATH by `lab.kills`.

A change is what lasts: a transaction's end, a write outside of one, a file or folder made, replaced or removed, a
process started, a connection to where signals go. The process dies just before it, so that killed at
n and at n + 1 together see it before and after each. Each change is noted in a file.
Nothing of the agent is replaced: Python's audit events and SQLite's trace say what it is about to do.
"""

from __future__ import annotations

import os
import signal
import sqlite3
import sys
from typing import Any

COMMAND, AT, JOURNAL, PORT = "LAB_KILL_COMMAND", "LAB_KILL_AT", "LAB_KILL_JOURNAL", "LAB_KILL_PORT"

_connect = sqlite3.connect
_IGNORED = ("/loop.lock", "/dev/null", "-wal", "-shm", "-journal", ".pyc")


class _Killer:
    def __init__(self, at: int, journal: str, port: int) -> None:
        self._left = at
        self._journal = os.open(journal, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._port = port

    def point(self, what: str) -> None:
        """Die here if it is time."""
        os.write(self._journal, what.encode() + b"\n")
        self._left -= 1
        if self._left == 0:
            os.write(self._journal, b"killed\n")
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

    def _opened(self, path: object, _mode: object, flags: int) -> None:
        if not isinstance(path, str) or path.endswith(_IGNORED):
            return
        made = flags & os.O_CREAT and not os.path.lexists(path)
        if made or flags & os.O_TRUNC:
            self.point(f"make {path}")

    def connect(self, *arguments: Any, **options: Any) -> sqlite3.Connection:
        """Open a database, and look at what is done to it."""
        store: sqlite3.Connection = _connect(*arguments, **options)
        written = False

        def stated(statement: str) -> None:
            nonlocal written
            word = statement.split(maxsplit=1)[0]
            if word in ("INSERT", "UPDATE", "CREATE") and not store.in_transaction:
                self.point(statement.split(" SET ")[0].split("(")[0])
            elif word == "COMMIT" and written:
                self.point("commit")
            written = store.in_transaction and (written or word in ("INSERT", "UPDATE", "CREATE"))

        store.set_trace_callback(stated)
        return store


def _install() -> None:
    command = os.environ.get(COMMAND)
    if command and sys.orig_argv[-1] == command:
        sys.dont_write_bytecode = True
        killer = _Killer(int(os.environ[AT]), os.environ[JOURNAL], int(os.environ[PORT]))
        sys.addaudithook(killer.audit)
        sqlite3.connect = killer.connect  # type: ignore[assignment]


_install()
