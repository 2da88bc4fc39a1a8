"""Lets services with many threads share one SQLite file, as they share PostgreSQL.

Reads see what is committed at that moment, and a transaction begins with its first write, which waits for its turn:
Python's own way with isolation level IMMEDIATE, which oslo.db replaces by a BEGIN before the first read; then a
write after somebody else's fails at once instead of waiting. Ids of rows are never given twice: Heat's graphs of
resources refer to ids of rows that may be gone.
Runs with the services' Python, before their modules are imported.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy
from sqlalchemy.dialects.sqlite.base import SQLiteDialect
from sqlalchemy.engine import Engine


def prepare_for_threads() -> None:
    """Set this up for every engine of the process that uses SQLite."""
    SQLiteDialect.construct_arguments = [
        (kind, {**arguments, "autoincrement": True} if kind is sqlalchemy.Table else arguments)
        for kind, arguments in SQLiteDialect.construct_arguments
    ]
    sqlalchemy.event.listen(Engine, "connect", _connected)
    sqlalchemy.event.listen(Engine, "begin", _begins)


def _connected(connection: Any, record: Any) -> None:
    if "sqlite" in type(connection).__module__:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA busy_timeout = 60000")


def _begins(connection: Any) -> None:
    if connection.dialect.name == "sqlite":
        connection.connection.dbapi_connection.isolation_level = "IMMEDIATE"
        connection.info["in_transaction"] = True
        """So oslo.db issues no BEGIN of its own."""
