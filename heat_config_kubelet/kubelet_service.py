"""Makes sure that the node's kubelet runs: starts it where it does not, and says why it will not.

Under systemd its unit is started; elsewhere the command of the settings, detached from us.
Never waits: `ensure` looks, does what is due, and answers at once; the caller comes back.
Not for: configuring it (`kubelet_config.py`), stopping or restarting it (nothing here ever does).
"""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Protocol

from .kubelet_api import KubeletApi
from .kubelet_log import KubeletLog, LogPosition, last_lines
from .settings import Settings

SYSTEMD_RUNS = Path("/run/systemd/system")
"""There while systemd is the node's first process (sd_booted(3))."""
RETRY_SECONDS = 5.0
"""A kubelet that has ended again, for want of its runtime perhaps, is started again no sooner."""
_LINES = 3
_COMMAND_SECONDS = 15.0


class ServiceState(Enum):
    """How the kubelet is."""

    RUNNING = "running"
    STARTING = "starting"
    FAILED = "failed"


@dataclass(frozen=True)
class ServiceReport:
    """The kubelet's state and, unless it runs, what was done about it and what it says itself."""

    state: ServiceState
    reason: str = ""


@dataclass(frozen=True)
class Ended:
    """A command's exit status and all that it wrote."""

    status: int
    text: str


class Processes(Protocol):
    """The door to other programs."""

    def run(self, command: Sequence[str]) -> Ended:
        """Run a command to its end; OSError or TimeoutError where that cannot be."""

    def spawn(self, command: Sequence[str], output: Path | None) -> str:
        """Start a program that outlives us, its output appended to a file; give its mark, or raise OSError."""

    def runs(self, mark: str) -> bool:
        """Whether the program of that mark still runs."""


class SystemProcesses:
    """The real ones."""

    def run(self, command: Sequence[str]) -> Ended:
        try:
            done = subprocess.run(
                list(command),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                timeout=_COMMAND_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise TimeoutError(f"no end after {_COMMAND_SECONDS:g} s") from error
        return Ended(done.returncode, done.stdout.decode("utf-8", "replace").strip())

    def spawn(self, command: Sequence[str], output: Path | None) -> str:
        if output:
            output.parent.mkdir(parents=True, exist_ok=True)
        sink = str(output or "/dev/null")
        process = os.posix_spawnp(
            command[0],
            list(command),
            os.environ,
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
                (os.POSIX_SPAWN_OPEN, 1, sink, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600),
                (os.POSIX_SPAWN_DUP2, 1, 2),
            ],
            setsid=True,
            setsigmask=[],
            setsigdef=[signal.SIGPIPE],
        )

        return f"{process} {_started_at(process)}"

    def runs(self, mark: str) -> bool:
        process, _, started_at = mark.partition(" ")
        if not process.isdigit() or not started_at:
            return False
        with contextlib.suppress(ChildProcessError):
            os.waitpid(int(process), os.WNOHANG)
        return _started_at(int(process)) == started_at


def _started_at(process: int) -> str:
    """Give when a process started, in ticks since boot (field 22 of proc_pid_stat(5)), which tells two of one id apart.

    Empty where there is none.
    """
    try:
        return (
            Path(f"/proc/{process}/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()[19]
        )
    except (OSError, IndexError):
        return ""


class KubeletService:
    """Starts the kubelet of this node where it is not healthy; `ensure` is called again and again.

    `now` gives steady seconds; `systemd_runs` is the folder that tells whether systemd does.
    """

    def __init__(
        self,
        settings: Settings,
        api: KubeletApi,
        kubelet_log: KubeletLog,
        *,
        processes: Processes | None = None,
        now: Callable[[], float] = time.monotonic,
        systemd_runs: Path = SYSTEMD_RUNS,
    ) -> None:
        self._settings = settings
        self._api = api
        self._log = kubelet_log
        self._processes: Processes = processes or SystemProcesses()
        self._now = now
        self._systemd_runs = systemd_runs
        self._down_since: float | None = None
        self._tried_at = float("-inf")
        self._refused = ""
        """Why it can never be started so."""
        self._unsure = ""
        """Why it is not known to be starting, though it may: somebody else may start it."""
        self._log_from = LogPosition()

    def ensure(self) -> ServiceReport:
        """Start the kubelet unless it is healthy or being started, and say how it is. Raises nothing.

        FAILED where it cannot be started at all, or is not healthy `start_timeout` seconds after it was first found
        down; the tries go on, so that a later call may say RUNNING.
        """
        if self._api.healthy():
            self._down_since = None
            return ServiceReport(ServiceState.RUNNING)
        now = self._now()
        if self._down_since is None:
            self._down_since, self._tried_at = now, float("-inf")
            self._log_from = self._log.position()
        if now - self._tried_at >= RETRY_SECONDS:
            self._tried_at, self._unsure = now, ""
            self._refused = self._start()
        if self._refused:
            return ServiceReport(ServiceState.FAILED, self._refused)
        down = now - self._down_since
        if down < self._settings.kubelet_start_timeout:
            waits = self._unsure or f"the kubelet is being started ({self._way()})"
            return ServiceReport(ServiceState.STARTING, waits)
        if self._unsure:
            return ServiceReport(ServiceState.FAILED, self._unsure)
        said = last_lines(self._log.lines_since(self._log_from), _LINES)
        words = ": " + " | ".join(said) if said else "; its log says nothing"
        return ServiceReport(
            ServiceState.FAILED, f"the kubelet is not healthy {down:.0f} s after its start ({self._way()}){words}"
        )

    def _uses_systemd(self) -> bool:
        chosen = self._settings.systemd
        return self._systemd_runs.is_dir() if chosen == "auto" else chosen == "yes"

    def _way(self) -> str:
        return f"systemctl start {self._settings.kubelet_unit}" if self._uses_systemd() else "[kubelet] command"

    def _start(self) -> str:
        """Start it in whichever way is the node's; give why that cannot be, or ""."""
        return self._start_unit() if self._uses_systemd() else self._start_command()

    def _start_unit(self) -> str:
        command = ("systemctl", "start", "--no-block", self._settings.kubelet_unit)
        try:
            done = self._processes.run(command)
        except TimeoutError as error:
            self._unsure = f"the kubelet may be starting: {' '.join(command)}: {error}"
            return ""
        except OSError as error:
            return f"the kubelet cannot be started: {' '.join(command)}: {error}"
        return f"the kubelet cannot be started: {' '.join(command)}: {done.text}" if done.status else ""

    def _start_command(self) -> str:
        try:
            command = shlex.split(self._settings.kubelet_command)
        except ValueError as error:
            return f"the kubelet cannot be started: [kubelet] command cannot be read: {error}"
        if not command:
            self._unsure = "the kubelet does not run, and nothing says how to start it (set [kubelet] command)"
            return ""
        try:
            if not self._processes.runs(self._last_mark()):
                self._keep_mark(self._processes.spawn(command, self._settings.kubelet_log))
        except OSError as error:
            return f"the kubelet cannot be started: [kubelet] command: {error}"
        return ""

    @property
    def _mark_file(self) -> Path:
        """Where the mark of the kubelet that we started stays, for our own next start."""
        return self._settings.state_dir / "kubelet.pid"

    def _last_mark(self) -> str:
        try:
            return self._mark_file.read_text(encoding="ascii").strip()
        except (OSError, ValueError):
            return ""

    def _keep_mark(self, mark: str) -> None:
        self._mark_file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._mark_file.write_text(f"{mark}\n", encoding="ascii")
