"""Prints what the room in an image is taken by, and whether that is within the budget."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TextIO

from . import budget, filesystem, pieces
from .budget import MIB

LEVEL = 9
"""Of zstd for the pieces: the image's own level packs a few per cent better and takes ten times as long."""
_BUDGET = Path(__file__).parents[1] / "budget.ini"


def main() -> int:
    """Read the command line and report."""
    parser = argparse.ArgumentParser(
        prog="image-build/report",
        description="Print what the room in an image is taken by, and compare it with the budget.",
        epilog="Exit status: 0 within the budget; 1 above it; 2 the image or the budget cannot be read.",
    )
    parser.add_argument("image", type=Path, metavar="IMAGE.qcow2")
    parser.add_argument("--budget", type=Path, default=_BUDGET, metavar="FILE", help="default: %(default)s")
    parser.add_argument("--level", type=int, default=LEVEL, choices=range(1, 23), metavar="1…22", help="of zstd")
    given = parser.parse_args()
    try:
        image = pieces.read(given.image, level=given.level)
        lines = budget.compare(image, given.budget)
    except (filesystem.ImageError, budget.BudgetError) as error:
        print(f"image-build/report: {error}", file=sys.stderr)
        return 2
    write(image, lines, given.level, sys.stdout)
    return 1 if any(line.above for line in lines) else 0


def write(image: pieces.Image, lines: list[budget.Line], level: int, out: TextIO) -> None:
    """Write both tables."""
    print(f"{'MiB':30} {'files':>6} {'used':>8} {'packed':>8}", file=out)
    for piece in image.pieces:
        if piece.files:
            print(f"{piece.name:30} {piece.files:6} {_mib(piece.on_disk)} {_mib(piece.packed)}", file=out)
    rest = image.used - sum(piece.on_disk for piece in image.pieces)
    print(f"{'folders, links':30} {'':6} {_mib(rest)}", file=out)
    print(f"{'in all':30} {'':6} {_mib(image.used)} {_mib(image.packed)}", file=out)
    print(f"Pieces packed alone, by zstd's level {level}; in all: the qcow2 as it is.\n", file=out)
    print(f"{'budget, MiB':30} {'':6} {'is':>8} {'at most':>8}", file=out)
    for line in lines:
        note = "  ABOVE" if line.above else ""
        print(f"{line.what:30} {'':6} {line.mib:8.1f} {line.limit:8.1f}{note}", file=out)


def _mib(size: int) -> str:
    return f"{size / MIB:8.1f}"


if __name__ == "__main__":
    sys.exit(main())
