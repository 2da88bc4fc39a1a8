"""One process of the lab: started with its log, ended with the lab in whatever way that ends.

Each holds the reading end of a pipe as its standard input and ends when that is closed: the services' programs do so
by themselves, other commands have a keeper (`keeper.py`). So nothing is left of a lab that was killed.
"""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

_KEEPER = Path(__file__).with_name("keeper.py")
_END_SECONDS = 20.0


class HeatLabError(Exception):
    """The lab did not do what was asked or waited for; the message says what, with the ends of logs that tell why."""


class Service:
    """A process, which can be started again."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        log: Path,
        *,
        keeper: bool = False,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """`keeper`: for a command that does not end with its standard input."""
        self.name = name
        self.log = log
        self._command = [sys.executable, "-I", str(_KEEPER), *command] if keeper else list(command)
        self.keeper = keeper
        self._environment = environment
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it; `wait_until_ready` waits for it."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.PIPE,
                stdout=log if self.keeper else subprocess.PIPE,
                stderr=log,
                cwd="/",
                env=dict(self._environment) if self._environment is not None else None,
                start_new_session=True,
            )

    def wait_until_ready(self) -> None:
        """Wait for a program of ours to say that it is; raises HeatLabError where it ends instead."""
        self._expect("ready")

    def order(self, what: str, name: str) -> None:
        """Tell a program of ours to stop or start one of its servers, and wait until it has."""
        assert self._process and self._process.stdin
        self._process.stdin.write(f"{what} {name}\n".encode())
        self._process.stdin.flush()
        self._expect(f"done {name}")

    def stop(self) -> None:
        """Let it end by itself, and end it where it does not."""
        if self._process:
            assert self._process.stdin
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.close()
            try:
                self._process.wait(_END_SECONDS)
            except subprocess.TimeoutExpired:
                self.kill()
            self._close()

    def kill(self) -> None:
        """End it without warning."""
        if self._process:
            self._process.send_signal(signal.SIGUSR1 if self.keeper else signal.SIGKILL)
            self._process.wait()
            self._close()

    def pause(self) -> None:
        """Let it do nothing more, until `go_on`."""
        assert self._process
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """Let it go on, if it is still there."""
        if self._process:
            self._process.send_signal(signal.SIGCONT)

    @property
    def running(self) -> bool:
        """Whether it runs."""
        return self._process is not None and self._process.poll() is None

    def last_lines(self, count: int = 15) -> str:
        """The end of its log."""
        lines = self.log.read_text(errors="replace").splitlines()[-count:] if self.log.exists() else []
        return "\n".join([f"--- {self.log}", *(line[:400] for line in lines)])

    def _expect(self, line: str) -> None:
        assert self._process and self._process.stdout
        told = self._process.stdout.readline().decode().strip()
        while told and told != line:  # a library's own word
            told = self._process.stdout.readline().decode().strip()
        if told != line:
            code = self._process.wait()
            raise HeatLabError(f"{self.name} ended with exit status {code}\n{self.last_lines()}")

    def _close(self) -> None:
        if self._process:
            for stream in (self._process.stdin, self._process.stdout):
                if stream:
                    with contextlib.suppress(BrokenPipeError):
                        stream.close()
            self._process = None
