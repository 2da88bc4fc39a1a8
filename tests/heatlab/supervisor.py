"""Holds a lab for a person until it is told to end: supervisor.py FOLDER OPTIONS (JSON), run by `tools/heat-lab up`.

It says "ready" on standard output, or why not. SIGTERM ends the lab; so does its own death.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from lab.packages import PackageError
from lab.progress import CommandError, Progress

from heatlab.holding import held
from heatlab.lab import HeatLab
from heatlab.processes import HeatLabError

PROBLEMS = (BlockingIOError, CommandError, HeatLabError, PackageError)
"""What keeps a lab from being started, each with a text for a person."""


def main(folder: Path, options: dict[str, object]) -> int:
    """Start the lab, say so, and hold it."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    try:
        with held(folder), HeatLab(folder, Progress(), **options):  # type: ignore[arg-type]
            print("ready", flush=True)
            _let_go_of_the_terminal()
            signal.pause()
    except PROBLEMS as error:
        print(error, flush=True)
        return 1
    except KeyboardInterrupt:
        pass
    return 0


def _let_go_of_the_terminal() -> None:
    """So that who has started us sees the end of what we say."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nowhere, descriptor)
    os.close(nowhere)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), json.loads(sys.argv[2])))
