"""What a measurement is, and the table and the JSON that are made of many."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Figure:
    """One line of the table: our runs, the floor's or peer's taken in turn with them, and the goal.

    `judge` says from the two medians (None without a peer) whether the goal is met.
    """

    name: str
    unit: str
    goal: str
    judge: Callable[[float, float | None], bool]
    peer: str = ""
    ours: list[float] = field(default_factory=list)
    theirs: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        """Of our runs."""
        return statistics.median(self.ours)

    @property
    def their_median(self) -> float | None:
        """Of the floor's or peer's runs."""
        return statistics.median(self.theirs) if self.theirs else None

    @property
    def met(self) -> bool:
        """Whether the goal is met."""
        return self.judge(self.median, self.their_median)


def at_most(bound: float) -> Callable[[float, float | None], bool]:
    """Our median is at most so much."""
    return lambda ours, _: ours <= bound


def at_most_ratio(bound: float) -> Callable[[float, float | None], bool]:
    """Our median is at most so many times the floor's."""
    return lambda ours, theirs: theirs is not None and ours <= bound * theirs


def table(figures: list[Figure]) -> str:
    """Draw the figures for a person."""
    head = ("figure", "ours", "from – to", "beside it", "ratio", "goal", "")
    lines = [head]
    for each in figures:
        theirs = each.their_median
        lines.append(
            (
                each.name,
                f"{each.median:.3g} {each.unit}",
                f"{min(each.ours):.3g} – {max(each.ours):.3g}",
                f"{theirs:.3g} {each.unit} ({each.peer})" if theirs is not None else "",
                f"{each.median / theirs:.2f}" if theirs else "",
                each.goal,
                "met" if each.met else "NOT MET",
            )
        )
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
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
                    "met": each.met,
                    "median": each.median,
                    "runs": each.ours,
                    "peer": each.peer,
                    "peer_median": each.their_median,
                    "peer_runs": each.theirs,
                }
                for each in figures
            ],
        },
        indent=2,
    )
