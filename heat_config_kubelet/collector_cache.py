"""Mends os-collect-config's cache before that daemon starts.

It keeps what it last committed in `<source>.json.last`, copied without fsync and read back without a guard
(os_collect_config/cache.py of 14.1.0): cut short by a power loss, it ends the daemon at every start, for ever.
A file that is not there only means that its source counts as changed. Called by `heat-config-kubelet check-cache`,
which the unit of os-collect-config runs first: nothing may write to the cache at the same time.
"""

from __future__ import annotations

import json
from pathlib import Path

from .errors import MetadataError

_SUFFIXES = (".json", ".json.last", ".json.orig")
_ABANDONED = ("tmp",)
"""How the daemon's temporary files begin (tempfile's default, and "tmp_meta_list."); they hold credentials."""


def damaged(cache: Path) -> tuple[Path, ...]:
    """Find the cache's files that are not JSON; none where there is no cache. OSError where it cannot be read."""
    if not cache.is_dir():
        return ()
    return tuple(path for path in sorted(cache.iterdir()) if path.name.endswith(_SUFFIXES) and not _parses(path))


def drop_damaged(cache: Path) -> tuple[Path, ...]:
    """Remove what `damaged` finds and what a crash left half-written; give what was removed.

    Raises MetadataError where a file can be neither read nor removed.
    """
    try:
        left = [path for path in sorted(cache.glob("*")) if path.name.startswith(_ABANDONED) and path.is_file()]
        gone = (*damaged(cache), *(path for path in left if not path.name.endswith(_SUFFIXES)))
        for path in gone:
            path.unlink()
    except OSError as error:
        raise MetadataError(f"{cache}: os-collect-config's cache cannot be mended: {error}") from error
    return gone


def _parses(path: Path) -> bool:
    try:
        json.loads(path.read_bytes())
    except ValueError:
        return False
    return True
