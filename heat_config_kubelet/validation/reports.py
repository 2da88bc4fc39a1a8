"""What `validate` says of a file: the values that it shows, and gives to machines as they are."""

from __future__ import annotations

from dataclasses import dataclass

from ..marks import Place

ERROR, WARNING, NOTE = "error", "warning", "note"
"""Severities: the deployment will fail; it works, but perhaps not as meant; what only Heat can tell."""


@dataclass(frozen=True)
class Finding:
    """Something found in a file."""

    severity: str
    """error, warning or note."""
    file: str
    """The file in which it stands: another than the one given where that gets it (get_file, a nested template)."""
    line: int
    """Counted from 1; 0 where it is not known."""
    column: int
    """Counted from 1; 0 where it is not known."""
    resource: str
    """The resource of a template, or the deployment of metadata; empty for a pod by itself."""
    field: str
    """The field, from the pod's top, or of the resource's properties; empty where it is about the whole."""
    message: str
    """What is wrong, and what to do."""

    @classmethod
    def at(cls, place: Place, severity: str, message: str, *, resource: str = "", field: str = "") -> Finding:
        """Give a finding that stands at a place."""
        texts = (writable(each) for each in (resource, field, message))
        return cls(severity, place.file, place.line, place.column, *texts)


def writable(text: str) -> str:
    """Give a text as any output can have it: half a surrogate pair, which JSON can say, as its escape."""
    return text.encode("utf-8", "backslashreplace").decode()


@dataclass(frozen=True)
class FileReport:
    """All that is to be said about a file that was given."""

    file: str
    """As it was given; "-" is standard input."""
    kind: str
    """pod, template, metadata, environment, or part: of a template that was given too."""
    configs: int
    """How many configs of group kubelet it has."""
    pods: tuple[str, ...]
    """The pods without a fault, as namespace/name; those whose name is not known yet are left out."""
    findings: tuple[Finding, ...]
    """What was found, in the order of the file."""

    def count(self, severity: str) -> int:
        """How many findings have a severity."""
        return sum(each.severity == severity for each in self.findings)
