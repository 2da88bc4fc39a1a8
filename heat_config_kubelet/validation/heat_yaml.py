"""Reads a template as Heat does, with the place of each of its parts.

Heat reads JSON, else YAML by PyYAML's rules and dates as text (heat/common/template_format.py): `017` is 15 here too,
but `0o17` is text, and of a key that is there twice the last counts.

Not for: pods, which the kubelet reads by other rules (`strict_yaml.py`).
"""

from __future__ import annotations

import json
from typing import Any

import yaml

from ..marks import FileMarks, Marks, Place, Text
from ..strict_yaml import MAX_CHARACTERS, Reader, TextError, encodable, mark_json, unreadable

_TAG = "tag:yaml.org,2002:"
_TEXTS = ("str", "timestamp")


def read(text: str, marks: Marks, file: str) -> tuple[Any, list[tuple[Place, str]]]:
    """Give the value of a template's text, and the keys that are there twice with their places. Raises TextError."""
    if len(text) > MAX_CHARACTERS:
        raise TextError(f"the text has more than {MAX_CHARACTERS} characters")
    found = FileMarks(marks, file)
    if text.lstrip()[:1] == "{":
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):
            pass
        else:
            mark_json(text, value, found)
            return value, []
    if not encodable(text):
        raise TextError("the text has a character that no UTF-8 file can hold (a lone surrogate)")
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)(text)
    try:
        reader = _HeatReader(loader, found, text)
        documents = reader.stream()
    except yaml.YAMLError as error:
        raise unreadable(error, text) from None
    finally:
        loader.dispose()
    if len(documents) > 1:
        raise TextError("has several documents; Heat takes one")
    return (documents[0] if documents else None), reader.doubled


class _HeatReader(Reader):
    """Resolves scalars by PyYAML's rules, and knows where the lines of a text are."""

    def __init__(self, loader: Any, marks: FileMarks, text: str) -> None:
        super().__init__(loader, yaml, marks)
        self._loader = loader
        self._lines = text.split("\n")
        self._file = marks.file
        self.doubled: list[tuple[Place, str]] = []

    def check_tag(self, event: Any, allowed: tuple[str, ...]) -> str:
        """Refuse a collection's tag that Heat has no constructor for."""
        tag = str(event.tag or "")
        if tag and tag != "!" and tag.removeprefix(_TAG) not in allowed:
            raise TextError(f"the tag {tag} has no place here: remove it", *_numbers(event.start_mark))
        return ""

    def scalar(self, event: Any) -> Any:
        """Resolve a scalar as yaml.SafeLoader does."""
        tag = event.tag
        if tag is None or tag == "!":
            tag = self._loader.resolve(yaml.ScalarNode, event.value, event.implicit)
        short = str(tag).removeprefix(_TAG)
        if short in _TEXTS:
            return self._text(event) if event.style == "|" else str(event.value)
        construct = {
            "int": self._loader.construct_yaml_int,
            "float": self._loader.construct_yaml_float,
            "bool": self._loader.construct_yaml_bool,
            "null": self._loader.construct_yaml_null,
        }.get(short)
        try:
            if construct:
                return construct(yaml.ScalarNode(tag, event.value))
        except (ValueError, KeyError, IndexError):
            raise TextError(f'"{event.value:.60}" is no {short}', *_numbers(event.start_mark)) from None
        what = f"the tag {tag} has no place here: remove it" if event.tag else f"{event.value} must be in quotes"
        raise TextError(what, *_numbers(event.start_mark))

    def _text(self, event: Any) -> Text:
        first = event.start_mark.line + 1
        places = []
        for number, line in enumerate(event.value.split("\n"), start=first):
            raw = self._lines[number].rstrip("\r") if number < len(self._lines) else ""
            indent = len(raw) - len(line)
            exact = indent >= 0 and raw.endswith(line) and not raw[:indent].strip(" ")
            places.append(Place(self._file, number + 1, indent + 1 if exact else 0))
        return Text(event.value, places)

    def twice(self, mark: Any, name: str, first: int) -> None:
        """Note what Heat takes without a word."""
        place = Place(self._file, *_numbers(mark))
        self.doubled.append((place, f'the key "{name}" is there twice, first in line {first}; Heat takes the last'))

    def merge(self, into: dict[str, Any], value: Any, mark: Any, merged: set[str]) -> None:
        """Take the keys of `<<` over that the map does not have itself."""
        for each in reversed(value if isinstance(value, list) else [value]):
            if not isinstance(each, dict):
                raise TextError("<< takes a map or a list of maps", *_numbers(mark))
            for key, item in each.items():
                if key not in into or key in merged:
                    into[key] = item
                    merged.add(key)
                    if self.marks:
                        self.marks.marks.copy(each, key, into)

    def key_text(self, _event: Any, value: Any) -> str:
        """Give a key as it is in the JSON that goes to Heat and to the node."""
        return value if isinstance(value, str) else json.dumps(value)


def _numbers(mark: Any) -> tuple[int, int]:
    return mark.line + 1, mark.column + 1
