"""Our log: one line an event, key=value, to standard error, where the journal or os-collect-config takes it.

Under systemd each line carries its level in the form of sd-daemon(3). Nothing secret may be given to it:
callers log identities, names and states, and texts of others only after they were blanked.
"""

from __future__ import annotations

import os
import sys
from typing import TextIO

_LEVELS = {"debug": 7, "info": 6, "warning": 4, "error": 3}


class Log:
    """Writes events at or above a level."""

    def __init__(self, level: str = "info", *, out: TextIO | None = None, journal: bool | None = None) -> None:
        self._most = _LEVELS[level]
        self._out = out
        self._journal = bool(os.environ.get("JOURNAL_STREAM")) if journal is None else journal

    def debug(self, event: str, **fields: object) -> None:
        """Something only somebody who debugs the agent wants to know."""
        self._write("debug", event, fields)

    def info(self, event: str, **fields: object) -> None:
        """A step taken."""
        self._write("info", event, fields)

    def warning(self, event: str, **fields: object) -> None:
        """Something is not as wanted; work goes on."""
        self._write("warning", event, fields)

    def error(self, event: str, **fields: object) -> None:
        """Something failed for good."""
        self._write("error", event, fields)

    def _write(self, level: str, event: str, fields: dict[str, object]) -> None:
        number = _LEVELS[level]
        if number > self._most:
            return
        start = f"<{number}>" if self._journal else f"{level.upper()} "
        text = start + " ".join([_quoted(event, always=True), *(f"{key}={_quoted(v)}" for key, v in fields.items())])
        try:
            print(text, file=self._out or sys.stderr, flush=True)
        except (OSError, ValueError):
            return  # a closed or full log must not stop the pods


def _quoted(value: object, *, always: bool = False) -> str:
    text = str(value)
    if always:
        return " ".join(text.split())
    if text and not any(char.isspace() or char in '"=' or not char.isprintable() for char in text):
        return text
    shown = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(char if char.isprintable() else repr(char)[1:-1] for char in shown) + '"'
