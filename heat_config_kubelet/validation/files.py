"""Finds out what kind of file it is, and has it judged: pods, template, environment, or metadata."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import AgentError
from ..marks import Marks, Place, Text
from ..strict_yaml import MAX_CHARACTERS, TextError
from ..values import Identity
from .configs import Config, Judge
from .heat_yaml import read
from .metadata_files import Metadata, entries_of
from .reports import ERROR, NOTE, FileReport, Finding
from .templates import VERSION_KEY, Template
from .unknowns import Unknowns

STANDARD_INPUT = "-"

_ENVIRONMENT_KEYS = frozenset(
    {
        *("parameters", "parameter_defaults", "parameter_merge_strategies", "resource_registry"),
        *("encrypted_param_names", "environments", "event_sinks"),
    }
)
_OLD_TEMPLATE_KEYS = ("AWSTemplateFormatVersion", "HeatTemplateFormatVersion")
_IS_TEMPLATE = re.compile(rf"^[\"']?{VERSION_KEY}\b", re.MULTILINE)


class FileError(AgentError):
    """A file that was named cannot be read."""

    status = 2


@dataclass(frozen=True)
class Given:
    """A file that was given, as text."""

    name: str
    path: Path
    text: str


def load(name: str, standard_input: bytes) -> Given:
    """Read a file, or standard input for "-". Raises FileError."""
    path = Path(name)
    if name == STANDARD_INPUT:
        content = standard_input
    else:
        try:
            with path.open("rb") as stream:
                content = stream.read(4 * MAX_CHARACTERS + 1)
        except (OSError, ValueError) as error:
            raise FileError(f"{name}: {getattr(error, 'strerror', None) or error}") from None
    try:
        return Given(name, path, content.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise FileError(f"{name}: is no UTF-8 text: {error.reason} at byte {error.start}") from None


def judge_files(
    files: Sequence[Given], defaults: Mapping[str, str], node_name: str, environments: Sequence[Given] = ()
) -> list[FileReport]:
    """Judge files; one that a template among them gets (get_file, a nested template) is judged as a part of it."""
    parameters: dict[str, Any] = {}
    for each in environments:
        parameters |= parameters_of(each)
    parts: dict[Path, str] = {}
    reports: dict[str, FileReport] = {}
    for each in sorted(files, key=lambda each: not _IS_TEMPLATE.search(each.text)):
        if each.name != STANDARD_INPUT and each.path.resolve() in parts:
            why = f"is judged as a part of {parts[each.path.resolve()]}"
            reports[each.name] = FileReport(each.name, "part", 0, (), (Finding.at(Place(each.name), NOTE, why),))
            continue
        reports[each.name], got = _judge(each, defaults, node_name, parameters)
        parts |= {path: each.name for path in got if path not in parts}
    return [reports[each.name] for each in files]


def parameters_of(environment: Given) -> dict[str, Any]:
    """Give the parameters of an environment. Raises FileError where it cannot be read."""
    try:
        value, _ = read(environment.text, Marks(), environment.name)
    except TextError as error:
        raise FileError(f"{environment.name}: {error}") from None
    if not isinstance(value, dict):
        raise FileError(f"{environment.name}: is no environment of Heat: it must be a map")
    found: dict[str, Any] = {}
    for key in ("parameter_defaults", "parameters"):
        if isinstance(value.get(key), dict):
            found |= value[key]
    return found


def _judge(
    given: Given, defaults: Mapping[str, str], node_name: str, parameters: Mapping[str, Any]
) -> tuple[FileReport, set[Path]]:
    kind, value = _kind(given)
    unknowns = Unknowns()
    judged: Template | Metadata
    if kind == "template":
        judged = template = Template(
            given.path, given.text, defaults, node_name, given=parameters, unknowns=unknowns, file=given.name
        )
        return _report(given, kind, template), template.parts
    if kind == "metadata":
        judged = Metadata(given.name, given.text, defaults, node_name)
        return _report(given, kind, judged), set()
    if kind == "environment":
        why = "an environment has no configs; give it with --environment, beside a template"
        return FileReport(given.name, kind, 0, (), (Finding.at(Place(given.name), NOTE, why),)), set()
    if isinstance(value, dict) and any(key in value for key in _OLD_TEMPLATE_KEYS):
        what = f"is a template of CloudFormation's form, which is not looked into: write it with {VERSION_KEY}"
        return FileReport(given.name, "template", 0, (), (Finding.at(Place(given.name, 1, 1), ERROR, what),)), set()
    return _pod_report(given, defaults, node_name, unknowns), set()


def _pod_report(given: Given, defaults: Mapping[str, str], node_name: str, unknowns: Unknowns) -> FileReport:
    marks = Marks()
    lines = [Place(given.name, number + 1, 1) for number in range(given.text.count("\n") + 1)]
    config = Config(Text(given.text, lines), Place(given.name, 1), "", Identity("", given.path.stem))
    judged = Judge(defaults, node_name, unknowns, marks).judge(config)
    return FileReport(given.name, "pod", 1, judged.pods, judged.findings)


def _report(given: Given, kind: str, judged: Template | Metadata) -> FileReport:
    order = {given.name: -1}
    for each in judged.findings:
        order.setdefault(each.file, len(order))
    found = sorted(judged.findings, key=lambda each: (order[each.file], each.line, each.column))
    return FileReport(given.name, kind, judged.configs, tuple(judged.pods), tuple(found))


def _kind(given: Given) -> tuple[str, Any]:
    """Say what a file is; what cannot be read is taken for what it says it is, else for a pod."""
    text = given.text
    if text.lstrip()[:1] in ("{", "["):
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):
            pass
        else:
            return ("metadata" if entries_of(value) is not None else _kind_of_map(value)), value
    try:
        value, _ = read(text, Marks(), given.name)
    except TextError:
        return ("template" if _IS_TEMPLATE.search(text) else "pod"), None
    return _kind_of_map(value), value


def _kind_of_map(value: Any) -> str:
    if not isinstance(value, dict):
        return "pod"
    if VERSION_KEY in value:
        return "template"
    return "environment" if value and value.keys() <= _ENVIRONMENT_KEYS else "pod"
