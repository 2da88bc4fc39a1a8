"""The reference and the manual page: current, whole, and without a fault that groff would tell of."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from heat_config_kubelet import cli, command_line
from heat_config_kubelet.settings import load

ROOT = Path(__file__).parents[2]
REFERENCE = ROOT / "docs" / "reference.md"
MANUAL = ROOT / "heat_config_kubelet" / "data" / "man" / "heat-config-kubelet.8"
MACROS = {"TH", "SH", "SS", "PP", "TP", "nf", "fi", "nh", "ad l"}


def test_both_are_current() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "tools" / "make-reference"), "--check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_every_command_is_in_both_and_no_hidden_one() -> None:
    reference, manual = REFERENCE.read_text("utf-8"), MANUAL.read_text("utf-8")
    commands = [each.name for each in command_line.commands() if each.name]
    assert re.findall(r"^### ([a-z-]+)$", reference, re.MULTILINE) == commands
    named = [line.split()[1].replace("\\-", "-") for line in manual.splitlines() if line.startswith(".SS ")]
    assert [name for name in named if not name.startswith("[")] == commands
    assert cli.commands_of(cli.parser()).keys() - set(commands) == {"complete"}


def test_every_setting_is_in_both(tmp_path: Path) -> None:
    (tmp_path / "agent.conf").write_text("[agent]\nno_such = 1\n")
    with pytest.raises(Exception, match="there are") as caught:
        load(tmp_path / "agent.conf")
    names = str(caught.value).partition("there are ")[2].split(", ")
    reference, manual = REFERENCE.read_text("utf-8"), MANUAL.read_text("utf-8")
    assert len(names) > 5
    for name in names:
        assert f"| `{name}` |" in reference and f"\\fB{name} = " in manual


def test_links_within_the_reference_lead_somewhere() -> None:
    text = REFERENCE.read_text("utf-8")
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    places = [re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings]
    assert len(places) == len(set(places)), "a heading twice has no link of its own"
    links = set(re.findall(r"\]\(#([^)]*)\)", text))
    assert links and not links - set(places)


def test_the_manual_has_only_macros_of_man_7() -> None:
    for line in MANUAL.read_text("utf-8").splitlines():
        if line.startswith((".", "'")):
            macro = line[1:].partition(" ")[0]
            assert line.startswith('.\\"') or macro in MACROS or line[1:] in MACROS, line
    assert MANUAL.read_text("utf-8").isascii(), "the roff of other systems may not know another encoding"


def test_groff_has_no_warning() -> None:
    done = subprocess.run(
        ["groff", "-man", "-Tutf8", "-ww", "-z", str(MANUAL)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0 and not done.stderr, done.stderr


def test_mandoc_has_no_warning() -> None:
    done = subprocess.run(
        ["mandoc", "-T", "lint", "-W", "warning", str(MANUAL)], capture_output=True, text=True, check=False
    )
    known = "missing date"  # ours is made from the code, not at a time
    assert [line for line in done.stdout.splitlines() if known not in line] == []
