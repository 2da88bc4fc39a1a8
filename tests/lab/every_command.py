"""What every command for a person says of a node, in the state in which it is: one process runs them all in turn."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

LOOKS: tuple[tuple[str, ...], ...] = (
    ("status",),
    ("show", "web"),
    ("pods",),
    ("logs", "web", "--tail", "2"),
    ("timeline", "web"),
    ("diff",),
    ("doctor",),
    ("config",),
    ("health",),
)
"""Those that only look."""
CHANGES: tuple[tuple[str, ...], ...] = (
    ("resend", "web"),
    ("redeploy", "web"),
    ("forget", "web"),
    ("restart", "web"),
)
"""Those that change something when it is agreed to."""
_PROGRAM = """
import contextlib, io, json, sys
from heat_config_kubelet import cli
told = []
for arguments in json.loads(sys.argv[1]):
    out, error = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(error):
        try:
            status = cli.main(arguments)
        except SystemExit as end:
            status = end.code
    told.append([arguments, status, out.getvalue(), error.getvalue()])
print(json.dumps(told))
"""


@dataclass(frozen=True)
class Answer:
    """What one command said."""

    arguments: Sequence[str]
    status: int
    out: str
    error: str

    def __str__(self) -> str:
        return f"$ heat-config-kubelet {' '.join(self.arguments)}\n{self.out}{self.error}exit status {self.status}\n"


def answers(environment: Mapping[str, str], *commands: Sequence[str]) -> list[Answer]:
    """Run commands on a node; each keeps the rules that are there for all, AssertionError else."""
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, json.dumps(commands)],
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        cwd="/",
        timeout=180,
    )
    assert done.returncode == 0 and done.stderr == "", f"{done.stdout}\n{done.stderr}"
    found = [Answer(*each) for each in json.loads(done.stdout)]
    for answer in found:
        assert_in_order(answer)
    return found


def assert_in_order(answer: Answer) -> None:
    """An exit status that is documented; an error is one line with a hint at most, no traceback."""
    assert answer.status in (0, 1, 2), answer
    assert "Traceback" not in answer.out + answer.error, answer
    _, problem, rest = answer.error.rpartition("heat-config-kubelet: ")
    assert not problem or all(line.startswith("  ") for line in rest.splitlines()[1:]), answer
    assert answer.status == 0 or answer.out or answer.error, f"{answer}: silent"


def collected(environment: Mapping[str, str], file: Path) -> Answer:
    """Let `collect` pack a file."""
    (found,) = answers(environment, ["collect", "-o", str(file)])
    assert found.status == 0 and file.stat().st_size, found
    file.unlink()
    return found
