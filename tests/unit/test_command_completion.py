"""Completion: by a real bash with the script as it is printed; names from the summary; zsh's script by its text."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from heat_config_kubelet import cli, command_line
from heat_config_kubelet.commands.completion import bash, beginning, zsh

COMMANDS = command_line.commands()
EVIL = "a b$(touch evil);`touch evil`'\""


class Shell:
    """A bash that has sourced the script, on a node with some deployments."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.settings = folder / "agent.conf"
        self.settings.write_text(f"[agent]\nrun_dir = {folder}/run\n")
        self.script = folder / "heat-config-kubelet.bash"
        self.script.write_text(bash(COMMANDS))
        (folder / "run").mkdir()
        self.summary = folder / "run" / "status.json"
        self.know(("shop", "web"), ("shop", "db"), ("dev", "web"), ("", "by-hand"))

    def know(self, *names: tuple[str, str]) -> None:
        """Write a summary of deployments and of a pod for each."""
        rows = [
            {
                "id": str(number),
                "stack": stack,
                "resource": resource,
                **dict.fromkeys(("action", "group", "state", "since", "signal", "signal_answer"), ""),
                "status_code": 0,
            }
            for number, (stack, resource) in enumerate(names)
        ]
        pods = [f"default/{resource}" for _, resource in names]
        self.summary.write_text(
            json.dumps({"version": "1", "written_at": "2026-11-23T06:00:00Z", "deployments": rows, "pods": pods})
        )

    def after(self, line: str) -> list[str]:
        """What bash offers for the last word of a line; a blank at its end begins a new word."""
        words = [*line.split(), *([""] if line.endswith(" ") else [])]
        shown = " ".join(shlex.quote(word) for word in words)
        program = f". {self.script}; COMP_WORDS=({shown}); COMP_CWORD={len(words) - 1}; _heat_config_kubelet"
        done = subprocess.run(
            ["bash", "--norc", "--noprofile", "-uc", program + '; printf "%s\\n" "${COMPREPLY[@]}"'],
            capture_output=True,
            text=True,
            check=True,
            cwd=self._folder,
            env={
                "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
                "HEAT_CONFIG_KUBELET_SETTINGS": str(self.settings),
            },
        )
        assert not done.stderr, done.stderr
        return [line for line in done.stdout.splitlines() if line]


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return Shell(tmp_path)


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("heat-config-kubelet stat", ["status"]),
        ("heat-config-kubelet re", ["record", "resume", "resend", "redeploy", "restart"]),
        ("heat-config-kubelet --deb", ["--debug"]),
        ("heat-config-kubelet status --wa", ["--wait", "--watch"]),
        ("heat-config-kubelet status --debug --js", ["--json"]),
        ("heat-config-kubelet status -o ", ["table", "wide", "json", "yaml"]),
        ("heat-config-kubelet status --output y", ["yaml"]),
        ("heat-config-kubelet completion ", ["bash", "zsh"]),
        ("heat-config-kubelet status --timeout ", []),
        ("heat-config-kubelet run ", []),
        ("heat-config-kubelet show shop/", ["shop/db", "shop/web"]),
        ("heat-config-kubelet show --debug shop/w", ["shop/web"]),
        ("heat-config-kubelet redeploy d", ["dev/web"]),
        ("heat-config-kubelet redeploy by", ["by-hand"]),
        ("heat-config-kubelet restart default/d", ["default/db"]),
        ("heat-config-kubelet doctor endp", ["endpoints"]),
        ("heat-config-kubelet collect -o age", ["agent.conf"]),
        ("heat-config-kubelet --settings age", ["agent.conf"]),
        ("heat-config-kubelet status --settings age", ["agent.conf"]),
        ("heat-config-kubelet --settings agent.conf show shop/d", ["shop/db"]),
    ],
)
def test_bash_offers_what_the_command_line_takes(shell: Shell, line: str, offered: list[str]) -> None:
    assert shell.after(line) == offered


def test_every_command_and_every_option_is_offered(shell: Shell) -> None:
    top, *rest = COMMANDS
    assert {each.name for each in rest} <= set(shell.after("heat-config-kubelet "))
    for command in rest:
        wanted = {name for option in command.options for name in option.names}
        assert wanted | {"--settings", "--debug"} == set(shell.after(f"heat-config-kubelet {command.name} -"))
    assert {name for option in top.options for name in option.names} <= set(shell.after("heat-config-kubelet -"))


def test_hidden_commands_are_not_offered(shell: Shell) -> None:
    assert "complete" in cli.commands_of(cli.parser()) and "complete" not in shell.after("heat-config-kubelet ")


def test_a_name_is_never_run(shell: Shell, tmp_path: Path) -> None:
    """Resources are named by whoever writes templates, and this is root's shell."""
    shell.know(("shop", EVIL))
    (offered,) = shell.after("heat-config-kubelet show sh")
    assert shlex.split(offered) == [f"shop/{EVIL}"] and not (tmp_path / "evil").exists()


@pytest.mark.parametrize("content", [None, "", "{}", "[]", '{"deployments": 7}'])
def test_where_nothing_is_known_nothing_is_offered(shell: Shell, content: str | None) -> None:
    if content is None:
        shell.summary.unlink()
    else:
        shell.summary.write_text(content)
    assert shell.after("heat-config-kubelet show ") == []


def test_names_are_found_without_root_and_without_what_is_heavy(shell: Shell) -> None:
    """It is called at every press of the key."""
    heavy = ["requests", "yaml", "keystoneauth1", "heat_config_kubelet.pods"]
    program = (
        "import sys; from heat_config_kubelet import cli; "
        "status = cli.main(['complete', 'deployments', 'shop/']); "
        f"print([name for name in {heavy} if name in sys.modules], status)"
    )
    shell.settings.chmod(0o644)
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "HEAT_CONFIG_KUBELET_SETTINGS": str(shell.settings)},
    )
    assert done.stdout.splitlines() == ["shop/db", "shop/web", "[] 0"]


@pytest.mark.parametrize(
    ("prefix", "offered"),
    [
        ("", ["a/x", "b/x", "b/y", "z"]),
        ("b", ["b/x", "b/y"]),
        ("y", ["y"]),
        ("x", []),
        ("q", []),
        ("z", ["z"]),
    ],
)
def test_a_resource_that_is_the_only_one_of_its_name_is_offered_alone(prefix: str, offered: list[str]) -> None:
    assert beginning(prefix, [("b", "x"), ("a", "x"), ("b", "y"), ("", "z"), ("b", "line\nend")]) == offered


def test_the_printed_script_is_the_one_that_was_tested(capsys: pytest.CaptureFixture[str]) -> None:
    for shell_name, script in (("bash", bash(COMMANDS)), ("zsh", zsh(COMMANDS))):
        assert cli.main(["completion", shell_name]) == 0
        assert capsys.readouterr().out == script.rstrip("\n") + "\n"


def test_zshs_script_has_every_command_and_option() -> None:
    script = zsh(COMMANDS)
    assert script.startswith("#compdef heat-config-kubelet\n")
    for command in COMMANDS[1:]:
        assert f"\n        {command.name})\n" in script and f"        '{command.name}:" in script
        part = script.partition(f"\n        {command.name})\n")[2].partition(";;")[0]
        for option in command.options:
            assert all(f"'{name}[" in part for name in option.names)
    quotes = script.replace("'\\''", "")
    assert quotes.count("'") % 2 == 0
