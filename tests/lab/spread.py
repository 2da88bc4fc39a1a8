"""How tests are spread over the workers of pytest-xdist: singly, but those that share a set-up go to one worker.

pytest-xdist's own way of saying which do, `--dist loadgroup`, is without effect for pytest 9.2 (pytest-xdist 3.8.0).
"""

from __future__ import annotations

import functools
import re
from pathlib import Path

from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]

_SHARES = re.compile(r"scope=\"(module|package)\"")
"""In a file one of whose fixtures serves several of its tests."""


class Spread(LoadScopeScheduling):  # type: ignore[misc]
    """Gives out a file with a fixture of its own scope as a whole, else a class, else a test."""

    def _split_scope(self, nodeid: str) -> str:
        """Give the name of the piece that a test is in."""
        file, *names = nodeid.partition("[")[0].split("::")
        if _shares(self.config.rootpath / file):
            return file
        return nodeid if len(names) == 1 else f"{file}::{names[0]}"


@functools.cache
def _shares(file: Path) -> bool:
    return bool(_SHARES.search(file.read_text()))
