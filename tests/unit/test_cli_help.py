"""The help of every command: examples that it takes, exit statuses; what all commands take may follow the command."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from heat_config_kubelet import cli


def helps() -> list[tuple[str, str]]:
    """Every command and its help."""
    return [(name, each.format_help()) for name, each in cli.commands_of(cli.parser()).items()]


@pytest.mark.parametrize(("name", "told"), helps())
def test_the_help_of_every_command_has_examples_and_exit_statuses(name: str, told: str) -> None:
    examples = told.partition("\nexamples:\n")[2].partition("\n\n")[0].splitlines()
    assert examples and all(each.startswith(f"  heat-config-kubelet {name}") for each in examples)
    assert told.rpartition("exit status: ")[2].startswith("0 ")


@pytest.mark.parametrize(("name", "told"), helps())
def test_every_example_is_one_that_the_command_takes(name: str, told: str) -> None:
    examples = told.partition("\nexamples:\n")[2].partition("\n\n")[0].splitlines()
    for example in examples:
        command = shlex.split(re.split(" [|<>] ", example)[0], comments=True)
        assert cli.parser().parse_args(command[1:]).function, example
        assert command[1] == name


def test_what_all_commands_take_may_follow_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "agent.conf").write_text("[agent]\nmode = both\n")
    assert cli.main(["resume", "--settings", str(tmp_path / "agent.conf"), "--debug"]) == 2
    shown = capsys.readouterr().err
    assert "Traceback" in shown and "agent.conf: [agent] mode = both" in shown
    assert cli.main(["--settings", str(tmp_path / "agent.conf"), "resume"]) == 2
    assert "Traceback" not in capsys.readouterr().err
