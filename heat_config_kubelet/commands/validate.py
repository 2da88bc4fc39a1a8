"""`validate`: what the node would say of a pod, a template or metadata, before anything is deployed.

Works anywhere: without root, store, kubelet and settings; with a settings file its [defaults] hold.
"""

from __future__ import annotations

import argparse
import sys

from .. import settings
from ..errors import SettingsError
from ..validation.files import STANDARD_INPUT, judge_files, load
from ..validation.reports import ERROR, NOTE, WARNING, FileReport, Finding
from .console import FAINT, GREEN, RED, YELLOW, Console

_COLOURS = {ERROR: RED, WARNING: YELLOW, NOTE: FAINT}


def main(given: argparse.Namespace) -> int:
    """Judge the files; gives 1 where there is a fault. Raises FileError and SettingsError."""
    found = _settings(given)
    names = list(dict.fromkeys(given.files))
    standard_input = b""
    if STANDARD_INPUT in [*names, *given.environment]:
        standard_input = sys.stdin.buffer.read() if hasattr(sys.stdin, "buffer") else sys.stdin.read().encode()
    environments = [load(name, standard_input) for name in given.environment]
    files = [load(name, standard_input) for name in names]
    reports = judge_files(files, found.defaults, found.node_name, environments)
    console = Console.standard()
    if given.output in ("json", "yaml"):
        console.show(reports, (), given.output)
    else:
        console.write("\n".join(line for report in reports for line in _lines(report, console)))
    severities = (ERROR, WARNING) if given.strict else (ERROR,)
    return 1 if any(report.count(severity) for report in reports for severity in severities) else 0


def _settings(given: argparse.Namespace) -> settings.Settings:
    """The node's settings, where there are any that may be read: on another machine there are none."""
    try:
        return settings.load(given.settings)
    except SettingsError as error:
        if given.settings is None and isinstance(error.__cause__, PermissionError):
            return settings.Settings(settings.SETTINGS_FILE)
        raise


def _lines(report: FileReport, console: Console) -> list[str]:
    lines = [_line(each, console) for each in report.findings]
    counts = ", ".join(
        f"{number} {severity}{'s' if number > 1 else ''}"
        for severity in (ERROR, WARNING, NOTE)
        if (number := report.count(severity))
    )
    configs = f"{report.configs} config{'' if report.configs == 1 else 's'} for pods"
    kind = f"{report.kind} with {configs}" if report.kind in ("template", "metadata") else report.kind
    pods = f": {', '.join(report.pods)}" if report.pods else ""
    verdict = console.painted("faulty", RED) if report.count(ERROR) else console.painted("good", GREEN)
    return [*lines, f"{report.file}: {verdict}: {kind}{pods}" + (f" ({counts})" if counts else "")]


def _line(found: Finding, console: Console) -> str:
    place = ":".join(str(part) for part in (found.file, found.line, found.column) if part)
    resource = f"{found.resource}: " if found.resource else ""
    severity = console.painted(found.severity, _COLOURS[found.severity])
    return f"{place}: {severity}: {resource}{found.message}"
