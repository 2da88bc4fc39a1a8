"""The virtual environment of tests and demo: outside the checkout, in the user's cache, one for each need.

Runs with the system's Python and its standard library alone; brings Debian's python3-venv where that is missing.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

from . import packages
from .binaries import cache_folder, locked
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
    folder = made_once(
        cache_folder() / f"venv-{_key()}", "virtual environment", progress, lambda folder: _make(folder, progress)
    )
    return folder / "bin" / "python"


def made_once(folder: Path, what: str, progress: Progress, make: Callable[[Path], None]) -> Path:
    """Give `folder`, made by `make` where it is not there or was not made to its end."""
    done = folder / "complete"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with locked(folder.with_name(folder.name + ".lock"), progress, what):
        if not done.exists():
            shutil.rmtree(folder, ignore_errors=True)
            make(folder)
            done.touch()
    return folder


def make_empty(folder: Path, what: str, progress: Progress) -> list[str]:
    """Make a virtual environment in `folder`; give the command that installs into it."""
    if importlib.util.find_spec("ensurepip") is None or importlib.util.find_spec("venv") is None:
        packages.install(["python3-venv"], progress)
    run_shown([sys.executable, "-m", "venv", str(folder)], progress, what)
    return [str(folder / "bin" / "python"), "-m", "pip", "install", "--disable-pip-version-check", "--quiet"]


def _key() -> str:
    needs = hashlib.sha256()
    for part in (sys.version, sys.base_prefix, str(ROOT), *(file.read_text() for file in _NEEDS)):
        needs.update(part.encode() + b"\0")
    return needs.hexdigest()[:16]


def _make(folder: Path, progress: Progress) -> None:
    pip = make_empty(folder, "virtual environment", progress)
    environment = {**os.environ, "PIP_RETRIES": "1"}
    run_shown(
        [*pip, "-r", str(_NEEDS[-1]), "-e", f"{ROOT}[cluster]"], progress, "Python packages", cwd="/", env=environment
    )
