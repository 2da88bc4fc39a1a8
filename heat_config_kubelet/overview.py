"""What `status` shows: every deployment in one line, and below them the signals that have not simply arrived."""

from __future__ import annotations

import time
from typing import Any

from .settings import Settings
from .store import DELIVERED, DONE, UNSENT, Entry, Store

COLUMNS = ("stack", "resource", "action", "group", "state", "since", "signal")


def overview(settings: Settings) -> list[dict[str, Any]]:
    """Give a map for each live deployment. Raises StoreError where there is no store."""
    store = Store.open(settings.store_file, create=False)
    try:
        return [_row(entry) for entry in store.entries()]
    finally:
        store.close()


def _row(entry: Entry) -> dict[str, Any]:
    identity = entry.deployment.identity
    since = entry.decided_at or entry.started_at or entry.seen_at
    return {
        "id": entry.deployment.id,
        "stack": identity.stack_id.split("/")[0],
        "resource": identity.resource_name,
        "action": entry.deployment.action,
        "group": entry.deployment.group,
        "state": _state(entry),
        "status_code": entry.result.status_code if entry.result else None,
        "since": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(since)),
        "signal": entry.signal,
        "signal_answer": entry.answer,
    }


def _state(entry: Entry) -> str:
    if entry.state != DONE:
        return entry.state
    if entry.result is None:
        return "skipped"
    return "failed" if entry.result.status_code else "succeeded"


def table(rows: list[dict[str, Any]]) -> str:
    """Draw the maps of `overview` as a table; what is to be said of a signal, such as why it waits, follows it."""
    cells = [tuple(name.upper() for name in COLUMNS), *(tuple(str(row[name]) for name in COLUMNS) for row in rows)]
    widths = [max(len(line[column]) for line in cells) for column in range(len(COLUMNS))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in cells]
    lines += [
        f"{row['stack']}/{row['resource']}, {row['action']}: signal {row['signal']}: {row['signal_answer']}"
        for row in rows
        if row["signal_answer"] and row["signal"] not in (DELIVERED, UNSENT)
    ]
    return "\n".join(lines)
