"""Runs `tools/demo` as a person does, and looks for what it leaves."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

_TOOL = Path(__file__).parents[2] / "tools" / "demo"
_SECONDS = 600.0
_LEFT_SECONDS = 45.0


class DemoRun:
    """One run of the demo."""

    def __init__(self, *options: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(_TOOL), *options],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.told = ""

    def left(self) -> set[str]:
        """Its folders, and the command lines of the processes that name one."""
        mark = f"/tmp/demo-{self._process.pid}-"
        found = {str(path) for path in Path("/tmp").iterdir() if str(path).startswith(mark)}
        for process in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                text = process.read_bytes().decode(errors="replace")
            except OSError:
                continue
            if mark in text:
                found.add(text.replace("\0", " "))
        return found

    def until(self, text: str) -> None:
        """Read what it tells as far as this text."""
        assert self._process.stdout
        for line in self._process.stdout:
            self.told += line
            if text in line:
                return
        raise AssertionError(f"it never came so far:\n{self.told}")

    def end(self, number: int | None = None) -> int:
        """Wait for its end, for which it is sent this signal first; give its exit status."""
        if number is not None:
            self._process.send_signal(number)
        try:
            self.told += self._process.communicate(timeout=_SECONDS)[0]
        except subprocess.TimeoutExpired:
            self._process.kill()
            self.told += self._process.communicate()[0]
            raise AssertionError(f"it did not end within {_SECONDS:g} s:\n{self.told}") from None
        return self._process.returncode

    def kill(self) -> None:
        """End it without warning, and wait until nothing is left of it."""
        assert self._process.stdout
        self._process.kill()
        self._process.wait()
        self._process.stdout.close()
        deadline = time.monotonic() + _LEFT_SECONDS
        while left := self.left():
            assert time.monotonic() < deadline, left
            time.sleep(0.1)
