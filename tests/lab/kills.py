"""Kills a command of the agent at one of its changes: `node.agent("run", environment=kill_at(...))`."""

from __future__ import annotations

from pathlib import Path

from .killing import sitecustomize as names

FOLDER = Path(__file__).parent / "killing"


def kill_at(number: int, command: str, journal: Path, *, port: int = 0) -> dict[str, str]:
    """Give the environment in which `heat-config-kubelet <command>` dies just before its change of this number.

    Commands that others start count too, each by itself. `port` is that of whom it signals; connections elsewhere
    are no change. `journal` gets a line for each change, then "killed" before the one that is not made any more.
    """
    return {
        "PYTHONPATH": str(FOLDER),
        names.COMMAND: command,
        names.AT: str(number),
        names.JOURNAL: str(journal),
        names.PORT: str(port),
    }
