"""Where the parts of a value stand in a file: kept beside the value, for those who ask for it.

Nothing that works in the node by itself asks: `strict_yaml.documents` then costs no more than it did.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

Step = str | int
"""A key of a map, or a place in a list."""
Steps = tuple[Step, ...]

_STEP = re.compile(r'\["(?P<key>.*?)"\]|\[(?P<index>\d{1,9})\]|\.?(?P<name>[^.\[]+)')


class Place(NamedTuple):
    """A place in a file. Lines and columns count from 1; 0 is one that is not known."""

    file: str
    line: int = 0
    column: int = 0


class Marks:
    """The places of keys and of entries of lists, by the map or list that holds them; for one file or several."""

    def __init__(self) -> None:
        self._holders: dict[int, tuple[Any, dict[Step, Place]]] = {}

    def note(self, holder: Any, step: Step, place: Place) -> None:
        """Note where a map's key or a list's entry stands."""
        # With the holder itself, which so lives on: an id is given again after a value's end.
        self._holders.setdefault(id(holder), (holder, {}))[1][step] = place

    def at(self, holder: Any, step: Step) -> Place | None:
        """Give the place of a key or an entry."""
        return self._holders.get(id(holder), (None, {}))[1].get(step)

    def copy(self, holder: Any, step: Step, into: Any, into_step: Step | None = None) -> None:
        """Note that a key or entry of one holder is also in another."""
        place = self.at(holder, step)
        if place:
            self.note(into, step if into_step is None else into_step, place)

    def rebuilt(self, value: Any, item: Callable[[Any], Any], key: Callable[[str], str] = str) -> Any:
        """Give a map or a list anew, each of its items and keys changed; places are kept. A scalar is given back."""
        if isinstance(value, dict):
            result: dict[str, Any] = {}
            for name, each in value.items():
                changed = key(name)
                self.copy(value, name, result, changed)
                result[changed] = item(each)
            return result
        if isinstance(value, list):
            entries: list[Any] = []
            for index, each in enumerate(value):
                self.copy(value, index, entries)
                entries.append(item(each))
            return entries
        return value

    def carry(self, holder: Any, into: Any) -> None:
        """Note the places of a whole value for another one that is made like it."""
        for step, item in children(into):
            self.copy(holder, step, into)
            below = below_of(holder, step)
            if below is not None:
                self.carry(below, item)

    def find(self, root: Any, steps: Steps) -> Place | None:
        """Give the place of the last of `steps` from `root` that is there; None where not even the first is."""
        found, value = None, root
        for step in steps:
            found = self.at(value, step) or found
            value = below_of(value, step)
            if value is None:
                break
        return found


class FileMarks(NamedTuple):
    """Marks of one file, as `strict_yaml` notes them."""

    marks: Marks
    file: str = ""

    def note(self, holder: Any, step: Step, line: int, column: int) -> None:
        """Note where a key or an entry stands; line and column count from 0."""
        self.marks.note(holder, step, Place(self.file, line + 1, column + 1))


class Text(str):
    """A text that knows where its lines stand in a file.

    `lines` are the places of the lines' first characters, without a column where the file's line is not the text's;
    `exact` tells how many characters of a line are those of the file, for lines where not all are.
    """

    lines: Sequence[Place]
    exact: Mapping[int, int]

    def __new__(cls, text: str, lines: Sequence[Place], exact: Mapping[int, int] | None = None) -> Text:
        made = super().__new__(cls, text)
        made.lines = lines
        made.exact = exact or {}
        return made

    def place(self, line: int, column: int) -> Place | None:
        """Give the place of a line and column of the text, which count from 1."""
        if not 0 < line <= len(self.lines):
            return None
        start = self.lines[line - 1]
        known = start.column and 0 < column <= self.exact.get(line, column) + 1
        return start._replace(column=start.column + column - 1 if known else 0)


def children(value: Any) -> list[tuple[Step, Any]]:
    """Give what a map or a list holds; nothing of a scalar."""
    if isinstance(value, dict):
        return [(key, item) for key, item in value.items()]
    return list(enumerate(value)) if isinstance(value, list) else []


def below_of(value: Any, step: Step) -> Any:
    """Give what a value holds at a step; None where nothing is there."""
    if isinstance(value, dict):
        return value.get(step)
    if isinstance(value, list) and isinstance(step, int) and step < len(value):
        return value[step]
    return None


def steps_of(path: str) -> Steps:
    """Read the path of a field as faults name it: `spec.containers[0].env`, `metadata.labels["a.b/c"]`."""
    found: list[Step] = []
    position = 0
    while match := _STEP.match(path, position):
        index = match["index"]
        found.append(int(index) if index is not None else match["key"] if match["name"] is None else match["name"])
        position = match.end()
    return tuple(found)
