"""YAML and JSON text read into the values that a kubelet would read from it, and stricter about slips.

A kubelet turns YAML into JSON with sigs.k8s.io/yaml, which is go.yaml.in/yaml/v2: YAML 1.1 with differences of
its own (resolve.go, decode.go). `017` and `0o17` are 15, `yes`, `on` and `y` are true, a date stays text.
Only PyYAML's parser is used here; every scalar is resolved by the rules of that Go library.

Not for: what the values mean (see `pods.py`). Importing this module does not import yaml.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, NoReturn

from .errors import PodError

if TYPE_CHECKING:
    from .marks import FileMarks

MAX_CHARACTERS = 10 * 1024 * 1024
"""A kubelet refuses longer manifests (pkg/kubelet/config/common.go, maxConfigLength)."""
MAX_DEPTH = 100
"""No field of a Pod is nested so deep."""
MAX_VALUES = 400_000
"""What aliases may expand to, as in go-yaml's decode.go."""

_WORDS: dict[str, Any] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON"), True),
    **dict.fromkeys(("n", "N", "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF"), False),
}
_NOT_NUMBERS = frozenset(
    sign + word
    for sign, words in (("", (".nan", ".NaN", ".NAN")), *((s, (".inf", ".Inf", ".INF")) for s in ("", "+", "-")))
    for word in words
)
_INTEGER = re.compile(r"([-+]?)(?:0[xX]([0-9a-fA-F]+)|0[oO]?([0-7]+)|0[bB]([01]+)|(0|[1-9][0-9]*))")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_DOT_FLOAT = re.compile(r"\.[0-9](?:_?[0-9])*(?:[eE][-+]?[0-9](?:_?[0-9])*)?")
_STANDARD_TAG = "tag:yaml.org,2002:"
_NOT_UTF8 = "has a character that no UTF-8 file can hold (a lone surrogate)"
_BEYOND_EXPONENT = 1e21
"""From here on Go writes a float into JSON with an exponent, below it a whole one as an integer."""


class TextError(PodError):
    """A text that cannot be read; line and column count from 1, and are 0 where no place in it is the cause."""

    def __init__(self, what: str, line: int = 0, column: int = 0) -> None:
        place = f"config, line {line}, column {column}: " if line else ""
        super().__init__((place + what,))
        self.what = what
        self.line = line
        self.column = column


def documents(text: str, marks: FileMarks | None = None) -> list[Any]:
    """Read one JSON text or one or more YAML documents into maps with text keys, lists and scalars.

    An empty document is None. Raises TextError, with the text's line and column, for what does not parse, and for what
    a kubelet would take without a word but nobody means: a doubled key, a tag, a key that is no text.
    With `marks` it is noted there where each key and each entry of a list stands.
    """
    if len(text) > MAX_CHARACTERS:
        raise TextError(f"the text has more than {MAX_CHARACTERS} characters: a kubelet reads no longer manifest")
    if text.lstrip()[:1] in ("{", "["):
        value, parsed = _json(text)
        if parsed:
            if marks:
                mark_json(text, value, marks)
            return [value]
    return _yaml(text, marks)


def mark_json(text: str, value: Any, marks: FileMarks) -> None:
    """Note where the parts of `value`, which was read from a JSON text, stand in it."""
    try:
        twins = _yaml(text.replace("\t", " "), marks)  # all its tabs are between values, where YAML takes none
    except PodError:
        return  # JSON that is no YAML: without places
    if len(twins) == 1:
        marks.marks.carry(twins[0], value)


def encodable(text: str) -> bool:
    """Whether a file can hold the text: half a surrogate pair, which JSON can say, has no UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def check_value(value: object) -> None:
    """Check that a value holds only what JSON can hold, nested at most MAX_DEPTH deep.

    Raises PodError naming the place. For configs that arrive as a map.
    """
    _check_value(value, "", 0)


def _check_value(value: object, path: str, depth: int) -> None:
    if depth > MAX_DEPTH:
        raise PodError((f"nested more than {MAX_DEPTH} deep",))
    if isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str):
                raise PodError((f"{path or 'the map'}: the key {key!r:.60} is no text; put it in quotes",))
            if not encodable(key):
                raise PodError((f"{path or 'the map'}: the key {key!a:.60} {_NOT_UTF8}",))
            _check_value(item, f"{path}.{key}" if path else key, depth + 1)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            _check_value(item, f"{path}[{index}]", depth + 1)
    elif isinstance(value, str):
        if not encodable(value):
            raise PodError((f"{path or 'the value'}: {value!a:.60} {_NOT_UTF8}",))
    elif isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        raise PodError((f"{path or 'the value'}: {value} is no number that JSON knows",))
    elif value is not None and not isinstance(value, (int, float)):
        raise PodError((f"{path or 'the value'}: a {type(value).__name__} is nothing that JSON knows",))


class _NotStrictError(ValueError):
    """JSON that Python's parser takes and a kubelet does not, or a doubled key: YAML's parser says where."""


def _json(text: str) -> tuple[Any, bool]:
    try:
        value = json.loads(text, object_pairs_hook=_pairs, parse_constant=_constant, parse_float=_json_float)
    except RecursionError:
        raise PodError((f"nested more than {MAX_DEPTH} deep",)) from None
    except ValueError:
        return None, False
    check_value(value)
    return value, True


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise _NotStrictError
    return result


def _constant(word: str) -> NoReturn:
    raise PodError((f"{word} is no number that JSON knows",))


def _json_float(word: str) -> float:
    value = float(word)
    if value in (float("inf"), float("-inf")):
        raise PodError((f"{word:.60} is too large for a number",))
    return value


def _yaml(text: str, marks: FileMarks | None = None) -> list[Any]:
    import yaml

    if not encodable(text):
        raise TextError(f"the text {_NOT_UTF8}")
    try:
        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)(str(text))  # libyaml's takes no subclass of it
        try:
            return Reader(loader, yaml, marks).stream()
        finally:
            loader.dispose()
    except yaml.YAMLError as error:
        raise unreadable(error, text) from None


def unreadable(error: Any, text: str) -> TextError:
    """Give the error for what PyYAML (a YAMLError) says of a text."""
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    if not mark:
        return TextError(f"no YAML: {' '.join(str(error).split())}")
    what = error.problem or error.context or "is no YAML"
    if text[mark.index : mark.index + 1] == "\t":
        what = "a tab; YAML is indented with spaces"
    return TextError(what, mark.line + 1, mark.column + 1)


def _fail(mark: Any, what: str) -> NoReturn:
    raise TextError(what, mark.line + 1, mark.column + 1)


class _Merge:
    """Stands for the key `<<`."""


_MERGE = _Merge()
_OPEN = object()
"""Stands for an anchor whose value is not complete yet."""


class Reader:
    """Builds values from the parser's events, counting what aliases expand to."""

    def __init__(self, loader: Any, yaml: Any, marks: FileMarks | None = None) -> None:
        self.next = loader.get_event
        self.yaml = yaml
        self.marks = marks
        self.anchors: dict[str, tuple[Any, int]] = {}
        self.values = 0

    def stream(self) -> list[Any]:
        """Read all documents."""
        found: list[Any] = []
        while True:
            event = self.next()
            if isinstance(event, self.yaml.DocumentStartEvent):
                self.anchors = {}
                event = self.next()
                if self.marks:
                    self.marks.note(found, len(found), event.start_mark.line, event.start_mark.column)
                found.append(self.value(event, 0))
            elif isinstance(event, self.yaml.StreamEndEvent):
                return found

    def value(self, event: Any, depth: int) -> Any:
        """Read the value that starts with this event."""
        self.values += 1
        if self.values > MAX_VALUES:
            _fail(event.start_mark, f"more than {MAX_VALUES} values, aliases expanded")
        if depth > MAX_DEPTH:
            _fail(event.start_mark, f"nested more than {MAX_DEPTH} deep")
        if isinstance(event, self.yaml.AliasEvent):
            return self.alias(event)
        before = self.values
        if event.anchor:
            self.anchors[event.anchor] = (_OPEN, 0)
        if isinstance(event, self.yaml.ScalarEvent):
            result = self.scalar(event)
        elif isinstance(event, self.yaml.SequenceStartEvent):
            result = self.sequence(event, depth)
        else:
            result = self.mapping(event, depth)
        if event.anchor:
            self.anchors[event.anchor] = (result, self.values - before + 1)
        return result

    def alias(self, event: Any) -> Any:
        if event.anchor not in self.anchors:
            _fail(event.start_mark, f"there is no anchor &{event.anchor}")
        value, size = self.anchors[event.anchor]
        if value is _OPEN:
            _fail(event.start_mark, f"the value of the anchor &{event.anchor} contains itself")
        self.values += size
        if self.values > MAX_VALUES:
            _fail(event.start_mark, f"more than {MAX_VALUES} values, aliases expanded")
        return value

    def sequence(self, event: Any, depth: int) -> list[Any]:
        self.check_tag(event, ("seq",))
        result: list[Any] = []
        while not isinstance(event := self.next(), self.yaml.SequenceEndEvent):
            if self.marks:
                self.marks.note(result, len(result), event.start_mark.line, event.start_mark.column)
            result.append(self.value(event, depth + 1))
        return result

    def mapping(self, event: Any, depth: int) -> dict[str, Any]:
        self.check_tag(event, ("map",))
        result: dict[str, Any] = {}
        lines: dict[Any, int] = {}
        merged: set[str] = set()
        while not isinstance(event := self.next(), self.yaml.MappingEndEvent):
            key, mark = self.key(event), event.start_mark
            if key in lines:
                self.twice(mark, "<<" if key is _MERGE else key, lines[key])
            lines[key] = mark.line + 1
            start = self.next()
            value = self.value(start, depth + 1)
            if key is _MERGE:
                self.merge(result, value, start.start_mark, merged)
                continue
            result[str(key)] = value
            if self.marks:
                self.marks.note(result, str(key), mark.line, mark.column)
        return result

    def twice(self, mark: Any, name: str, first: int) -> None:
        """Refuse a key that its map has already, first in that line."""
        _fail(mark, f'the key "{name}" is there twice, first in line {first}')

    def merge(self, into: dict[str, Any], value: Any, mark: Any, merged: set[str]) -> None:
        """Take the keys of `<<` over; where YAML's rule and go-yaml's differ, refuse."""
        maps = value if isinstance(value, list) else [value]
        for each in maps:
            if not isinstance(each, dict):
                _fail(mark, "<< takes a map or a list of maps")
            for key, item in each.items():
                if key in into and key not in merged:
                    _fail(mark, f'put << first in its map: after the key "{key}" a kubelet lets << override it')
                if key not in into:
                    into[key] = item
                    merged.add(key)
                    if self.marks:
                        self.marks.marks.copy(each, key, into)

    def key(self, event: Any) -> Any:
        """Read a map's key: a text, or the mark of a merge."""
        if isinstance(event, self.yaml.AliasEvent):
            value = self.alias(event)
            if not isinstance(value, str):
                _fail(event.start_mark, "a map's key must be text")
            return value
        if not isinstance(event, self.yaml.ScalarEvent):
            _fail(event.start_mark, "a map's key must be text, no list or map")
        self.values += 1
        if event.value == "<<" and event.implicit[0] and event.tag is None:
            return _MERGE
        value = self.scalar(event)
        if event.anchor:
            self.anchors[event.anchor] = (value, 1)
        return self.key_text(event, value)

    def key_text(self, event: Any, value: Any) -> str:
        """Give the text of a key that is a scalar, or refuse it."""
        if isinstance(value, int) and not isinstance(value, bool) and str(value) == event.value:
            return str(event.value)
        if not isinstance(value, str):
            read = json.dumps(value)
            _fail(event.start_mark, f"the key {event.value or 'null'} is read as {read}, no text: put it in quotes")
        return value

    def check_tag(self, event: Any, allowed: tuple[str, ...]) -> str:
        """Give the short name of a tag that is written out and has its place; refuse others."""
        tag = str(event.tag or "")
        if not tag or tag == "!":
            return ""
        short = tag.removeprefix(_STANDARD_TAG)
        if tag.startswith(_STANDARD_TAG) and short in allowed:
            return short
        shown = f"!!{short}" if tag.startswith(_STANDARD_TAG) else tag
        _fail(event.start_mark, f"the tag {shown} has no place here: remove it")

    def scalar(self, event: Any) -> Any:
        """Resolve a scalar as go-yaml's resolve() does."""
        tag = self.check_tag(event, ("str", "int", "float", "bool", "null"))
        text = str(event.value)
        if not encodable(text):  # PyYAML's own parser takes such an escape, libyaml's does not
            _fail(event.start_mark, f"{text!a:.60} {_NOT_UTF8}")
        if tag == "str" or (not tag and (event.tag == "!" or not event.implicit[0])):
            return text
        value = _resolve(text, event.start_mark)
        kinds: dict[str, tuple[type, ...]] = {
            "int": (int,),
            "float": (int, float),
            "bool": (bool,),
            "null": (type(None),),
        }
        if tag and (not isinstance(value, kinds[tag]) or (isinstance(value, bool) and tag != "bool")):
            _fail(event.start_mark, f'"{text:.60}" is no {tag}')
        return value


def _resolve(text: str, mark: Any) -> Any:
    first = text[:1]
    if first not in "+-.0123456789":
        return _WORDS.get(text, text)
    if not first:
        return None
    if text in _NOT_NUMBERS:
        _fail(mark, f"{text} is no number that JSON knows; put text in quotes")
    if first == ".":
        return _whole(float(text.replace("_", "")), text) if _DOT_FLOAT.fullmatch(text) else text
    plain = text.replace("_", "")
    number = _integer(plain)
    if number is not None:
        return number
    return _whole(float(plain), text) if _FLOAT.fullmatch(plain) else text


def _integer(plain: str) -> int | None:
    """Give the value of a whole number that fits into 64 bits (strconv.ParseInt and ParseUint with base 0)."""
    match = _INTEGER.fullmatch(plain) if len(plain) <= 70 else None
    if not match:
        return None
    sign, *digits = match.groups()
    value = next(int(part, base) for part, base in zip(digits, (16, 8, 2, 10), strict=True) if part)
    if sign:
        value = -value if sign == "-" else value
        return value if -(2**63) <= value < 2**63 else None
    return value if value < 2**64 else None


def _whole(value: float, text: str) -> int | float | str:
    """Give a float as Go's JSON has it: 1.0 becomes 1; one that is too large was never a number."""
    if value in (float("inf"), float("-inf")):
        return text
    if abs(value) < _BEYOND_EXPONENT and value == int(value):
        return int(value)
    return value
