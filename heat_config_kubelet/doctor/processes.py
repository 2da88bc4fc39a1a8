"""Other programs of the node, as /proc shows them (proc_pid_stat(5)), and commands that are asked for one answer."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_SECONDS = 5.0
_INTERPRETERS = ("python", "sh", "bash", "env")


@dataclass(frozen=True)
class Process:
    """A process that runs."""

    pid: int
    command: tuple[str, ...]
    state: str
    """One letter: R, S, D, T (stopped), Z…"""
    started_at: float
    """Seconds since the epoch."""

    @property
    def program(self) -> str:
        """The name of what it runs; of a script the script's."""
        names = [Path(word).name for word in self.command[:2]]
        if len(names) == 2 and names[0].startswith(_INTERPRETERS):
            return names[1]
        return names[0] if names else ""

    def option(self, name: str) -> str:
        """Give the value of "--name value" or "--name=value" of its command line; "" where it has none."""
        for place, word in enumerate(self.command):
            given, equals, value = word.partition("=")
            if given.lstrip("-") == name and given.startswith("-"):
                return value if equals else next(iter(self.command[place + 1 : place + 2]), "")
        return ""


@dataclass(frozen=True)
class Ran:
    """What a command said."""

    status: int
    text: str


def run(command: Sequence[str]) -> Ran | None:
    """Run a command that only tells something; None where it is not there or takes too long."""
    try:
        done = subprocess.run(
            list(command),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return Ran(done.returncode, done.stdout.decode("utf-8", "replace").strip())


def processes(proc: Path = Path("/proc")) -> Iterator[Process]:
    """Give all processes that can be seen; those that end meanwhile are left out."""
    booted_at = _booted_at(proc)
    for folder in proc.iterdir():
        if folder.name.isdigit():
            with contextlib.suppress(OSError, ValueError, IndexError):
                yield _process(folder, booted_at)


def variables(pid: int, proc: Path = Path("/proc")) -> Mapping[str, str]:
    """Give the environment that a process was started with. Raises OSError, PermissionError without root."""
    content = (proc / str(pid) / "environ").read_bytes().decode("utf-8", "replace")
    return dict(item.partition("=")[::2] for item in content.split("\0") if "=" in item)


def _process(folder: Path, booted_at: float) -> Process:
    words = (folder / "cmdline").read_bytes().decode("utf-8", "replace").split("\0")
    fields = (folder / "stat").read_text(errors="replace").rpartition(")")[2].split()
    started_at = booted_at + int(fields[19]) / os.sysconf("SC_CLK_TCK")
    return Process(int(folder.name), tuple(word for word in words if word), fields[0], started_at)


def _booted_at(proc: Path) -> float:
    for line in (proc / "stat").read_text().splitlines():
        if line.startswith("btime "):
            return float(line.split()[1])
    return 0.0
