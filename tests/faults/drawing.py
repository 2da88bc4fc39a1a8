"""Draws faults at random, and shows what the commands for a person say of each: `status`, `show`, `doctor`."""

from __future__ import annotations

import random
import re
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from heat_config_kubelet.commands import console

from .catalogue import FAULTS, Fault
from .sick_node import SickNode

_SECONDS = 20.0
_CELL = 160


@dataclass(frozen=True)
class Told:
    """What the commands said while a fault was there."""

    fault: Fault
    status: str
    show: str
    """Of the deployment that the fault is about; empty where it is about none."""
    doctor: str

    @property
    def status_line(self) -> str:
        """What `status` says below its table of what is not well; empty where it says nothing."""
        return "; ".join(self.status.partition("\n\n")[2].split("\n")).strip("; ")

    @property
    def finding(self) -> tuple[str, str]:
        """The lines of doctor's that name cause and mend; empty where there are none."""
        blocks = self.doctor.split("\n\n")
        for block in blocks:
            head, _, rest = block.partition("\n")
            mend = next((line.strip() for line in rest.splitlines() if line.strip().startswith("mend")), "")
            named = re.search(self.fault.cause, head) and re.search(self.fault.mend, mend)
            if named and head.startswith(self.fault.level.upper()):
                return " ".join(head.split()), mend.removeprefix("mend").strip()
        return "", ""


def drawn(seed: int, count: int) -> Sequence[Fault]:
    """Choose so many faults at random, the same for the same seed."""
    return [FAULTS[name] for name in random.Random(seed).sample(sorted(FAULTS), count)]


def look(sick: SickNode, fault: Fault) -> Told:
    """Ask all three on a node that has the fault; again while doctor does not name it, for some seconds."""
    end = time.monotonic() + _SECONDS
    while True:
        status, doctor = _said(sick, "status"), _said(sick, "doctor")
        show = _said(sick, "show", f"lab/{fault.name}") if fault.entry else ""
        told = Told(fault, status, show, doctor)
        if told.finding[0] or time.monotonic() > end:
            return told


def _said(sick: SickNode, *command: str) -> str:
    """All that a command writes, as a person sees it."""
    done = sick.node.agent(*command)
    return f"{done.stdout}\n{done.stderr}" if done.stderr else done.stdout


def table(rows: Iterable[Told]) -> str:
    """Draw a table in Markdown: each fault, and the lines that name its cause and its mend."""
    lines = ["| fault | put in | `status` says | `doctor` names it | and what mends it |", "|---|---|---|---|---|"]
    for told in rows:
        what, mend = told.finding
        cells = (told.fault.name, told.fault.about, told.status_line or "—", what or "NOT NAMED", mend or "NOT NAMED")
        lines.append("| " + " | ".join(_cell(cell) for cell in cells) + " |")
    return "\n".join(lines)


def _cell(text: str) -> str:
    """A text as a cell: without the names of the node's own folder, and of what is the same in every signal's URL."""
    text = re.sub(r"/tmp/[a-z]+-[^/\s]+", "NODE", re.sub(r"(https?://[^/\s]+/)\S+(/resources/)", r"\1…\2", text))
    text = console.one_line(text).replace("|", "\\|")
    return text if len(text) <= _CELL else text[: _CELL - 1] + "…"
