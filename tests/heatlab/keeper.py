"""Runs a command until that ends or the keeper's own standard input does: keeper.py COMMAND….

The lab holds the other end of that pipe. Then the command is asked to end, and ended after a while, with all
processes of its session but the keeper.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys

_GRACE_SECONDS = 8


def main(command: list[str]) -> int:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, preexec_fn=_as_before)
    ended = os.pidfd_open(process.pid)
    ready, _, _ = select.select([sys.stdin, ended], [], [])
    if ended not in ready:
        os.killpg(0, signal.SIGTERM)
        select.select([ended], [], [], _GRACE_SECONDS)
        os.killpg(0, signal.SIGKILL)
    return process.wait()


def _as_before() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
