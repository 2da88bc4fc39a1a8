"""Boots of built images, each in a process that has a network of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

_PROGRAM = Path(__file__).with_name("image_boot.py")


def boot(which: str) -> dict[str, float]:
    """Boot once, as `image_boot.py` says; its words go to standard error."""
    command = [sys.executable, str(_PROGRAM), which]
    found: dict[str, float] = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True).stdout)
    return found
