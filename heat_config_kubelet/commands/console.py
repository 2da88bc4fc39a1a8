"""How commands write: tables, JSON and YAML; colour and width as the terminal has them; long lists through its pager.

Machines get `-o json`: a list of objects, or one object; the fields are those of the dataclasses that a command shows.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TextIO, TypeVar

FORMATS = ("table", "wide", "json", "yaml")
"""Of the option -o."""

GREEN, YELLOW, RED, BOLD, FAINT = "32", "33", "31", "1", "2"
"""Codes of ECMA-48's SGR."""

_LEAST_CELL = 12

Row = TypeVar("Row")


@dataclass(frozen=True)
class Column(Generic[Row]):
    """A column of a table."""

    title: str
    value: Callable[[Row], str]
    wide: bool = False
    """Shown with `-o wide` only."""
    colour: Callable[[Row], str] = lambda _: ""
    may_shrink: bool = False
    """Cut where the terminal is too narrow for the whole line."""


class Console:
    """Where a command writes.

    `width` is the terminal's columns, 0 where nothing has to fit; `height` its lines, 0 where nothing is paged.
    """

    def __init__(self, out: TextIO, *, width: int = 0, height: int = 0, colour: bool = False) -> None:
        self._out = out
        self.width = width
        self._height = height
        self.has_colour = colour

    @classmethod
    def standard(cls, environment: Mapping[str, str] = os.environ) -> Console:
        """Give the one of this process: plain and endless where standard output is no terminal."""
        if not sys.stdout.isatty():
            return cls(sys.stdout)
        size = shutil.get_terminal_size()
        colour = not environment.get("NO_COLOR") and environment.get("TERM", "dumb") != "dumb"
        return cls(sys.stdout, width=size.columns, height=size.lines, colour=colour)

    def painted(self, text: str, code: str) -> str:
        """Give the text in a colour, where there are colours."""
        return f"\x1b[{code}m{text}\x1b[0m" if code and text and self.has_colour else text

    def write(self, text: str) -> None:
        """Write whole lines; more than fit on the screen go through the pager. A reader that has gone is no fault."""
        text = text.rstrip("\n") + "\n"
        with contextlib.suppress(BrokenPipeError):
            if self._height and text.count("\n") >= self._height and self._page(text):
                return
            self._out.write(text)
            self._out.flush()

    def _page(self, text: str) -> bool:
        pager = os.environ.get("PAGER", "less")
        if not pager or not shutil.which(pager.split()[0]):
            return False
        environment = {"LESS": "FRX", **os.environ}
        subprocess.run(pager.split(), input=text, env=environment, text=True, check=False)
        return True

    def show(self, rows: Sequence[Row], columns: Sequence[Column[Row]], form: str, *, empty: str = "") -> None:
        """Write rows, dataclasses, in one of FORMATS; `empty` is said instead of a table without lines."""
        if form in ("json", "yaml"):
            self.show_value([plain(row) for row in rows], form)
        elif rows or not empty:
            self.write(self.table(rows, columns, wide=form == "wide"))
        else:
            self.write(empty)

    def show_value(self, value: Any, form: str) -> None:
        """Write a value of maps, lists and scalars as JSON or YAML."""
        if form == "yaml":
            import yaml

            self.write(yaml.safe_dump(value, sort_keys=False, allow_unicode=True))
        else:
            self.write(json.dumps(value, indent=2, ensure_ascii=False))

    def table(self, rows: Sequence[Row], columns: Sequence[Column[Row]], *, wide: bool = False) -> str:
        """Draw a table; without `wide` it fits the terminal as far as columns may shrink."""
        shown = [column for column in columns if wide or not column.wide]
        cells = [[one_line(column.value(row)) for column in shown] for row in rows]
        widths = [
            max(len(column.title), *(len(line[number]) for line in cells), 0) if cells else len(column.title)
            for number, column in enumerate(shown)
        ]
        if self.width and not wide:
            self._shrink(widths, shown)
        lines = [self._line([column.title for column in shown], widths, [BOLD] * len(shown))]
        lines += [
            self._line(line, widths, [column.colour(row) for column in shown])
            for line, row in zip(cells, rows, strict=True)
        ]
        return "\n".join(lines)

    def _shrink(self, widths: list[int], columns: Sequence[Column[Row]]) -> None:
        too_much = sum(widths) + 2 * (len(widths) - 1) - self.width
        for number, column in reversed(list(enumerate(columns))):
            if too_much > 0 and column.may_shrink:
                less = max(0, min(too_much, widths[number] - max(_LEAST_CELL, len(column.title))))
                widths[number] -= less
                too_much -= less

    def _line(self, cells: Sequence[str], widths: Sequence[int], colours: Sequence[str]) -> str:
        drawn = []
        for number, (cell, width, colour) in enumerate(zip(cells, widths, colours, strict=True)):
            cut = cell if len(cell) <= width else cell[: max(0, width - 1)] + "…"
            gap = "" if number == len(cells) - 1 else " " * (width - len(cut))
            drawn.append(self.painted(cut, colour) + gap)
        return "  ".join(drawn).rstrip()


def plain(value: Any) -> Any:
    """Give a dataclass, with all in it, as maps, lists and scalars."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(item) for item in value]
    return value


def one_line(text: str) -> str:
    """Give a text without line ends and control characters, which could play tricks on a terminal."""
    return "".join(char if char.isprintable() else " " for char in " ".join(text.split()))


def remark(text: str, hint: str = "") -> None:
    """Say something beside the output proper, in one line and a hint: standard output may be a machine's."""
    sys.stderr.write(f"heat-config-kubelet: {one_line(text)}\n" + (f"  hint: {one_line(hint)}\n" if hint else ""))
    sys.stderr.flush()


def seconds_since(moment: str, now: float) -> float:
    """Give how long ago a time was, RFC 3339 with its offset, in seconds; `now` is seconds since the epoch."""
    from datetime import datetime

    return now - datetime.fromisoformat(moment.replace("Z", "+00:00")).timestamp()


def duration(seconds: float) -> str:
    """Give a time span as people say it: 0.4s, 12s, 3m05s, 2h07m, 5d3h."""
    if seconds < 10:
        return f"{max(seconds, 0):.1f}s"
    whole = int(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02}s"
    if whole < 86400:
        return f"{whole // 3600}h{whole % 3600 // 60:02}m"
    return f"{whole // 86400}d{whole % 86400 // 3600}h"
