"""Who holds the lab of a folder: a lock beside it that ends with its process, with the process's id in the file."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path


def lock_file(folder: Path) -> Path:
    """The file that is locked."""
    return folder.with_name(folder.name + ".lock")


@contextlib.contextmanager
def held(folder: Path) -> Iterator[None]:
    """Hold a folder, there or not. Raises BlockingIOError where somebody else does."""
    lock_file(folder).parent.mkdir(parents=True, exist_ok=True)
    lock = os.open(lock_file(folder), os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.truncate(lock, 0)
        os.write(lock, str(os.getpid()).encode())
        yield
    finally:
        os.close(lock)


def holder(folder: Path) -> int | None:
    """Give the process that holds a folder's lab; None where none does."""
    try:
        lock = os.open(lock_file(folder), os.O_RDWR)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return int(os.read(lock, 20) or 0) or None
    finally:
        os.close(lock)
    return None
