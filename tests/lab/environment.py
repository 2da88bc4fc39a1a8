"""The virtual environment of tests and demo: outside the checkout, in the user's cache, one for each need.

Runs with the system's Python and its standard library alone; brings Debian's python3-venv where that is missing.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.util
import os
import shutil
import sys
from pathlib import Path

from . import packages
from .binaries import cache_folder
from .progress import Progress, run_shown

ROOT = Path(__file__).parents[2]
"""The checkout."""

_NEEDS = (ROOT / "setup.cfg", ROOT / "pyproject.toml", ROOT / "tests" / "requirements.txt")
_OLDEST_PYTHON = (3, 10)


class EnvironmentProblemError(Exception):
    """The virtual environment cannot be made; the message says why."""


def python(progress: Progress) -> Path:
    """Give the Python of a virtual environment with this checkout and all that its tests need.

    Made once for each set of needs. Raises EnvironmentProblemError, PackageError or CommandError.
    """
    if sys.version_info[:2] < _OLDEST_PYTHON:
        raise EnvironmentProblemError(f"Python {'.'.join(map(str, _OLDEST_PYTHON))} or later is needed")
    folder = cache_folder() / f"venv-{_key()}"
    done = folder / "complete"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_name(folder.name + ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            progress.say("virtual environment: waiting for another process that is making it")
            fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            _make(folder, progress)
            done.touch()
    return folder / "bin" / "python"


def _key() -> str:
    needs = hashlib.sha256()
    for part in (sys.version, sys.base_prefix, str(ROOT), *(file.read_text() for file in _NEEDS)):
        needs.update(part.encode() + b"\0")
    return needs.hexdigest()[:16]


def _make(folder: Path, progress: Progress) -> None:
    if importlib.util.find_spec("ensurepip") is None or importlib.util.find_spec("venv") is None:
        packages.install(["python3-venv"], progress)
    shutil.rmtree(folder, ignore_errors=True)
    run_shown([sys.executable, "-m", "venv", str(folder)], progress, "virtual environment")
    pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "--disable-pip-version-check", "--quiet"]
    environment = {**os.environ, "PIP_RETRIES": "1"}
    run_shown(
        [*pip, "-r", str(_NEEDS[-1]), "-e", f"{ROOT}[cluster]"], progress, "Python packages", cwd="/", env=environment
    )
