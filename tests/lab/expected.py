"""Compares what a command writes with a readable file, after what differs from run to run was replaced by words.

The files are tests/expected/NAME.txt. To write them anew, for a person to look at the difference before it is
committed, run the tests with HEAT_CONFIG_KUBELET_WRITE_EXPECTED=1 in the environment.
"""

from __future__ import annotations

import difflib
import itertools
import os
import re
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path

FOLDER = Path(__file__).parents[1] / "expected"
WRITE_VARIABLE = "HEAT_CONFIG_KUBELET_WRITE_EXPECTED"

_TEMPORARY = f"(?:/tmp|{re.escape(tempfile.gettempdir())})"
_DATE, _TIME = r"\d{4}-\d\d-\d\d", r"\d\d:\d\d:\d\d"
_VARIES = tuple(
    (re.compile(pattern), word)
    for pattern, word in (
        (rf"{_TEMPORARY}/pytest-of-[^/\s]+/pytest-\d+/(?:popen-gw\d+/)?[\w.\[\]-]+", "TMP"),
        (rf"{_TEMPORARY}/[\w.-]+", "TMP"),
        (rf"\b{_DATE}[T ]{_TIME}(?:\.\d+)?(?:Z|[+-]\d\d:?\d\d)?", "TIME"),
        (rf"\b{_DATE}\b", "DATE"),
        (rf"\b{_TIME}(?:\.\d+)?\b", "TIME"),
        (r"(?<![0-9a-f])[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b", "UUID"),
        (r"\b[0-9a-f]{32,64}\b|(?<=-)[0-9a-f]{12}(?=\.json\b)", "HASH"),
        (r"(\b(?:\d{1,3}\.){3}\d{1,3}|\blocalhost|//[\w.-]+|\]):\d{2,5}\b", r"\1:PORT"),
        (r"\b(port) \d{2,5}\b", r"\1 PORT"),
        (r"\b(?!127\.|0\.|192\.0\.2\.)(?:\d{1,3}\.){3}\d{1,3}\b", "ADDRESS"),
        # As `console.duration` writes them; seconds with a blank before the "s" are mostly a setting's.
        (r"(?<![\w.])(?:\d+d\d+h|\d+h\d+m|\d+m\d+s|\d+(?:\.\d+)?s)\b", "DURATION"),
        (r"(?<![\w.])\d+\.\d+ s\b", "DURATION"),
    )
)


def check(name: str, text: str, *, node: str = "", also: Mapping[str, str] | None = None) -> None:
    """Compare a command's output with the file of this name; AssertionError shows the difference.

    Times, durations, UUIDs, hashes, ports, addresses and temporary paths are replaced; so are the node's name, where
    `node` gives it, and what `also` names: words by regular expression, replaced first.
    """
    found = steady(text, node=node, also=also)
    file = FOLDER / f"{name}.txt"
    if os.environ.get(WRITE_VARIABLE):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(found, encoding="utf-8")
        return
    expected = file.read_text(encoding="utf-8") if file.exists() else ""
    difference = difflib.unified_diff(expected.splitlines(), found.splitlines(), file.name, "written", lineterm="", n=9)
    assert found == expected, f"{WRITE_VARIABLE}=1 writes it anew\n" + "\n".join(difference)


def steady(text: str, *, node: str = "", also: Mapping[str, str] | None = None) -> str:
    """Give the text as `check` compares it: words in place of what varies, tables drawn again to fit them."""
    for pattern, word in (also or {}).items():
        text = re.sub(pattern, word, text)
    for varies, word in _VARIES:
        text = varies.sub(word, text)
    if node:
        text = re.sub(rf"(?<![A-Za-z0-9]){re.escape(node)}(?![A-Za-z0-9])", "NODE", text)
    rows = [_cells(line) for line in text.splitlines()]
    return "".join(
        line + "\n" for _, table in itertools.groupby(rows, lambda row: (len(row), row[0])) for line in _drawn(table)
    )


def _cells(line: str) -> list[str]:
    """What stands two blanks or more apart; first of all the line's indentation."""
    told = line.lstrip(" ")
    return [line[: len(line) - len(told)], *re.split(r" {2,}", told.rstrip())]


def _drawn(table: Iterable[list[str]]) -> list[str]:
    lines = list(table)
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return [
        line[0] + "  ".join(cell.ljust(width) for cell, width in zip(line[1:], widths[1:], strict=True)).rstrip()
        for line in lines
    ]
