"""Says to a person what a long step is doing, and runs commands that way.

A line a step, with the time it took; a command that runs long says every ten seconds that it still does.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TextIO


class CommandError(Exception):
    """A command of the lab failed; the message holds the command, its exit status and its last lines."""


class Progress:
    """Writes progress lines, each with the seconds since the start."""

    def __init__(self, out: TextIO | None = None, *, quiet: bool = False) -> None:
        self._out = out or sys.stderr
        self._quiet = quiet
        self._start = time.monotonic()

    def say(self, text: str) -> None:
        """Write one line."""
        if not self._quiet:
            seconds = time.monotonic() - self._start
            print(f"[{seconds:6.1f} s] {text}", file=self._out, flush=True)


def run_shown(
    command: Sequence[str],
    progress: Progress,
    what: str,
    *,
    cwd: Path | str | None = None,
    env: Mapping[str, str] | None = None,
    every: float = 10.0,
) -> str:
    """Run a command to its end, saying that it still runs; give its standard output.

    Raises CommandError, with the last lines of what it wrote, where it fails.
    """
    began = time.monotonic()
    progress.say(f"{what} …")
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        with subprocess.Popen(
            list(command),
            cwd=cwd,
            env=dict(env) if env else None,
            stdout=out,
            stderr=err,
            text=True,
            stdin=subprocess.DEVNULL,
        ) as process:
            try:
                while True:
                    try:
                        code = process.wait(every)
                        break
                    except subprocess.TimeoutExpired:
                        progress.say(f"{what}: still running after {time.monotonic() - began:.0f} s")
            except BaseException:
                process.kill()
                raise
        out.seek(0)
        err.seek(0)
        told, failed = out.read(), err.read()
    if code != 0:
        tail = "\n".join((told + failed).strip().splitlines()[-15:])
        raise CommandError(f"{what} failed: {' '.join(command)}: exit status {code}\n{tail}")
    progress.say(f"{what}: done in {time.monotonic() - began:.0f} s")
    return told
