"""Gets the scripts of heat-agents that run hooks and signal results, as an image that keeps them has them.

From the source package on PyPI, into the user's cache; nothing of it is in this repository.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import sys
import tarfile
import tempfile
from pathlib import Path

from .binaries import cache_folder
from .progress import Progress, run_shown

VERSION = "13.0.0"
_SHA256 = "346099c6e9f16bd5e68913b825013acdd97b6743a1764ebcfc08d6528cefa9d6"
_NAME = f"heat_agents-{VERSION}"


def get(progress: Progress) -> Path:
    """Give the folder of heat-agents' element "heat-config", from the cache or brought into it.

    Raises CommandError where PyPI does not answer or gives something else than that release.
    """
    folder = cache_folder() / f"heat-agents-{VERSION}"
    element = folder / _NAME / "heat-config"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_name(folder.name + ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not element.is_dir():
            _bring(folder, progress)
    return element


def _bring(folder: Path, progress: Progress) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=folder.name + ".", dir=folder.parent) as name:
        fresh = Path(name)
        wanted = fresh / "wanted.txt"
        wanted.write_text(f"heat-agents=={VERSION} --hash=sha256:{_SHA256}\n")
        pip = [sys.executable, "-m", "pip", "download", "--disable-pip-version-check", "--quiet", "--require-hashes"]
        kind = ["--no-deps", "--no-binary", "heat-agents", "--dest", str(fresh), "-r", str(wanted)]
        run_shown([*pip, *kind], progress, f"heat-agents {VERSION}", cwd="/", env={**os.environ, "PIP_RETRIES": "1"})
        with tarfile.open(fresh / f"{_NAME}.tar.gz") as archive:
            archive.extractall(fresh / "whole", filter="data")
        (fresh / "whole").rename(folder)
