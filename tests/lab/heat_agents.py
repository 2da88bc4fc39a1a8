"""Gets the scripts of heat-agents that run hooks and signal results, as an image that keeps them has them.

From the source package on PyPI, into the user's cache; nothing of it is in this repository.
"""

from __future__ import annotations

import fcntl
import os
import sys
import tarfile
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from .binaries import cache_folder
from .progress import Progress, run_shown

VERSION = "13.0.0"
_SHA256 = "346099c6e9f16bd5e68913b825013acdd97b6743a1764ebcfc08d6528cefa9d6"
_NAME = f"heat_agents-{VERSION}"

_REFRESH = "os-refresh-config-14.1.0"
_REFRESH_NEEDS = (
    "os-refresh-config==14.1.0 --hash=sha256:9b2e28b2313fc209d71957e41a1c2f6b772a39a282af30d6231c7013ced86972",
    "dib-utils==0.0.11 --hash=sha256:55b62cc0843b6e7a33f4fedd2abeb5c0c812dd0bdac97f4c4832c47794204542",
)
"""Without psutil, which it needs as well: the tests' own environment has it."""


def get(progress: Progress) -> Path:
    """Give the folder of heat-agents' element "heat-config", from the cache or brought into it.

    Raises CommandError where PyPI does not answer or gives something else than that release.
    """
    return _kept(f"heat-agents-{VERSION}", _bring_element, progress) / _NAME / "heat-config"


def refresh_config(progress: Progress) -> Path:
    """Give a folder of Python packages with os-refresh-config, which the element is called by; raises as `get`."""
    return _kept(_REFRESH, _bring_refresh_config, progress)


def _kept(name: str, bring: Callable[[Path, Progress], Path], progress: Progress) -> Path:
    """Give the folder of this name in the cache; where it is not there `bring` makes it, in a folder of its own."""
    folder = cache_folder() / name
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_name(folder.name + ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.is_dir():
            with tempfile.TemporaryDirectory(prefix=folder.name + ".", dir=folder.parent) as fresh:
                bring(Path(fresh), progress).rename(folder)
    return folder


def _bring_element(fresh: Path, progress: Progress) -> Path:
    wanted = [f"heat-agents=={VERSION} --hash=sha256:{_SHA256}"]
    _pip(fresh, wanted, ["download", "--no-binary", "heat-agents", "--dest", str(fresh)], progress)
    with tarfile.open(fresh / f"{_NAME}.tar.gz") as archive:
        archive.extractall(fresh / "whole", filter="data")
    return fresh / "whole"


def _bring_refresh_config(fresh: Path, progress: Progress) -> Path:
    _pip(fresh, _REFRESH_NEEDS, ["install", "--target", str(fresh / "whole")], progress)
    return fresh / "whole"


def _pip(fresh: Path, wanted: Sequence[str], command: Sequence[str], progress: Progress) -> None:
    """Run a command of pip for exactly these releases."""
    file = fresh / "wanted.txt"
    file.write_text("\n".join(wanted) + "\n")
    options = ["--disable-pip-version-check", "--quiet", "--require-hashes", "--no-deps", "-r", str(file)]
    run_shown(
        [sys.executable, "-m", "pip", *command, *options],
        progress,
        wanted[0].partition(" ")[0],
        cwd="/",
        env={**os.environ, "PIP_RETRIES": "1"},
    )
