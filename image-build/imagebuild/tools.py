"""What a build runs: Debian's packages, and an environment with diskimage-builder in the user's cache.

Runs with the system's Python and its standard library alone.
"""

from __future__ import annotations

import hashlib
import os
import sys
from pathlib import Path

from lab.binaries import cache_folder
from lab.environment import made_once, make_empty
from lab.progress import Progress, run_shown

PACKAGES = (
    "busybox-static",
    "ca-certificates",
    "curl",
    "debian-archive-keyring",
    "debootstrap",
    "dosfstools",
    "e2fsprogs",
    "file",
    "gdisk",
    "kpartx",
    "mount",
    "procps",
    "qemu-utils",
    "sudo",
    "util-linux",
    "xz-utils",
)
"""What diskimage-builder calls on Debian, and busybox for a pause image where no registry is to be had."""

_REQUIREMENTS = Path(__file__).parents[1] / "requirements.txt"


def environment(progress: Progress) -> Path:
    """Give the folder of the environment with what `requirements.txt` names, made where it is not there.

    Raises CommandError or PackageError where that cannot be.
    """
    needs = hashlib.sha256((sys.version + sys.base_prefix + _REQUIREMENTS.read_text()).encode()).hexdigest()[:16]
    folder = cache_folder() / f"image-build-{needs}"
    return made_once(folder, "diskimage-builder", progress, lambda folder: _make(folder, progress))


def _make(folder: Path, progress: Progress) -> None:
    pip = make_empty(folder, "diskimage-builder: virtual environment", progress)
    run_shown(
        [*pip, "-r", str(_REQUIREMENTS)],
        progress,
        "diskimage-builder from PyPI",
        cwd="/",
        env={**os.environ, "PIP_RETRIES": "1"},
    )
