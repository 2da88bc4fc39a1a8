"""The virtual environment of the services: in the user's cache, made once for each set of versions.

Apart from that of the tests: OpenStack brings 160 packages, some of them older than what the tests use.
Not for: redis, RabbitMQ and PostgreSQL, which are Debian's.
"""

from __future__ import annotations

import hashlib
import os
import sys
from pathlib import Path

from lab.binaries import cache_folder
from lab.environment import made_once, make_empty
from lab.progress import Progress, run_shown

_HERE = Path(__file__).parent
_NEEDS = (_HERE / "requirements.txt", _HERE / "constraints.txt")
_NICE = 10
"""Of the installation: tests that watch the clock may run beside it."""


def folder(progress: Progress) -> Path:
    """Give the folder of the environment, making it where it is not there. Raises CommandError.

    Its `commands` has the command `openstack` alone, to be put on a person's PATH.
    """
    needs = hashlib.sha256()
    for part in (sys.version, sys.base_prefix, *(file.read_text() for file in _NEEDS)):
        needs.update(part.encode() + b"\0")
    place = cache_folder() / f"openstack-{needs.hexdigest()[:16]}"
    return made_once(place, "OpenStack", progress, lambda place: _make(place, progress))


def _make(place: Path, progress: Progress) -> None:
    command = make_empty(place, "OpenStack: virtual environment", progress)
    run_shown(
        ["nice", "-n", str(_NICE), *command, "-r", str(_NEEDS[0]), "-c", str(_NEEDS[1])],
        progress,
        "OpenStack: Keystone, Heat, Zaqar and Swift from PyPI (about 90 seconds)",
        cwd="/",
        env={**os.environ, "PIP_RETRIES": "1"},
    )
    (place / "commands").mkdir()
    (place / "commands" / "openstack").symlink_to(place / "bin" / "openstack")
