"""Where the ext4 of a disk is, and what of it holds nothing: both without mounting it.

Runs with the system's Python and its standard library alone; e2fsprogs knows the file system.
"""

from __future__ import annotations

import struct
import subprocess
from pathlib import Path

_SECTOR = 512
_LINUX = 0x83
_EXT4_MAGIC_AT = 1024 + 56


class ImageError(Exception):
    """An image cannot be read; the message says why."""


def file_system(raw: Path, image: Path) -> str:
    """Name for e2fsprogs the file system of a disk: its first partition by an MBR, else the whole of it.

    `image` is what messages call the disk. Raises ImageError.
    """
    with raw.open("rb") as stream:
        first = stream.read(_SECTOR)
        stream.seek(_EXT4_MAGIC_AT)
        if stream.read(2) == b"\x53\xef":
            return str(raw)
    kind, start = struct.unpack("<BxxxI", first[450:458]) if first[510:512] == b"\x55\xaa" else (0, 0)
    if kind != _LINUX:
        raise ImageError(f"{image}: neither an ext4 nor a disk with an MBR whose first partition is one")
    return f"{raw}?offset={start * _SECTOR}"


def empty_the_unused(raw: Path, *, journal_mib: int) -> None:
    """Leave zeros where files were that are no more, and a journal in which nothing was ever written.

    Raises ImageError.
    """
    place = file_system(raw, raw)
    _run("tune2fs", "-O", "^has_journal", place)
    _run("e2fsck", "-f", "-y", "-E", "discard", place)
    _run("tune2fs", "-J", f"size={journal_mib}", place)


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    # 1 is e2fsck's for something mended, such as the count of free blocks.
    if done.returncode not in ((0, 1) if command[0] == "e2fsck" else (0,)):
        raise ImageError(f"{' '.join(command)}: {' '.join((done.stdout + done.stderr).split())}")
