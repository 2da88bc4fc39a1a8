"""Runs a command until that ends or the keeper's own standard input does: keeper.py COMMAND….

The lab holds the other end of that pipe. Then the command is asked to end, and after a while it is ended, with all
processes that it has started, whatever groups and sessions they are in. SIGUSR1 ends all of them without warning.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

_GRACE_SECONDS = 10
_PR_SET_CHILD_SUBREAPER = 36
"""linux/prctl.h: what loses its parent below this process becomes its child."""


class _KilledError(Exception):
    """SIGUSR1 has come."""


def main(command: list[str]) -> None:
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    try:
        signal.signal(signal.SIGUSR1, _killed)
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
        ended = os.pidfd_open(process.pid)
        ready, _, _ = select.select([sys.stdin, ended], [], [])
        if ended not in ready:
            process.terminate()
            select.select([ended], [], [], _GRACE_SECONDS)
    except _KilledError:
        pass
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    _end_all()


def _killed(number: int, frame: object) -> None:
    raise _KilledError


def _end_all() -> None:
    """Kill all processes below this one, and wait until there are none."""
    while True:
        for process in _descendants():
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            return
        time.sleep(0.01)


def _descendants() -> set[int]:
    parents: dict[int, int] = {}
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            parents[int(path.name)] = int(path.joinpath("stat").read_text().rpartition(")")[2].split()[1])
    found = {os.getpid()}
    while more := {process for process, parent in parents.items() if parent in found} - found:
        found |= more
    return found - {os.getpid()}


if __name__ == "__main__":
    main(sys.argv[1:])
