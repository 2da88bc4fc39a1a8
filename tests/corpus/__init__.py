"""A corpus of good and bad configs: files that hold what a deployment's config would.

A bad file's first line says the fault that our message must contain (`# fault: …`); a second line
`# stricter: …` marks those that a real kubelet takes, with the reason why we do not.
A good file's line `# kubelet: …` says that the kubelet cannot read the file as it is, but the pods made of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Case:
    """One file of the corpus."""

    path: Path
    text: str
    fault: str
    stricter: str
    kubelet: str

    @property
    def name(self) -> str:
        return self.path.stem


def cases(kind: str) -> list[Case]:
    """Give the files of a kind, `good` or `bad`, by name."""
    return [_case(path) for path in sorted((FOLDER / kind).glob("*.yaml"))]


def _case(path: Path) -> Case:
    text = path.read_text(encoding="utf-8")
    head = dict(
        line.removeprefix("# ").split(": ", 1)
        for line in text.splitlines()[:3]
        if line.startswith("# ") and ": " in line
    )
    return Case(path, text, head.get("fault", ""), head.get("stricter", ""), head.get("kubelet", ""))
