"""What a check of `doctor` finds: what is so, why that matters, and what mends it."""

from __future__ import annotations

from dataclasses import dataclass

ERROR, WARNING, NOTE = "error", "warning", "note"
"""Levels: something does not work; it works, but not as it should or not for long; worth knowing, nothing is wrong."""
LEVELS = (ERROR, WARNING, NOTE)


@dataclass(frozen=True)
class Finding:
    """One thing that a check has found. No secret is in any of its texts."""

    level: str
    """error, warning or note."""
    what: str
    """What is so, with the file, the URL or the deployment that it is about."""
    why: str
    """What comes of it."""
    mend: str
    """What mends it: a command, or the setting to change."""
    check: str = ""
    """The name of the check, as `doctor NAME` takes it."""


@dataclass(frozen=True)
class Unseen:
    """A check that could not be made."""

    check: str
    """Its name."""
    why: str
    """What kept it from being made."""


@dataclass(frozen=True)
class Report:
    """All that `doctor` tells."""

    findings: tuple[Finding, ...]
    """The worst first, then in the order of the checks."""
    unseen: tuple[Unseen, ...]
    """What could not be checked, most often for want of root."""
    checked: tuple[str, ...]
    """The names of the checks that were made."""

    @property
    def status(self) -> int:
        """The exit status: 0 nothing found, 1 something is broken, 2 only warnings."""
        levels = {finding.level for finding in self.findings}
        return 1 if ERROR in levels else 2 if WARNING in levels else 0


def error(what: str, *, why: str, mend: str) -> Finding:
    """Something does not work."""
    return Finding(ERROR, what, why, mend)


def warning(what: str, *, why: str, mend: str) -> Finding:
    """Something works, but not as it should, or not for long."""
    return Finding(WARNING, what, why, mend)


def note(what: str, *, why: str, mend: str) -> Finding:
    """Worth knowing."""
    return Finding(NOTE, what, why, mend)
