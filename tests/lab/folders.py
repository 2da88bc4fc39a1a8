"""A folder that is gone at the end, in whatever way that comes."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_GUARD = """
test "$(cat)" = removed && exit
for each in $(seq 60); do  # who has files there may still be ending
    rm -rf "$0" 2>/dev/null
    test -e "$0" || exit 0
    sleep 0.5
done
"""


@contextmanager
def temporary_folder(prefix: str) -> Iterator[Path]:
    """Give a new folder below /tmp, 0700; a guard removes it where this process is killed."""
    folder = Path(tempfile.mkdtemp(prefix=prefix, dir="/tmp"))
    guard = subprocess.Popen(["/bin/sh", "-c", _GUARD, str(folder)], stdin=subprocess.PIPE, start_new_session=True)
    assert guard.stdin
    try:
        yield folder
    finally:
        shutil.rmtree(folder)
        guard.stdin.write(b"removed")
        guard.stdin.close()
        guard.wait()
