"""Our log: one line an event, key=value. Under systemd to the journal, with fields of its own; else to standard error.

The journal's fields, beside MESSAGE and PRIORITY: HEAT_DEPLOYMENT (stack/resource), POD (namespace/name) and
HEAT_CONFIG (the id of a config), so that `journalctl HEAT_DEPLOYMENT=shop/web` finds all of one deployment. How they
get there: systemd.io/JOURNAL_NATIVE_PROTOCOL. Without its socket, or where that refuses a line, the line goes to
standard error with its level in the form of sd-daemon(3).

Levels: error, something failed for good and somebody has to act; warning, something is not as wanted and is tried
again or passed over; info, a step taken; debug, for who debugs the agent. Nothing secret may be given to it: callers
log identities, names and states, and texts of others only after they were blanked.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TextIO

JOURNAL_SOCKET = Path("/run/systemd/journal/socket")
IDENTIFIER = "heat-config-kubelet"
"""For `journalctl -t`."""

_LEVELS = {"debug": 7, "info": 6, "warning": 4, "error": 3}
_JOURNAL_FIELDS = {"deployment": "HEAT_DEPLOYMENT", "pod": "POD", "config": "HEAT_CONFIG"}
_LONGEST_SEND_SECONDS = 1.0
"""A journal that hangs must not stop the pods."""


class Log:
    """Writes events at or above a level.

    `out` is where lines go instead of standard error, and then none go to the journal's socket; `journal` says that
    what reads them is the journal, by default where systemd says so. `socket` is the journal's own.
    """

    def __init__(
        self,
        level: str = "info",
        *,
        out: TextIO | None = None,
        journal: bool | None = None,
        socket: Path | None = None,
    ) -> None:
        self._most = _LEVELS[level]
        self._out = out
        self._journal = bool(os.environ.get("JOURNAL_STREAM")) if journal is None else journal
        self._socket = socket
        if socket is None and out is None and self._journal and _stderr_is_journal():
            self._socket = JOURNAL_SOCKET

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
        text = " ".join([_quoted(event, always=True), *(f"{key}={_quoted(v)}" for key, v in fields.items())])
        if self._socket and _sent(self._socket, _datagram(number, text, fields)):
            return
        start = f"<{number}>" if self._journal else f"{level.upper()} "
        try:
            print(start + text, file=self._out or sys.stderr, flush=True)
        except (OSError, ValueError):
            return  # a closed or full log must not stop the pods


def _stderr_is_journal() -> bool:
    """Whether standard error is the stream that $JOURNAL_STREAM names (systemd.exec(5)), not redirected."""
    try:
        found = os.fstat(2)
    except OSError:
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{found.st_dev}:{found.st_ino}"


def _datagram(number: int, text: str, fields: Mapping[str, object]) -> bytes:
    """Give an entry of the journal: FIELD=value, or where the value has line ends FIELD, its length and itself."""
    entry = {"MESSAGE": text, "PRIORITY": str(number), "SYSLOG_IDENTIFIER": IDENTIFIER}
    entry.update({_JOURNAL_FIELDS[key]: str(value) for key, value in fields.items() if key in _JOURNAL_FIELDS})
    parts = []
    for name, value in entry.items():
        data = value.encode("utf-8", "backslashreplace")
        if b"\n" in data:
            parts.append(name.encode() + b"\n" + len(data).to_bytes(8, "little") + data + b"\n")
        else:
            parts.append(name.encode() + b"=" + data + b"\n")
    return b"".join(parts)


def _sent(path: Path, datagram: bytes) -> bool:
    import socket  # only where there is a journal

    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journal:
            journal.settimeout(_LONGEST_SEND_SECONDS)
            journal.sendto(datagram, str(path))
    except OSError:
        return False
    return True


def _quoted(value: object, *, always: bool = False) -> str:
    text = str(value)
    if always:
        return " ".join(text.split())
    if text and not any(char.isspace() or char in '"=' or not char.isprintable() for char in text):
        return text
    shown = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(char if char.isprintable() else repr(char)[1:-1] for char in shown) + '"'
