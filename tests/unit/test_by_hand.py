"""What a person asks for, over whole lives: sent again, run again, a pod ended, an entry forgotten."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fake_node import NEVER_PULL, NEVER_READY, Node
from support import pod_map, raw_entry

from heat_config_kubelet.signals import Answer, AnswerKind
from heat_config_kubelet.store import DELIVERED, DONE, DROPPED, PENDING, REFUSED, UNSENT, WANTED


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    made = Node(tmp_path)
    yield made
    made.close()


def two_pods() -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "List", "items": [pod_map("web"), pod_map("db")]}


def send_again(node: Node, entry_id: str = "a") -> None:
    with node.other.transaction():
        node.other.send_again(entry_id, node.time.wall)
        node.wake.raise_flag()


def start_again(node: Node, entry_id: str = "a", *, quiet: bool) -> None:
    with node.other.transaction():
        node.other.start_again(node.entries[entry_id], node.time.wall, quiet=quiet)
        node.wake.raise_flag()


def kinds(node: Node, entry_id: str = "a") -> list[str]:
    return [event.kind for event in node.other.events(entry_id) if not event.pod]


# --- a result sent again


def test_a_result_is_sent_again_and_nothing_else_is_done(node: Node) -> None:
    node.collect(raw_entry("a"))
    node.work()
    files = node.files()
    send_again(node)
    node.work()
    assert node.heat.codes() == [("a", 0), ("a", 0)] and node.files() == files
    assert node.entries["a"].signal == DELIVERED and node.entries["a"].attempts == 1
    assert kinds(node)[-3:] == ["resend", "sent", "signal delivered"]


def test_one_that_was_refused_is_sent_again(node: Node) -> None:
    node.heat.answers["a"] = [Answer(AnswerKind.REFUSED, "404")]
    node.collect(raw_entry("a"))
    node.work()
    assert node.entries["a"].signal == REFUSED
    send_again(node)
    node.work()
    assert node.entries["a"].signal == DELIVERED


def test_one_that_was_dropped_as_too_old_has_its_whole_time_again(tmp_path: Path) -> None:
    node = Node(tmp_path, signal_max_age=600.0)
    node.heat.answers["a"] = [Answer(AnswerKind.RETRY, "503")] * 50
    node.collect(raw_entry("a"))
    node.work()
    assert node.entries["a"].signal == DROPPED and "too old" in node.entries["a"].answer
    decided_at = node.entries["a"].decided_at
    node.heat.answers["a"] = [Answer(AnswerKind.RETRY, "503")] * 3
    send_again(node)
    node.work()
    assert node.entries["a"].signal == DELIVERED and node.entries["a"].attempts == 4
    assert node.entries["a"].decided_at == decided_at, "when it was decided stays as it was"
    node.heat.answers["a"] = [Answer(AnswerKind.RETRY, "503")] * 50
    asked_at = node.time.wall
    send_again(node)
    node.work()
    assert node.entries["a"].signal == DROPPED and node.time.wall - asked_at > 600
    node.close()


def test_one_whose_url_has_ended_is_tried_once_more(node: Node) -> None:
    """The operator may have given Keystone a longer time, or a person the clock its right one."""
    old = "http://heat.example/v1/signal/deploy?Timestamp=2020-01-01T00:00:00Z&Signature=none"
    node.heat.answers["a"] = [Answer(AnswerKind.EXPIRED, "403")]
    node.collect(raw_entry("a", inputs={"deploy_signal_id": old}))
    node.work()
    assert node.entries["a"].signal == DROPPED
    send_again(node)
    node.work()
    assert node.entries["a"].signal == DELIVERED


# --- run again


def test_a_deployment_is_run_again_with_new_pods_and_judged_anew(node: Node) -> None:
    node.collect(raw_entry("a", config=two_pods()), raw_entry("b", resource="other", config=pod_map("other")))
    node.work()
    uids = node.uids()
    start_again(node, quiet=True)
    node.work()
    assert node.uids()["web"] != uids["web"] and node.uids()["db"] != uids["db"]
    assert node.uids()["other"] == uids["other"]
    entry = node.entries["a"]
    assert (entry.state, entry.signal) == (DONE, UNSENT) and entry.result and entry.result.status_code == 0
    assert [code for code in node.heat.codes() if code[0] == "a"] == [("a", 0)], "Heat has heard all it waits for"
    assert kinds(node)[-4:] == ["collected", "validated", "started", "succeeded"]


def test_where_heat_still_waits_it_is_signalled(node: Node) -> None:
    node.heat.answers["a"] = [Answer(AnswerKind.REFUSED, "404")]
    node.collect(raw_entry("a"))
    node.work()
    start_again(node, quiet=False)
    node.work()
    assert node.heat.codes() == [("a", 0), ("a", 0)] and node.entries["a"].signal == DELIVERED


def test_the_result_of_a_quiet_one_can_be_sent_afterwards(node: Node) -> None:
    node.collect(raw_entry("a"))
    node.work()
    start_again(node, quiet=True)
    node.work()
    send_again(node)
    node.work()
    assert node.heat.codes() == [("a", 0), ("a", 0)] and node.entries["a"].signal == DELIVERED


def test_one_that_is_under_way_begins_anew(node: Node) -> None:
    """What the loop has seen of the pods before says nothing about those that come."""
    node.collect(raw_entry("a", config=pod_map(image=NEVER_READY), options={"containers_timeout": 60}))
    seen: list[str] = []

    def again() -> None:
        seen.extend(node.uids().values())
        start_again(node, quiet=False)

    node.after(40, again)
    began = node.time.wall
    node.work()
    assert node.uids()["web"] not in seen and node.heat.codes() == [("a", 1)]
    assert node.time.wall - began > 40 + 60, "it has all of its time again"


def test_the_next_action_is_signalled_as_ever(node: Node) -> None:
    node.collect(raw_entry("a"))
    node.work()
    start_again(node, quiet=True)
    node.work()
    node.collect(raw_entry("b", action="UPDATE"))
    node.work()
    assert node.heat.codes() == [("a", 0), ("b", 0)]


def test_one_whose_config_is_refused_keeps_the_pods_that_it_had(node: Node) -> None:
    node.collect(raw_entry("a"))
    node.work()
    node.collect(raw_entry("b", action="UPDATE", config=pod_map(image="bad image")))
    node.work()
    files = node.files()
    start_again(node, "b", quiet=True)
    node.work()
    entry = node.entries["b"]
    assert node.files() == files and entry.result and entry.result.status_code == 1


# --- one pod


def test_a_pod_is_ended_and_created_anew_and_its_deployment_not_decided_again(node: Node) -> None:
    node.collect(raw_entry("a", config=two_pods()))
    node.work()
    uids, files = node.uids(), node.files()
    with node.other.transaction():
        node.other.replace_pods([uids["web"]])
        node.wake.raise_flag()
    node.work()
    assert node.uids()["web"] != uids["web"] and node.files()["db"] == files["db"]
    assert [name for name, _ in node.kubelet.starts].count("web") == 2
    assert node.heat.codes() == [("a", 0)] and kinds(node).count("started") == 1
    assert not any(row.outgoing for row in node.other.pods())
    uids = node.uids()
    node.collect(raw_entry("a", config=two_pods()))
    node.work()
    assert node.uids() == uids, "it was asked for once"


def test_a_pod_is_ended_whatever_it_has_come_to(node: Node) -> None:
    node.collect(raw_entry("a", config=pod_map(image=NEVER_PULL)))
    node.work()
    uids = node.uids()
    with node.other.transaction():
        node.other.replace_pods(uids.values())
    node.work()
    assert node.uids().keys() == uids.keys() and node.uids() != uids
    assert node.heat.codes() == [("a", 1)]


def test_a_request_holds_for_the_pod_that_was_there_not_for_its_successor(node: Node) -> None:
    node.collect(raw_entry("a"))
    node.work()
    old = node.uids()["web"]
    node.collect(raw_entry("b", action="UPDATE", config=pod_map(image="registry.example/app:2")))
    node.work()
    with node.other.transaction():
        node.other.replace_pods([old])
    files = node.files()
    node.work()
    assert node.files() == files


# --- forgotten


def test_nothing_of_a_forgotten_entry_is_left_in_the_file(node: Node) -> None:
    node.collect(
        raw_entry("gone-entry", inputs={"deploy_password": "planted-in-the-gone"}),
        raw_entry("b", resource="other", config=pod_map("other")),
    )
    node.work()
    node.collect(raw_entry("b", resource="other", config=pod_map("other")))
    node.work()
    assert "gone-entry" in {entry.deployment.id for entry in node.other.entries(vanished=True)}
    with node.other.transaction():
        node.other.forget(["gone-entry"])
    node.other.fold()
    assert [entry.deployment.id for entry in node.other.entries(vanished=True)] == ["b"]
    assert node.other.events("gone-entry") == () and node.other.events("b")
    left = b"".join(path.read_bytes() for path in node.settings.state_dir.glob("store.sqlite*"))
    assert b"planted-in-the-gone" not in left and b"gone-entry" not in left and b"other" in left


def test_an_entry_that_is_forgotten_while_the_loop_works_on_it_harms_nobody(node: Node) -> None:
    node.collect(raw_entry("a", config=pod_map(image=NEVER_READY), options={"containers_timeout": 60}))

    def vanish_and_forget() -> None:
        node.collect()
        with node.other.transaction():
            node.other.forget(["a"])

    node.after(10, vanish_and_forget)
    node.work()
    assert not node.entries and not node.uids() and node.heat.codes() == []


def test_what_is_asked_for_is_in_the_store_and_survives_its_process(node: Node) -> None:
    node.collect(raw_entry("a"))
    node.work()
    start_again(node, quiet=True)
    again = type(node.other).open(node.settings.store_file)
    (entry,), (row,) = again.entries(), again.pods()
    again.close()
    assert (entry.state, entry.quiet, entry.signal, row.outgoing) == (WANTED, True, "", True)
    send_again(node)
    assert node.entries["a"].signal == PENDING and node.entries["a"].asked_at == node.time.wall
