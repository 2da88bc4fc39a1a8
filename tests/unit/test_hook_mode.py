"""The ways in for heat-agents' 55-heat-config: `record` before it, `hook` called by it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fake_node import NEVER_PULL, Node
from support import pod_map, raw_entry

from heat_config_kubelet.errors import MetadataError, ModeError
from heat_config_kubelet.hook_mode import failed_answer, hook, record_all
from heat_config_kubelet.settings import Settings
from heat_config_kubelet.store import DELIVERED, DONE
from heat_config_kubelet.wake import Wake


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Node]:
    """A node whose loop lives whenever it is started."""
    made = Node(tmp_path)

    def start_loop(wake: Wake, _: Settings) -> None:
        assert wake.flag.exists()
        made.work()
        made.kubelet.sync()

    monkeypatch.setattr(Wake, "start_loop", start_loop)
    yield made
    made.close()


def call(node: Node, raw: dict[str, Any]) -> dict[str, Any]:
    return hook(node.settings, json.dumps(raw), node.time.clock)


def record(node: Node, *entries: dict[str, Any]) -> int:
    file = node.settings.state_dir / "heat.json"
    file.write_text(json.dumps({"deployments": list(entries)}))
    return record_all(node.settings, {"OS_CONFIG_FILES": str(file)}, node.time.clock)


def test_a_deployment_is_brought_to_its_end_and_answered_on_standard_output(node: Node) -> None:
    answer = call(node, raw_entry("a", outputs=({"name": "pod_ip"},)))
    assert (answer["deploy_status_code"], answer["pod_ip"]) == (0, "10.88.0.7")
    assert "default/web" in answer["deploy_stdout"] and list(node.uids()) == ["web"]
    assert node.heat.got == [], "heat-agents signals"
    assert (node.entries["a"].signal, node.entries["a"].answer) == (DELIVERED, "given to heat-agents")


def test_a_failure_is_an_answer_too(node: Node) -> None:
    answer = call(
        node, raw_entry("a", config=pod_map(image=NEVER_PULL), outputs=({"name": "e", "error_output": True},))
    )
    assert answer["deploy_status_code"] == 1 and "ErrImageNeverPull" in answer["e"]


def test_actions_that_come_by_hook_alone_follow_each_other(node: Node) -> None:
    """Without `record` nobody tells what vanished, but the next action of an identity takes the former one's place."""
    call(node, raw_entry("a"))
    first = node.uids()
    call(node, raw_entry("b", action="SUSPEND"))
    assert node.uids() == {}
    call(node, raw_entry("c", action="RESUME"))
    assert list(node.uids()) == ["web"] and node.uids() != first
    call(node, raw_entry("d", action="DELETE"))
    assert node.uids() == {} and list(node.entries) == ["d"]


def test_a_deployment_that_is_asked_for_again_is_judged_again(node: Node) -> None:
    call(node, raw_entry("a"))
    files = node.files()
    node.kubelet.start_seconds = 1e9
    answer = call(node, raw_entry("a", options={"images_timeout": 5, "containers_timeout": 5}))
    assert answer["deploy_status_code"] == 1 and node.files() == files
    node.kubelet.start_seconds = 0.0
    assert call(node, raw_entry("a"))["deploy_status_code"] == 0 and node.files() == files


def test_recording_brings_every_pod_at_once_and_removes_what_vanished(node: Node) -> None:
    a, b = raw_entry("a"), raw_entry("b", resource="x", config=pod_map("x"))
    assert record(node, a, b) == 0
    assert sorted(node.uids()) == ["web", "x"]
    assert call(node, a)["deploy_status_code"] == 0
    gone = node.uids()["web"]
    assert record(node, b) == 0
    assert list(node.uids()) == ["x"] and not node.kubelet.in_runtime(gone)
    assert node.time.slept == [], "the loop had done it"


def test_recording_waits_for_removals_no_longer_than_they_may_take(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    record(node, raw_entry("a"))
    started: list[float] = []

    def no_loop(*_: object) -> None:
        started.append(node.time.steady)

    monkeypatch.setattr(Wake, "start_loop", no_loop)
    begun = node.time.steady
    assert record(node) == 0
    assert 12.0 <= node.time.steady - begun < 12.3, "its grace period and 10 s"
    assert len(started) == 1 + 5, "and sees to it that a loop runs"


def test_a_superseded_deployment_is_answered_with_its_successors_result(node: Node) -> None:
    """Two entries of one identity: 55-heat-config runs both, and Heat waits for the newer one."""
    old = raw_entry("old", created="2026-11-22T10:00:00Z", config=pod_map(image=NEVER_PULL))
    new = raw_entry("new", created="2026-11-22T11:00:00Z")
    record(node, old, new)
    assert call(node, old)["deploy_status_code"] == 0
    assert call(node, new)["deploy_status_code"] == 0
    assert node.images() == {"web": "registry.example/app:1"}


def test_a_deployment_that_vanishes_meanwhile_fails_with_that(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    def vanish(*_: object) -> None:
        with node.other.transaction():
            node.other._db.execute("DELETE FROM entry_source")
            node.other._mark_vanished(node.time.wall)

    monkeypatch.setattr(Wake, "start_loop", vanish)
    answer = call(node, raw_entry("a"))
    assert answer["deploy_status_code"] == 1 and "vanished from the metadata" in answer["deploy_stderr"]


def test_a_loop_that_died_is_started_again(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def start_loop(*_: object) -> None:
        calls.append(node.time.steady)
        if len(calls) == 3:
            node.work()

    monkeypatch.setattr(Wake, "start_loop", start_loop)
    assert call(node, raw_entry("a"))["deploy_status_code"] == 0
    assert [round(moment - calls[0], 1) for moment in calls] == [0.0, 2.0, 4.0]


def test_a_loop_that_never_runs_is_an_answer_after_a_while(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else heat-agents and with it os-collect-config would hang for ever, and the stack until its timeout."""
    monkeypatch.setattr(Wake, "start_loop", lambda *_: None)
    monkeypatch.setattr(Wake, "ring", lambda _: False)
    begun = node.time.steady
    answer = call(node, raw_entry("a"))
    assert 10 <= node.time.steady - begun < 15
    assert answer["deploy_status_code"] == 1 and "loop does not run" in answer["deploy_stderr"]
    assert str(node.settings.state_dir / "loop.log") in answer["deploy_stderr"]


@pytest.mark.parametrize("sign", ["alive", "store changes"])
def test_a_loop_that_lives_or_gets_on_is_waited_for(node: Node, monkeypatch: pytest.MonkeyPatch, sign: str) -> None:
    begun = node.time.steady

    def start_loop(*_: object) -> None:
        if node.time.steady - begun >= 60:
            node.work()
        elif sign == "store changes":
            with node.other.transaction():
                node.other._db.execute("UPDATE entry SET attempts = attempts + 1")

    monkeypatch.setattr(Wake, "start_loop", start_loop)
    monkeypatch.setattr(Wake, "ring", lambda _: sign == "alive")
    assert call(node, raw_entry("a"))["deploy_status_code"] == 0
    assert node.time.steady - begun >= 60


def test_both_ways_in_on_one_node_are_refused(node: Node) -> None:
    node.collect(raw_entry("a"))
    with pytest.raises(ModeError, match="`hook` was called on a node that uses `run`"):
        call(node, raw_entry("a"))
    with pytest.raises(ModeError, match="`hook` was called"):
        record(node, raw_entry("a"))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{", "not a deployment as JSON"),
        ("[]", "is list, not a map"),
        ('{"name": "x", "group": "script"}', "group: script: this hook is for group kubelet"),
        ("", "not a deployment as JSON"),
        ("[" * 100_000, "not a deployment as JSON"),
    ],
)
def test_what_is_no_deployment_of_ours_is_told(node: Node, text: str, told: str) -> None:
    with pytest.raises(MetadataError, match=r"^standard input: ") as caught:
        hook(node.settings, text, node.time.clock)
    assert told in str(caught.value) and not node.entries
    answer = failed_answer(text, caught.value)
    assert answer["deploy_status_code"] == 1 and told in answer["deploy_stderr"]


def test_a_hook_that_could_not_begin_fails_the_stack_with_the_reason_and_no_secret() -> None:
    raw = raw_entry("a", inputs={"db_password": "planted-1"}, outputs=({"name": "why", "error_output": True},))
    answer = failed_answer(json.dumps(raw), ModeError("this node uses run; planted-1", hint="use one"))
    assert answer["deploy_status_code"] == 1 and "planted" not in json.dumps(answer)
    assert answer["why"].startswith("this node uses run; ***") and "use one" in answer["deploy_stderr"]


def test_a_component_for_the_kubelet_is_ours(node: Node) -> None:
    config = {"configs": [{"tool": "kubelet", "actions": ["CREATE"], "config": pod_map()}]}
    assert call(node, raw_entry("a", group="component", config=config))["deploy_status_code"] == 0
    assert node.entries["a"].state == DONE
