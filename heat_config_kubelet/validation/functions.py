"""Heat's intrinsic functions, as far as the template has what they need; what it has not becomes an unknown word.

From heat/engine/hot/functions.py. Not evaluated: get_attr, get_resource, resource_facade, yaql, digest, make_url,
filter, contains, map_replace. Parameters have the values given, else their defaults.
"""

from __future__ import annotations

import itertools
import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..marks import Marks, Place, Text, children
from .unknowns import Unknowns

_LATER = (
    *("get_attr", "get_resource", "resource_facade", "yaql", "digest", "make_url", "filter", "contains"),
    *("map_replace", "Fn::GetAtt", "Fn::ResourceFacade", "Ref"),
)
_TRUE, _FALSE = ("t", "true", "on", "y", "yes", "1"), ("f", "false", "off", "n", "no", "0")
_INPUT_TYPES = {"CommaDelimitedList": "comma_delimited_list"} | {
    kind.capitalize(): kind for kind in ("string", "number", "json", "boolean")
}
_OMITTED = object()
"""What an `if` without its second value gives: the entry that it stands in is not there."""
_MOST_REPEATED = 5000
_NUMBER = re.compile(r"[-+]?\d+")

Problem = Callable[[Place | None, str], None]
"""Takes what is wrong with a function's use, and where."""
ReadFile = Callable[[str], str]
"""Gives the text of a file that a template names; raises OSError or ValueError with the reason."""


class Evaluator:
    """Evaluates parts of one template; results have the places of what they come from."""

    def __init__(
        self,
        template: Mapping[str, Any],
        given: Mapping[str, Any],
        *,
        file: str,
        marks: Marks,
        unknowns: Unknowns,
        read_file: ReadFile,
        problem: Problem,
    ) -> None:
        self._marks = marks
        self._unknowns = unknowns
        self._read_file = read_file
        self._problem = problem
        self._file = file
        self._parameters = _map(template.get("parameters"))
        self._conditions = _map(template.get("conditions"))
        self._given = given
        self._files: dict[str, Any] = {}
        self._open_conditions: set[str] = set()
        self._functions: dict[str, Callable[[Any, Place | None], Any]] = {
            "get_param": self._get_param,
            "get_file": self._get_file,
            "str_replace": self._str_replace,
            "str_replace_strict": self._str_replace,
            "str_replace_vstrict": self._str_replace,
            "list_join": self._list_join,
            "str_split": self._str_split,
            "map_merge": self._map_merge,
            "list_concat": self._list_concat,
            "list_concat_unique": self._list_concat_unique,
            "repeat": self._repeat,
            "if": self._if,
        }

    def resolve(self, value: Any) -> Any:
        """Give a value with all functions in it evaluated."""
        found = self._resolve(value)
        return None if found is _OMITTED else found

    def _resolve(self, value: Any) -> Any:
        if isinstance(value, dict) and len(value) == 1:
            (name, argument), place = next(iter(value.items())), self._marks.at(value, next(iter(value)))
            if name in self._functions:
                return self._functions[name](argument, place)
            if name in _LATER:
                return self._unknown(f"{name} {_shown(argument)}: only Heat knows it")
        result = self._marks.rebuilt(value, self._resolve)
        if isinstance(result, dict):
            for name in [name for name, each in result.items() if each is _OMITTED]:
                del result[name]
            return result
        omits = isinstance(result, list) and any(each is _OMITTED for each in result)
        return self._kept(result) if omits else result

    def _kept(self, entries: list[Any]) -> list[Any]:
        kept: list[Any] = []
        for index, each in enumerate(entries):
            if each is not _OMITTED:
                self._marks.copy(entries, index, kept, len(kept))
                kept.append(each)
        return kept

    def condition(self, value: Any) -> bool | None:
        """Give a condition's value; None where it cannot be known."""
        if isinstance(value, bool):
            return value
        if isinstance(value, str):
            return self._named_condition(value)
        if not isinstance(value, dict) or len(value) != 1:
            return None
        ((name, argument),) = value.items()
        if name == "equals" and isinstance(argument, list) and len(argument) == 2:
            one, other = (self.resolve(each) for each in argument)
            unknown = self._unknowns.places(one) or self._unknowns.places(other)
            return None if unknown else bool(one == other)
        if name == "not":
            known = self.condition(argument)
            return None if known is None else not known
        if name in ("and", "or") and isinstance(argument, list):
            parts = [self.condition(each) for each in argument]
            decisive = name == "or"
            return decisive if decisive in parts else None if None in parts else not decisive
        return None

    def _named_condition(self, name: str) -> bool | None:
        if name not in self._conditions or name in self._open_conditions:
            return None
        self._open_conditions.add(name)
        try:
            return self.condition(self._conditions[name])
        finally:
            self._open_conditions.discard(name)

    def _unknown(self, why: str) -> str:
        return self._unknowns.word(why)

    def _misused(self, place: Place | None, what: str) -> str:
        self._problem(place, what)
        return self._unknown(what)

    # --- the functions

    def _get_param(self, argument: Any, place: Place | None) -> Any:
        argument = self.resolve(argument)
        name, *path = argument if isinstance(argument, list) and argument else [argument]
        if not isinstance(name, str):
            return self._misused(place, "get_param needs the name of a parameter")
        if self._unknowns.of(name) or name.startswith("OS::"):
            return self._unknown(f"get_param {name}: only Heat knows it")
        if name not in self._parameters:
            return self._misused(place, f"get_param {name}: the template has no parameter of that name")
        declared = _map(self._parameters[name])
        if name not in self._given and "default" not in declared:
            return self._unknown(f"get_param {name}: it has no default")
        value = typed(self._given.get(name, declared.get("default")), declared.get("type"))
        for step in path:
            if self._unknowns.is_word(value) or self._unknowns.is_word(step):
                return self._unknown(f"get_param {name}: only Heat knows it")
            value = _item(value, step)
            value = "" if value is None else value  # as Heat's GetParam.result
        return self._standing(value, place)

    def _standing(self, value: Any, place: Place | None) -> Any:
        """Give a value whose parts all stand where the function stands that gave it, unless they have a place."""
        if place:
            for step, item in children(value):
                if not self._marks.at(value, step):
                    self._marks.note(value, step, place)
                self._standing(item, place)
        return value

    def _get_file(self, argument: Any, place: Place | None) -> Any:
        name = self.resolve(argument)
        if not isinstance(name, str):
            return self._misused(place, "get_file needs the name of a file")
        if self._unknowns.of(name):
            return self._misused(place, "get_file needs a name that is written out: Heat's client reads the file")
        if re.match(r"(?!file:)\w+://", name):
            return self._unknown(f"get_file {name}: is not fetched here")
        if name not in self._files:
            try:
                self._files[name] = self._read_file(name)
            except (OSError, ValueError) as error:
                why = getattr(error, "strerror", None) or str(error)
                self._files[name] = self._misused(place, f"get_file {name}: {why}")
        return self._files[name]

    def _str_replace(self, argument: Any, place: Place | None) -> Any:
        argument = _map(argument)
        template, params = self.resolve(argument.get("template")), self.resolve(argument.get("params"))
        if self._unknowns.is_word(template) or self._unknowns.is_word(params):
            return self._unknown(self._unknowns.why(template if self._unknowns.is_word(template) else params))
        if not isinstance(template, str) or not isinstance(params, dict):
            return self._misused(place, "str_replace needs a template, which is a text, and params, which are a map")
        return replaced(template, {name: _as_text(value) for name, value in params.items() if name})

    def _list_join(self, argument: Any, place: Place | None) -> Any:
        argument = self.resolve(argument)
        if not isinstance(argument, list) or len(argument) < 2 or not isinstance(argument[0], str):
            return self._misused(place, "list_join needs a delimiter and lists")
        parts: list[str] = []
        for each in argument[1:]:
            if isinstance(each, list):
                for item in each:
                    if isinstance(item, (int, float)):
                        return self._misused(place, f"list_join: Heat joins texts alone, not {_json(item)}")
                parts += [_as_text(item) for item in each]
            elif each is not None:
                return self._unknown("list_join: only Heat knows its list")
        return str(argument[0]).join(parts)

    def _str_split(self, argument: Any, place: Place | None) -> Any:
        argument = self.resolve(argument)
        if not isinstance(argument, list) or len(argument) not in (2, 3) or not isinstance(argument[0], str):
            return self._misused(place, "str_split needs a delimiter, a text, and perhaps a number")
        text = argument[1]
        if not isinstance(text, str) or self._unknowns.of(text) or not argument[0]:
            return self._unknown("str_split: only Heat knows its text")
        parts: list[Any] = text.split(argument[0])
        if len(argument) == 2:
            return self._standing(parts, place)
        found = _item(parts, argument[2])
        return self._misused(place, f"str_split: there is no part {argument[2]}") if found is None else found

    def _map_merge(self, argument: Any, place: Place | None) -> Any:
        argument = self.resolve(argument)
        if not isinstance(argument, list):
            return self._unknown("map_merge: only Heat knows its maps")
        result: dict[str, Any] = {}
        for each in argument:
            if self._unknowns.is_word(each):
                return self._unknown(f"map_merge of {self._unknowns.why(each)}")
            for key, item in _map(each).items():
                self._marks.copy(each, key, result)
                result[key] = item
        return self._standing(result, place)

    def _list_concat(self, argument: Any, place: Place | None) -> Any:
        argument = self.resolve(argument)
        if not isinstance(argument, list):
            return self._unknown("list_concat: only Heat knows its lists")
        result: list[Any] = []
        for each in argument:
            if self._unknowns.is_word(each):
                return self._unknown(f"list_concat of {self._unknowns.why(each)}")
            for index, item in enumerate(each if isinstance(each, list) else []):
                self._marks.copy(each, index, result, len(result))
                result.append(item)
        return self._standing(result, place)

    def _list_concat_unique(self, argument: Any, place: Place | None) -> Any:
        joined = self._list_concat(argument, place)
        if not isinstance(joined, list):
            return joined
        result: list[Any] = []
        for index, item in enumerate(joined):
            if item not in result:
                self._marks.copy(joined, index, result, len(result))
                result.append(item)
        return result

    def _repeat(self, argument: Any, place: Place | None) -> Any:
        argument = _map(argument)
        lists = self.resolve(argument.get("for_each"))
        template = self.resolve(argument.get("template"))
        if not isinstance(lists, dict) or not lists or self._unknowns.is_word(template):
            return self._unknown("repeat: only Heat knows its lists")
        values = [
            list(each) if isinstance(each, (list, dict)) else [] if each is None else None for each in lists.values()
        ]
        known = [each for each in values if each is not None]
        if len(known) < len(values) or math.prod(map(len, known)) > _MOST_REPEATED:
            return self._unknown("repeat: only Heat knows its lists")
        for item in itertools.chain(*known):
            if not isinstance(item, str):
                return self._misused(place, f"repeat: Heat puts in texts alone, not {_json(item)}")
        turns = itertools.product(*known) if argument.get("permutations", True) else zip(*known, strict=False)
        result: list[Any] = []
        for turn in turns:
            if place:
                self._marks.note(result, len(result), place)
            filled = template
            for name, item in zip(lists, turn, strict=True):
                filled = self._filled(filled, name, item)
            result.append(filled)
        return result

    def _filled(self, template: Any, name: str, item: str) -> Any:
        if isinstance(template, str):
            return template.replace(name, item) if name else template

        def filled(part: Any) -> Any:
            return self._filled(part, name, item)

        return self._marks.rebuilt(template, filled, filled)

    def _if(self, argument: Any, place: Place | None) -> Any:
        if not isinstance(argument, list) or len(argument) not in (2, 3):
            return self._misused(place, "if needs a condition and one or two values")
        known = self.condition(argument[0])
        if known is None:
            return self._unknown(f"if {_shown(argument[0])}: only Heat knows the condition")
        if not known and len(argument) == 2:
            return _OMITTED
        return self._resolve(argument[1] if known else argument[2])


def with_inputs(value: Any, key: str, inputs: Callable[[str], Any], marks: Marks) -> Any:
    """Give a StructuredConfig's map with the inputs of a deployment put in.

    `key` is the deployment's `input_key` (StructuredDeployment.parse in heat's structured_config.py).
    """
    if isinstance(value, dict) and len(value) == 1 and isinstance(value.get(key), str):
        return inputs(value[key])
    return marks.rebuilt(value, lambda item: with_inputs(item, key, inputs, marks))


def replaced(template: str, params: Mapping[str, str]) -> str:
    """Give a text with each name in it replaced, longer names first; its lines know where they stand."""
    if not params:
        return template
    names = re.compile("|".join(re.escape(name) for name in sorted(params, key=lambda name: (-len(name), name))))
    if not isinstance(template, Text):
        return names.sub(lambda match: params[match[0]], template)
    parts: list[str] = []
    lines: list[Place] = [template.place(1, 1) or Place("")]
    exact: dict[int, int] = dict(template.exact)
    line, position, length = 1, 0, 0
    for match in [*names.finditer(template), None]:
        kept = template[position : match.start() if match else None]
        parts.append(kept)
        length = len(kept) - kept.rindex("\n") - 1 if "\n" in kept else length + len(kept)
        for _ in range(kept.count("\n")):
            line += 1
            lines.append(template.place(line, 1) or lines[-1])
        if match:
            position = match.end()
            value = params[match[0]]
            exact[len(lines)] = min(length, exact.get(len(lines), length))
            parts.append(value)
            length += len(value)
            lines += [lines[-1]._replace(column=0)] * value.count("\n")
            line += match[0].count("\n")
    return Text("".join(parts), lines, exact)


def _map(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _item(value: Any, step: Any) -> Any:
    if isinstance(value, dict):
        return value.get(step)
    if isinstance(value, Sequence) and not isinstance(value, str):
        try:
            return value[int(step)]
        except (TypeError, ValueError, IndexError):
            return None
    return None


def _as_text(value: Any) -> str:
    """Put a value into a text as str_replace and list_join do."""
    if value is None:
        return ""
    return json.dumps(value) if isinstance(value, (dict, list)) else str(value)


def typed(value: Any, kind: Any) -> Any:
    """Give a parameter's value as its type has it (heat/engine/parameters.py); an input's types have capitals."""
    kind = _INPUT_TYPES.get(kind, kind) if isinstance(kind, str) else ""
    if kind == "number" and isinstance(value, str):
        if _NUMBER.fullmatch(value) and len(value) < 40:
            return int(value)
        try:
            return float(value)
        except ValueError:
            return value
    if kind == "boolean" and isinstance(value, str):
        word = value.strip().lower()
        return True if word in _TRUE else False if word in _FALSE else value
    if kind == "string" and isinstance(value, (int, float)):
        return str(value)
    if kind == "comma_delimited_list" and isinstance(value, str):
        return value.split(",") if value else []
    if kind == "json" and isinstance(value, str):
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            return value
    return value


def _json(value: Any) -> str:
    return json.dumps(value)[:40]


def _shown(argument: Any) -> str:
    parts = argument if isinstance(argument, list) else [argument]
    return ".".join(str(part) if isinstance(part, (str, int)) else "…" for part in parts)[:60]


def file_text(folder: Path, name: str, most: int) -> tuple[Path, str]:
    """Read a file that a template names, relative to the template's folder; OSError or ValueError says why not."""
    path = folder / name.removeprefix("file://")
    with path.open("rb") as stream:
        content = stream.read(most + 1)
    if len(content) > most:
        raise ValueError(f"has more than {most} bytes")
    try:
        return path, content.decode("utf-8")
    except UnicodeDecodeError:
        raise ValueError("is no UTF-8 text") from None
