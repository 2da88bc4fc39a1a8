"""What a hook takes, where it is looked for, and its marks; the processes are in tests/functional."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from samples import deployment

from heat_config_kubelet import hooks
from heat_config_kubelet.errors import MetadataError
from heat_config_kubelet.values import Deployment, Result


@pytest.mark.parametrize("group", ["script", "ansible", "puppet", "docker-cmd", "cfn-init", "anything"])
def test_other_groups_need_a_hook(group: str) -> None:
    assert hooks.is_hook_group(group)


@pytest.mark.parametrize("group", ["kubelet", "os-apply-config", "Heat::Ungrouped", "component", ""])
def test_groups_without_hooks_are_known(group: str) -> None:
    assert not hooks.is_hook_group(group)


@pytest.mark.parametrize(
    ("group", "name"),
    [
        ("script", "script"),
        ("docker-cmd", "docker-cmd"),
        ("json_file", "json_file"),
        ("../../bin/sh", "binsh"),
        ("a b;c", "abc"),
        ("./..", ""),
    ],
)
def test_a_groups_name_cannot_leave_the_directory(group: str, name: str) -> None:
    assert hooks.hook_name(group) == name


def test_the_first_executable_in_the_directories_is_the_hook(tmp_path: Path) -> None:
    places = [tmp_path / name for name in ("absent", "a", "b", "c")]
    for place in places[1:]:
        place.mkdir()
    (places[1] / "script").write_text("not executable")
    (places[2] / "script").mkdir()
    (places[3] / "script").write_text("#!/bin/sh\n")
    assert hooks.find_hook("script", places) is None
    (places[3] / "script").chmod(0o700)
    assert hooks.find_hook("script", places) == places[3] / "script"
    assert hooks.find_hook("./..", places) is None


def test_a_group_without_a_hook_fails_and_names_the_directories() -> None:
    wanted = deployment(group="puppet", error_outputs=("why",))
    found = hooks.no_hook(wanted, (Path("/one"), Path("/two")))
    assert found.status_code == 1
    assert found.stderr == found.outputs["why"] == "group puppet: no executable puppet in /one, /two"


@pytest.mark.parametrize("group", ["kubelett", "Kubelet", "kublet"])
def test_a_group_that_is_all_but_ours_is_told_so(group: str) -> None:
    found = hooks.no_hook(deployment(group=group), (Path("/one"),))
    assert found.stderr == f'group {group}: no executable {group} in /one; did you mean the group "kubelet"?'


def test_a_hook_takes_the_deployment_as_received_with_strings_made_strings() -> None:
    raw_inputs: list[dict[str, Any]] = [
        {"name": "number", "type": "String", "value": 7},
        {"name": "map", "type": "Json", "value": {"a": [1]}},
        {"name": "none", "type": "String"},
        {"name": "untyped", "value": 8},
    ]
    wanted = deployment(group="script", config="echo", odd_field={"kept": True})
    wanted = _with_raw(wanted, {**wanted.raw, "inputs": raw_inputs})
    found = json.loads(hooks.stdin_of(wanted))
    assert {item["name"]: item["value"] for item in found["inputs"]} == {
        "number": "7",
        "map": {"a": [1]},
        "none": "None",
        "untyped": 8,
    }
    assert (found["config"], found["odd_field"], found["id"]) == ("echo", {"kept": True}, wanted.id)
    assert raw_inputs[0]["value"] == 7


def _with_raw(wanted: Deployment, raw: dict[str, Any]) -> Deployment:
    return Deployment(**{**vars(wanted), "raw": raw})


def test_a_components_hook_takes_the_actions_config_and_tool() -> None:
    configs = [
        {"actions": ["DELETE"], "config": "gone", "tool": "script"},
        {"actions": ["CREATE"], "config": "made", "tool": "ansible"},
    ]
    wanted = deployment(group="component", config={"configs": configs})
    found = json.loads(hooks.stdin_of(wanted))
    assert (found["group"], found["config"]) == ("ansible", "made")


@pytest.mark.parametrize("bad", ["", "..", "../x", "a/b", "a.notify", "x\n", "-x", "a" * 200, "a\0b"])
def test_no_path_is_built_from_an_unchecked_id(bad: str, tmp_path: Path) -> None:
    for path_of in (hooks.mark_file, hooks.notify_file, hooks.already_deployed):
        with pytest.raises(MetadataError, match="deployment id"):
            path_of(tmp_path, bad)


def test_what_was_deployed_is_known_by_its_mark(tmp_path: Path) -> None:
    assert not hooks.already_deployed(tmp_path / "absent", "id-1")
    (tmp_path / "id-1.json").write_text("{}")
    assert hooks.already_deployed(tmp_path, "id-1")


def test_a_result_that_was_not_noted_before_a_crash_is_found(tmp_path: Path) -> None:
    wanted = deployment(group="script", outputs=("r",))
    assert hooks.finished_result(tmp_path, wanted) is None
    hooks.notify_file(tmp_path, wanted.id).write_text('{"deploy_stdout": "o", "deploy_status_code": 3, "r": 1}')
    assert hooks.finished_result(tmp_path, wanted) == Result(3, "o", "", {"r": 1})
    for junk in ("", "{cut", "[]"):
        hooks.notify_file(tmp_path, wanted.id).write_text(junk)
        assert hooks.finished_result(tmp_path, wanted) is None


@pytest.mark.parametrize(
    "record",
    ["", "junk", "[]", "{}", '{"pid": "x", "started": "1", "boot": "b"}', '{"pid": 1, "started": "1", "boot": "b"}'],
)
def test_a_hook_that_was_cut_short_has_failed(record: str) -> None:
    found = hooks.cut_short(deployment(group="script", error_outputs=("why",)), record)
    assert found.status_code == 1 and "cut short" in found.stderr and "killed" not in found.stderr
    assert found.outputs["why"] == found.stderr


def test_the_mark_is_written_before_the_hook_starts(tmp_path: Path) -> None:
    wanted = deployment(group="script")
    seen = []

    def popen(command: list[str], **options: Any) -> subprocess.Popen[bytes]:
        mark = hooks.mark_file(tmp_path / "deployed", wanted.id)
        seen.append((command, options["start_new_session"], json.loads(mark.read_bytes()), options["stdin"].read()))
        raise OSError(8, "Exec format error")

    with pytest.raises(hooks.HookError, match="hook /hooks/script: Exec format error"):
        hooks.HookRun.start(
            wanted, Path("/hooks/script"), deployed_dir=tmp_path / "deployed", state_dir=tmp_path / "state", popen=popen
        )
    given = hooks.stdin_of(wanted)
    assert seen == [(["/hooks/script"], True, json.loads(given), given)]
    assert hooks.already_deployed(tmp_path / "deployed", wanted.id)


def test_a_mark_that_cannot_be_written_starts_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(hooks.HookError, match="file"):
        hooks.HookRun.start(
            deployment(group="script"), Path("/hooks/script"), deployed_dir=tmp_path / "file" / "x", state_dir=tmp_path
        )


def test_the_answer_of_an_earlier_run_does_not_pass_for_a_new_ones(tmp_path: Path) -> None:
    wanted = deployment(group="script")
    hooks.notify_file(tmp_path, wanted.id).write_text('{"deploy_stdout": "old"}')

    def popen(command: list[str], **options: Any) -> subprocess.Popen[bytes]:
        assert hooks.finished_result(tmp_path, wanted) is None
        raise OSError(12, "Cannot allocate memory")

    with pytest.raises(hooks.HookError, match="Cannot allocate memory"):
        hooks.HookRun.start(wanted, Path("/h"), deployed_dir=tmp_path, state_dir=tmp_path, popen=popen)


def test_a_group_whose_name_no_file_can_have_has_no_hook_and_is_told_in_short(tmp_path: Path) -> None:
    group = "a" * 10_000
    assert hooks.find_hook(group, [tmp_path]) is None
    told = hooks.no_hook(deployment(group=group), (tmp_path,)).stderr
    assert "a" * 50 in told and len(told) < 400 + len(str(tmp_path))
