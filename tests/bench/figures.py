"""What a measurement is, and the table and the JSON that are made of many."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Figure:
    """One line of the table: our runs, the floor's or peer's taken in turn with them, and the goal.

    `judge` says from the two middles (None without a peer) whether the goal is met; a figure without it has none.
    """

    name: str
    unit: str
    goal: str = ""
    judge: Callable[[float, float | None], bool] | None = None
    peer: str = ""
    average: Callable[[list[float]], float] = statistics.median
    ours: list[float] = field(default_factory=list)
    theirs: list[float] = field(default_factory=list)

    @property
    def middle(self) -> float:
        """Of our runs."""
        return self.average(self.ours)

    @property
    def their_middle(self) -> float | None:
        """Of the floor's or peer's runs."""
        return self.average(self.theirs) if self.theirs else None

    @property
    def met(self) -> bool:
        """Whether the goal is met, if there is one."""
        return not self.judge or self.judge(self.middle, self.their_middle)


@dataclass
class Cell(Figure):
    """A figure in a grid of its own."""

    row: str = ""
    column: str = ""


def at_most(bound: float) -> Callable[[float, float | None], bool]:
    """Ours is at most so much."""
    return lambda ours, _: ours <= bound


def at_most_ratio(bound: float) -> Callable[[float, float | None], bool]:
    """Ours is at most so many times the floor's."""
    return lambda ours, theirs: theirs is not None and ours <= bound * theirs


def at_most_beyond(bound: float) -> Callable[[float, float | None], bool]:
    """Ours is at most so much more than the floor's."""
    return lambda ours, theirs: theirs is not None and ours <= theirs + bound


def table(figures: list[Figure]) -> str:
    """Draw the figures for a person."""
    head = ("figure", "ours", "from – to", "beside it", "ratio", "goal", "")
    lines = [head]
    for each in figures:
        theirs = each.their_middle
        lines.append(
            (
                each.name,
                f"{each.middle:.3g} {each.unit}",
                f"{min(each.ours):.3g} – {max(each.ours):.3g}",
                f"{theirs:.3g} {each.unit} ({each.peer})" if theirs is not None else "",
                f"{each.middle / theirs:.2f}" if theirs else "",
                each.goal,
                ("met" if each.met else "NOT MET") if each.judge else "",
            )
        )
    return _aligned(lines)


def grid(cells: list[Cell]) -> str:
    """Draw cells, for a person or a page: rows and columns in the order in which they come."""
    rows, columns = (
        list(dict.fromkeys(names)) for names in zip(*((each.row, each.column) for each in cells), strict=True)
    )
    found = {(each.row, each.column): f"{each.middle:.1f} {each.unit}" for each in cells}
    lines = [("", *columns), ("---",) * (len(columns) + 1)]
    lines += [(row, *(found.get((row, column), "") for column in columns)) for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _aligned(lines: Sequence[tuple[str, ...]]) -> str:
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def as_json(figures: list[Figure], **about: Any) -> str:
    """Write the figures for a later comparison."""
    return json.dumps(
        {
            "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            **about,
            "figures": [
                {
                    "name": each.name,
                    "unit": each.unit,
                    "goal": each.goal,
                    "met": each.met if each.judge else None,
                    each.average.__name__: each.middle,
                    "runs": each.ours,
                    "peer": each.peer,
                    f"peer_{each.average.__name__}": each.their_middle,
                    "peer_runs": each.theirs,
                }
                for each in figures
            ],
        },
        indent=2,
    )
