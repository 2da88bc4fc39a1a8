"""From the verdicts on pods to a deployment's result."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fake_node import NEVER_PULL, NEVER_READY, Node, refuses
from support import make_row, only, pod_map, raw_entry

from heat_config_kubelet.errors import PodError
from heat_config_kubelet.loop import Parts
from heat_config_kubelet.manifests import Removed
from heat_config_kubelet.plan import Plan, make_plan
from heat_config_kubelet.store import DONE, WORKING, WRITING, Entry, PodRow, Store
from heat_config_kubelet.values import Result


class Case:
    """A judge over real parts; manifests are written at once."""

    def __init__(self, folder: Path) -> None:
        self.node = Node(folder, node_name="node-1")
        self.store = Store.open(self.node.settings.store_file)
        self.parts: Parts = self.node.parts(self.store)
        self.parts.manifests.resume()
        self.judge = self.parts.judge

    def close(self) -> None:
        self.store.close()
        self.node.close()

    def collect(self, *entries: dict[str, Any]) -> None:
        self.node.collect(*entries)
        self.parts.ledger.take_news()

    def plan(self) -> Plan:
        manifests = self.parts.manifests
        entries = tuple(self.parts.ledger.entries.values())
        return make_plan(entries, manifests.rows(), manifests.scan(), self.store.answered(), self.judge.pods)

    def write(self) -> None:
        self.parts.view.wrote(self.parts.manifests.write(self.plan().write))

    def judged(self, rows: tuple[PodRow, ...] | None = None) -> Result | None:
        """Judge once; the result of the one entry, where it has one now."""
        there = self.parts.manifests.rows() if rows is None else rows
        self.judge.advance(self.plan(), {row.key: row for row in there})
        return self.entry().result

    def after(self, seconds: float) -> Result | None:
        """Judge every second for so long."""
        for _ in range(int(seconds)):
            self.node.time.advance(1.0)
            if found := self.judged():
                return found
        return None

    def entry(self) -> Entry:
        entry: Entry = only(list(self.parts.ledger.entries.values()))
        return entry


@pytest.fixture
def case(tmp_path: Path) -> Iterator[Case]:
    made = Case(tmp_path)
    yield made
    made.close()


def several(*pods: dict[str, Any]) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "List", "items": list(pods)}


# --- what is wanted


def test_pods_are_read_and_checked_once_and_anew_when_the_content_changes(case: Case) -> None:
    case.collect(raw_entry("a"))
    first = case.judge.pods(case.entry())
    assert case.judge.pods(case.entry()) is first
    case.collect(raw_entry("a", config=pod_map("other")))
    assert [pod.key.name for pod in case.judge.pods(case.entry())] == ["other"]


def test_faults_of_options_and_of_pods_are_told_together(case: Case) -> None:
    case.collect(raw_entry("a", config="{", options={"log_lines": "many"}))
    for _ in range(2):
        with pytest.raises(PodError) as caught:
            case.judge.pods(case.entry())
        assert len(caught.value.faults) == 2


def test_an_unknown_field_is_a_warning_where_the_deployment_wants_that(case: Case) -> None:
    case.collect(raw_entry("a", config=pod_map(newField=1), options={"strict": False}))
    (pod,) = case.judge.pods(case.entry())
    assert "newField" in pod.warnings[0]


def test_the_name_that_the_kubelet_makes_of_it_is_checked(case: Case) -> None:
    """It adds the node's name; the whole must be a host name's length."""
    case.collect(raw_entry("a", config=pod_map("x" * 250)))
    with pytest.raises(PodError, match="with the node's name it may have 253"):
        case.judge.pods(case.entry())


# --- deciding


def test_a_deployment_is_ready_when_all_its_pods_are(case: Case) -> None:
    case.collect(raw_entry("a", config=several(pod_map("web"), pod_map("db"))))
    case.write()
    assert case.judged() is None and case.entry().state == WORKING
    result = case.after(5)
    assert result is not None and result.status_code == 0
    assert "default/web" in result.stdout and "default/db" in result.stdout


def test_one_failed_pod_fails_the_deployment_at_once_with_its_words(case: Case) -> None:
    outputs = ({"name": "pods"}, {"name": "why", "error_output": True})
    config = several(pod_map("web"), pod_map("db", NEVER_PULL))
    case.collect(raw_entry("a", config=config, outputs=outputs))
    case.write()
    case.judged()
    result = case.after(5)
    assert result is not None and result.status_code == 1
    assert "default/db: " in result.stderr and "default/web: " not in result.stderr
    assert set(result.outputs) == {"pods", "why"} and "ErrImageNeverPull" in result.outputs["why"]


def never_ready(**spec: Any) -> dict[str, Any]:
    """A pod whose probe fails; the kubelet's log tells what it says where `spec` is that of a test."""
    pod = pod_map(image=NEVER_READY, **spec)
    pod["spec"]["containers"][0]["readinessProbe"] = {"httpGet": {"port": 80}}
    return pod


@pytest.mark.parametrize(("log_lines", "told"), [(20, "; its last failed readiness probe: code 404"), (0, "")])
def test_what_a_failed_probe_said_is_told_where_logs_may_be(case: Case, log_lines: int, told: str) -> None:
    case.collect(raw_entry("a", config=never_ready(), options={"containers_timeout": 5, "log_lines": log_lines}))
    case.write()
    case.judged()
    uid = only(case.parts.manifests.rows()).uid
    case.node.kubelet_log.lines = (
        'I1123 03:36:01.068922   1 prober.go:123] "Probe failed" probeType="Readiness" pod="default/web-node"'
        f' podUID="{uid}" containerName="c" probeResult="failure" output="code 404"',
    )
    result = case.after(10)
    words = 'container "c" runs, but is not ready (its readiness probe, httpGet :80/)'
    assert result is not None
    assert result.stderr.splitlines()[-1] == f"default/web: containers_timeout of 5 s has run out: {words}{told}"


def test_whose_port_of_the_host_it_is_is_told(tmp_path: Path) -> None:
    def wants(name: str) -> dict[str, Any]:
        pod = pod_map(name)
        pod["spec"]["containers"][0]["ports"] = [{"containerPort": 80, "hostPort": 8080}]
        return pod

    node = Node(tmp_path)
    node.collect(raw_entry("a", config=wants("first"), resource="holder"))
    node.work()
    node.collect(
        raw_entry("a", config=wants("first"), resource="holder"),
        raw_entry("b", config=wants("second"), resource="late"),
    )
    node.work()
    told = node.heat.body("b")["deploy_stderr"]
    assert told == (
        "default/second: the pod failed: NodePorts (8080/TCP); deployment shop/holder has 8080/TCP for its pod"
        " default/first"
    )
    node.close()


def test_warnings_come_with_a_success(case: Case) -> None:
    case.collect(raw_entry("a", config=pod_map(newField=1), options={"strict": False}))
    case.write()
    case.judged()
    result = case.after(5)
    assert result is not None and result.status_code == 0 and "default/web: " in result.stderr


def test_faults_of_the_plan_refuse_it(case: Case) -> None:
    case.collect(raw_entry("a", config={"kind": "Pod"}))
    result = case.judged()
    assert result is not None and result.status_code == 1 and case.entry().state == DONE


def test_a_kubelet_that_refuses_us_is_told_once_for_all_pods(case: Case) -> None:
    case.collect(raw_entry("a", config=several(pod_map("web"), pod_map("db"))))
    case.write()
    case.node.kubelet.problem = refuses("403 Forbidden")
    result = case.judged()
    assert result is not None and result.stderr.count("403 Forbidden") == 1


def test_nothing_is_ready_while_its_manifest_is_not_in_place(case: Case) -> None:
    """A pod of the name may run: that is the former one."""
    case.collect(raw_entry("a"))
    (pod,) = case.judge.pods(case.entry())
    row = make_row(pod, case.entry().deployment.identity, phase=WRITING)
    assert case.judged(rows=(row,)) is None
    assert case.judged(rows=(replace(row, phase="removing"),)) is None
    assert case.judged(rows=(replace(row, phase="written", content_hash="other"),)) is None


def test_trouble_of_the_directory_fails_it_after_the_containers_timeout(case: Case) -> None:
    case.collect(raw_entry("a", options={"containers_timeout": 30}))
    case.judge.trouble = "disk full"
    assert case.judged(rows=()) is None
    assert case.after(30) is None
    result = case.after(2)
    assert result is not None and "disk full" in result.stderr


def test_a_removal_is_done_when_no_manifest_of_it_is_left(case: Case) -> None:
    case.collect(raw_entry("a"))
    case.write()
    (row,) = case.parts.manifests.rows()
    case.collect(raw_entry("b", action="DELETE"))
    assert case.judged(rows=(row,)) is None
    case.judge.note_gone((Removed(row, overdue=False),))
    result = case.judged(rows=())
    assert result is not None and (result.status_code, result.stdout) == (0, "DELETE: removed default/web")


def test_a_removal_of_nothing_says_so(case: Case) -> None:
    case.collect(raw_entry("a", action="SUSPEND"))
    result = case.judged()
    assert result is not None and (result.status_code, result.stdout) == (0, "SUSPEND: no pod was there")


def test_an_overdue_pod_fails_its_removal(case: Case) -> None:
    case.collect(raw_entry("a"))
    case.write()
    (row,) = case.parts.manifests.rows()
    case.collect(raw_entry("b", action="DELETE"))
    case.judge.note_gone((Removed(row, overdue=True),))
    result = case.judged(rows=())
    assert result is not None and result.status_code == 1 and "default/web is still there" in result.stderr


# --- pauses


def test_nobody_looks_at_the_kubelet_where_nobody_waits(case: Case) -> None:
    case.collect(raw_entry("a"))
    case.write()
    case.judged()
    pause = case.judge.pause(case.plan())
    assert pause is not None and 0 < pause <= 1.0
    assert case.after(5) is not None
    assert case.judge.pause(case.plan()) is None


def test_waiting_for_a_former_pod_asks_the_kubelet_nothing(case: Case) -> None:
    case.collect(raw_entry("a"))
    assert case.judged(rows=()) is None
    case.node.time.advance(100)
    assert case.judge.pause(case.plan()) == 1.0


def test_the_shortest_poll_period_of_all_holds(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    bounds: list[float] = []
    monkeypatch.setattr(case.parts.view, "look_if_due", bounds.append)
    slow = raw_entry("a", options={"poll_period": 5})
    fast = raw_entry("b", resource="x", config=pod_map("x"), options={"poll_period": 0.5})
    case.collect(slow, fast)
    case.write()
    case.judge.advance(case.plan(), {row.key: row for row in case.parts.manifests.rows()})
    assert bounds == [0.5]
