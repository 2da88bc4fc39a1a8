"""What an image may take: `budget.ini`, and where an image is above it."""

from __future__ import annotations

import configparser
from dataclasses import dataclass
from pathlib import Path

from .pieces import PIECES, Image

MIB = 1 << 20


class BudgetError(Exception):
    """The file of the budget is wrong; the message says where."""


@dataclass(frozen=True)
class Line:
    """One line of the budget beside what an image takes."""

    what: str
    mib: float
    limit: float

    @property
    def above(self) -> bool:
        """Whether the image takes more."""
        return self.mib > self.limit


def compare(image: Image, file: Path) -> list[Line]:
    """Give each line of the budget in `file`: a section is "image" or a piece's name. Raises BudgetError."""
    parser = configparser.ConfigParser()
    try:
        with file.open(encoding="utf-8") as stream:
            parser.read_file(stream)
    except (OSError, configparser.Error) as error:
        raise BudgetError(f"{file}: {' '.join(str(error).split())}") from error
    lines = []
    for section in parser.sections():
        if section == "image":
            sizes = {"qcow2": image.packed, "used": image.used}
        elif section in dict(PIECES):
            piece = image.piece(section)
            sizes = {"used": piece.on_disk, "packed": piece.packed}
        else:
            raise BudgetError(
                f"{file}: [{section}]: there is no such piece; there are image, {', '.join(dict(PIECES))}"
            )
        for key in parser[section]:
            if key not in sizes:
                raise BudgetError(f"{file}: [{section}] {key}: choose {' or '.join(sizes)}")
            try:
                limit = parser.getfloat(section, key)
            except ValueError as error:
                raise BudgetError(f"{file}: [{section}] {key}: {parser[section][key]!r} is no number") from error
            lines.append(Line(f"{section} {key}", sizes[key] / MIB, limit))
    if not lines:
        raise BudgetError(f"{file}: there is nothing in it")
    return lines
