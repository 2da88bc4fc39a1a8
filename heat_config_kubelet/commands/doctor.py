"""`doctor`: checks every cause of trouble that we know of; what is found, why it matters, and what mends it."""

from __future__ import annotations

import argparse
import os
import textwrap
from collections.abc import Mapping
from pathlib import Path

from ..doctor.agent import readable
from ..doctor.finding import ERROR, NOTE, WARNING, Finding, Report
from ..doctor.node import Node
from ..doctor.table import CHECKS, Check, examined
from ..errors import AgentError
from ..settings import SETTINGS_FILE, SETTINGS_VARIABLE
from .console import FAINT, RED, YELLOW, Column, Console

_COLOURS: Mapping[str, str] = {ERROR: RED, WARNING: YELLOW, NOTE: FAINT}
_INDENT = " " * 9


class UnknownCheckError(AgentError):
    """There is no check of that name."""

    status = 2


def main(given: argparse.Namespace) -> int:
    """Check, and show what was found: 0 nothing, 1 something is broken, 2 only warnings. Raises UnknownCheckError."""
    console = Console.standard()
    if given.list:
        columns = (
            Column[Check]("CHECK", lambda check: check.name),
            Column[Check]("WHAT IS SO WHERE IT FINDS NOTHING", lambda check: check.about),
        )
        console.write(console.table(CHECKS, columns, wide=True))
        return 0
    known = {check.name for check in CHECKS}
    for name in given.checks:
        if name not in known:
            raise UnknownCheckError(f"there is no check {name}", hint="doctor --list shows them")
    report = examined(node_of(given.settings, os.environ, offline=given.offline), given.checks)
    if given.output in ("json", "yaml"):
        from .console import plain

        console.show_value(plain(report), given.output)
    else:
        console.write(told(report, console))
    return report.status


def node_of(named: Path | None, environment: Mapping[str, str], *, offline: bool = False) -> Node:
    """Give the node with what can be read of its settings."""
    in_environment = environment.get(SETTINGS_VARIABLE)
    file = (named or (Path(in_environment) if in_environment else SETTINGS_FILE)).absolute()
    settings, faults = readable(file)
    if not file.exists() and (named or in_environment):
        faults = (*faults, f"{file}: no such settings file")
    return Node(settings, environment, faults, offline=offline)


def told(report: Report, console: Console) -> str:
    """Give a report for a person: each finding with its reason and its mend."""
    lines: list[str] = []
    for finding in report.findings:
        lines += [*_lines(finding, console), ""]
    if report.unseen:
        lines += ["Not seen:"]
        lines += _filled(console, [(f"  {each.check}: ", each.why) for each in report.unseen])
        lines += [""]
    count = {level: sum(finding.level == level for finding in report.findings) for level in (ERROR, WARNING, NOTE)}
    parts = [f"{number} {level}{'s' * (number > 1)}" for level, number in count.items() if number]
    made = f"{len(report.checked)} check{'s' * (len(report.checked) != 1)}"
    lines += [f"{made}: {', '.join(parts) or 'nothing found'}"]
    return "\n".join(lines)


def _lines(finding: Finding, console: Console) -> list[str]:
    level = console.painted(f"{finding.level.upper():<8}", _COLOURS[finding.level])
    head, *more = _filled(console, [(_INDENT, f"{finding.check}: {finding.what}")])
    pairs = [(f"{_INDENT}why   ", finding.why), (f"{_INDENT}mend  ", finding.mend)]
    return [f"{level} {head.strip()}", *more, *_filled(console, pairs)]


def _filled(console: Console, pairs: list[tuple[str, str]]) -> list[str]:
    """Break lines where the terminal has an end; without one each is a line."""
    found = []
    for first, text in pairs:
        one = " ".join(text.split())
        if not console.width:
            found.append(first + one)
            continue
        found += textwrap.wrap(
            one, max(console.width, 40), initial_indent=first, subsequent_indent=" " * len(first),
            break_long_words=False, break_on_hyphens=False,
        )  # fmt: skip
    return found
