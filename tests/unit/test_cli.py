"""The command line: what each command does, and how errors are told."""

from __future__ import annotations

import argparse
import gc
import io
import json
import os
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from support import raw_entry

from heat_config_kubelet import cli, hook_mode, loop_process, run
from heat_config_kubelet.errors import AgentError, ModeError, SettingsError
from heat_config_kubelet.store import Store
from heat_config_kubelet.wake import Wake


@pytest.fixture
def conf(tmp_path: Path) -> list[str]:
    """The arguments that name a settings file whose directories are the test's own."""
    path = tmp_path / "agent.conf"
    path.write_text(
        f"[agent]\nstate_dir = {tmp_path}/state\nrun_dir = {tmp_path}/run\nsystemd = no\n"
        f"os_collect_config_cache = {tmp_path}/cache\n"
    )
    return ["--settings", str(path)]


def subcommands() -> set[str]:
    """The names of all commands."""
    found = next(action for action in cli.parser()._actions if isinstance(action, argparse._SubParsersAction))
    return set(found.choices)


@pytest.mark.parametrize("arguments", [["--version"], ["--help"], ["run", "--help"]])
def test_help_and_version_are_no_errors(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(arguments)
    assert ended.value.code == 0 and "heat-config-kubelet" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [[], ["unknown"], ["run", "--unknown"]])
def test_bad_arguments_are_exit_status_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(arguments)
    assert ended.value.code == 2 and "usage" in capsys.readouterr().err


def test_the_help_of_every_command_tells_the_exit_statuses(capsys: pytest.CaptureFixture[str]) -> None:
    commands = subcommands()
    assert {"run", "loop", "status", "health"} <= commands
    for command in commands:
        with pytest.raises(SystemExit):
            cli.main([command, "--help"])
        shown = capsys.readouterr().out
        assert "exit status: 0 " in shown and f"  heat-config-kubelet {command}" in shown, command


# --- errors


def failing(error: BaseException) -> Any:
    def fail(*_: object, **__: object) -> int:
        raise error

    return fail


@pytest.mark.parametrize(
    ("error", "status", "told"),
    [
        (ModeError("two ways in", hint="take one away"), 1, ["two ways in", "hint: take one away"]),
        (SettingsError("agent.conf: bad"), 2, ["agent.conf: bad"]),
        (sqlite3.OperationalError("disk full"), 1, ["the store: disk full", "there is no room"]),
        (PermissionError(13, "Permission denied", "/x"), 1, ["/x: Permission denied", "needs root"]),
        (OSError(28, "No space left on device", "/y"), 1, ["/y: No space left on device"]),
        (OSError("odd"), 1, ["system: odd"]),
        (KeyboardInterrupt(), 130, []),
    ],
)
def test_an_error_is_a_line_and_a_hint_and_no_traceback(
    conf: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: BaseException,
    status: int,
    told: list[str],
) -> None:
    monkeypatch.setattr(run, "run", failing(error))
    assert cli.main([*conf, "run"]) == status
    shown = capsys.readouterr().err
    assert all(text in shown for text in told) and "Traceback" not in shown
    assert len(shown.splitlines()) == len(told)


def test_debug_shows_where_it_happened(
    conf: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(run, "run", failing(AgentError("broken")))
    assert cli.main([*conf, "--debug", "run"]) == 1
    assert "Traceback" in capsys.readouterr().err


def test_a_bug_of_ours_is_not_hidden(conf: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "run", failing(ZeroDivisionError()))
    with pytest.raises(ZeroDivisionError):
        cli.main([*conf, "run"])


def test_a_bad_settings_file_is_exit_status_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "agent.conf").write_text("[agent]\nmode = both\n")
    assert cli.main(["--settings", str(tmp_path / "agent.conf"), "status"]) == 2
    assert "must be one of auto, run, hook" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["run", "record", "resume", "loop", "status"])
def test_bad_defaults_are_exit_status_2_for_every_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    """Else only the loop would find out, and nobody reads its log."""
    path = tmp_path / "agent.conf"
    path.write_text(f"[agent]\nstate_dir = {tmp_path}/state\n[defaults]\nimages_timeout = soon\n")
    assert cli.main(["--settings", str(path), command]) == 2
    shown = capsys.readouterr().err
    assert f"{path}: [defaults] images_timeout = 'soon': must be a number of seconds" in shown
    assert not (tmp_path / "state").exists()


# --- commands


def test_commands_are_given_the_settings_and_their_status_is_the_exit_status(
    conf: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(run, "run", lambda given: 1 if given.state_dir == tmp_path / "state" else 9)
    monkeypatch.setattr(hook_mode, "record_all", lambda given: 0 if given.systemd == "no" else 9)
    assert cli.main([*conf, "run"]) == 1 and cli.main([*conf, "record"]) == 0


def test_the_loop_writes_nothing_that_others_may_read(conf: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    masks: list[int] = []

    def loop(_: object, lock: int | None) -> int:
        masks.append(os.umask(0o077))
        return 0

    before = os.umask(0o022)
    monkeypatch.setattr(loop_process, "run_loop", loop)
    assert cli.main([*conf, "loop"]) == 0 and masks == [0o077]
    os.umask(before)


def test_a_hooks_answer_is_json_on_standard_output(
    conf: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("a deployment"))
    monkeypatch.setattr(hook_mode, "hook", lambda _, text: {"deploy_stdout": text, "deploy_status_code": 0})
    assert cli.main([*conf, "hook"]) == 0
    assert json.loads(capsys.readouterr().out) == {"deploy_stdout": "a deployment", "deploy_status_code": 0}


def test_a_hooks_input_that_is_not_utf_8_is_answered(
    conf: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b'{"name": "\xff"'), encoding="utf-8"))
    assert cli.main([*conf, "hook"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["deploy_status_code"] == 1 and "not a deployment as JSON" in answer["deploy_stderr"]


def test_a_hook_that_could_not_begin_answers_why(
    conf: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """heat-agents sends it to the stack, which would else wait for its timeout."""
    monkeypatch.setattr("sys.stdin", io.StringIO(json.dumps(raw_entry("a", group="script", config="x"))))
    assert cli.main([*conf, "hook"]) == 0
    shown = capsys.readouterr()
    answer = json.loads(shown.out)
    assert answer["deploy_status_code"] == 1 and "this hook is for group kubelet" in answer["deploy_stderr"]
    assert "this hook is for group kubelet" in shown.err


def test_resume_wakes_the_loop_where_there_is_a_store(
    conf: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    started: list[bool] = []
    monkeypatch.setattr(Wake, "start_loop", lambda self, _: started.append(self.flag.exists()))
    assert cli.main([*conf, "resume"]) == 0 and started == [] and not (tmp_path / "state").exists()
    Store.open(tmp_path / "state" / "store.sqlite").close()
    assert cli.main([*conf, "resume"]) == 0 and started == [True]


def test_check_cache_tells_what_it_dropped(conf: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "heat.json.last").write_text('{"cut')
    assert cli.main([*conf, "check-cache"]) == 0
    assert "heat.json.last: damaged, removed" in capsys.readouterr().out
    assert cli.main([*conf, "check-cache"]) == 0 and capsys.readouterr().out == ""


def test_as_a_program_only_a_command_that_waits_collects_garbage(
    conf: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A start makes much and leaves nothing to collect; a loop may live for hours."""
    collects: dict[str, bool] = {}
    monkeypatch.setattr(run, "run", lambda _: collects.setdefault("run", gc.isenabled()))
    monkeypatch.setattr(hook_mode, "record_all", lambda _: collects.setdefault("record", gc.isenabled()))
    monkeypatch.setattr(loop_process, "run_loop", lambda *_: collects.setdefault("loop", gc.isenabled()))
    try:
        for name in ("run", "record", "loop"):
            monkeypatch.setattr("sys.argv", ["heat-config-kubelet", *conf, name])
            cli.main()
    finally:
        gc.enable()
        gc.unfreeze()
    assert collects == {"run": False, "record": True, "loop": True}


# --- first boot, elements


def test_user_data_hands_over_what_was_asked_for(conf: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    from heat_config_kubelet import user_data

    seen: list[tuple[str, Path, float]] = []
    monkeypatch.setattr(user_data.FirstBoot, "run", lambda self, limit: seen.append((self.user, self.state_dir, limit)))
    assert cli.main([*conf, "user-data", "--user", "debian", "--limit", "4"]) == 0
    assert [(user, folder.name, limit) for user, folder, limit in seen] == [("debian", "state", 4.0)]


def test_the_elements_of_a_checkout_are_found(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["elements-path"]) == 0
    assert (Path(capsys.readouterr().out.strip()) / "heat-config-kubelet" / "element-deps").is_file()


def test_a_package_without_elements_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.metadata

    from heat_config_kubelet.elements import elements_path

    class Distribution:
        files = None

    monkeypatch.setattr(importlib.metadata, "distribution", lambda _: Distribution)
    with pytest.raises(AgentError, match="not installed with this package"):
        elements_path(tmp_path / "heat_config_kubelet")
