"""The control channel of a QEMU (docs/interop/qmp-spec.rst): commands on a socket, in JSON."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

_SECONDS = 300.0
"""The longest command is the writing of a snapshot."""


class QmpError(Exception):
    """A command was refused; the message is QEMU's."""


class Qmp:
    """An open channel."""

    def __init__(self, path: Path) -> None:
        """Raises OSError where no QEMU listens at `path`."""
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(_SECONDS)
        try:
            self._socket.connect(str(path))
        except OSError:
            self._socket.close()
            raise
        self._lines = self._socket.makefile("r", encoding="utf-8")
        self._lines.readline()  # its greeting
        self.execute("qmp_capabilities")

    def execute(self, command: str, **arguments: Any) -> Any:
        """Execute a command and give its result; raises QmpError, or OSError where QEMU has ended."""
        self._socket.sendall(json.dumps({"execute": command, "arguments": arguments}).encode() + b"\n")
        while line := self._lines.readline():
            answer = json.loads(line)
            if "error" in answer:
                raise QmpError(f"{command}: {answer['error']['desc']}")
            if "return" in answer:  # and not an event
                return answer["return"]
        raise ConnectionError(f"{command}: QEMU has ended")

    def monitor(self, line: str) -> None:
        """Do what a line of the human monitor says, one that says nothing where it is done; raises QmpError."""
        told = self.execute("human-monitor-command", **{"command-line": line})
        if told.strip():
            raise QmpError(f"{line}: {told.strip()}")

    def close(self) -> None:
        """Close the channel; QEMU goes on."""
        self._lines.close()
        self._socket.close()
