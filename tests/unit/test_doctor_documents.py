"""docs/debugging.md shows nothing of `doctor` that the tests on nodes do not see."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from faults import drawing
from faults.catalogue import FAULTS

from heat_config_kubelet.doctor.table import CHECKS

TEXT = (Path(__file__).parents[2] / "docs" / "debugging.md").read_text(encoding="utf-8")


def shown() -> list[tuple[str, str, str]]:
    """The findings of the document: check, what, mend."""
    found = []
    for block in re.findall(r"```\n(.*?)```", TEXT, re.DOTALL):
        for head in re.finditer(
            r"^(?:ERROR|WARNING) +([\w-]+): (.*?)\n +why   .*?\n +mend  (.*?)(?:\n\n|\Z)", block, re.S | re.M
        ):
            found.append((head[1], " ".join(head[2].split()), " ".join(head[3].split())))
    return found


def test_the_document_shows_findings() -> None:
    assert len(shown()) > 10


@pytest.mark.parametrize(("check", "what", "mend"), shown())
def test_every_finding_that_is_shown_is_seen_on_nodes(check: str, what: str, mend: str) -> None:
    assert any(
        fault.check == check and re.search(fault.cause, what) and re.search(fault.mend, mend)
        for fault in FAULTS.values()
    )


def test_every_check_that_is_named_is_there() -> None:
    named = {word for words in re.findall(r"`doctor ([a-z -]+)`", TEXT) for word in words.split() if word[0] != "-"}
    assert named <= {check.name for check in CHECKS}
    assert len(named) > 10


def test_the_same_seed_draws_the_same_faults() -> None:
    assert drawing.drawn(3, 10) == drawing.drawn(3, 10) != drawing.drawn(4, 10)
    assert len({fault.name for fault in drawing.drawn(3, len(FAULTS))}) == len(FAULTS)


def test_every_check_of_the_table_has_a_fault_or_a_test_of_its_own() -> None:
    tests = (Path(__file__).parent / "test_doctor.py").read_text(encoding="utf-8")
    functions = {
        check.name: f"{check.function.__module__.rpartition('.')[2]}.{check.function.__name__}" for check in CHECKS
    }
    broken = {fault.check for fault in FAULTS.values()}
    assert {name for name, function in functions.items() if name not in broken and f"{function}(" not in tests} == set()
