"""The summary under /run: what everybody may know, replaced as a whole, and in nobody's way."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from fake_node import NEVER_PULL, Node
from support import FakeTime, KeptLog, pod_map, raw_entry, source, take_in

from heat_config_kubelet.errors import AgentError
from heat_config_kubelet.overview import FAILED, IS_PENDING, WELL
from heat_config_kubelet.settings import Settings
from heat_config_kubelet.store import Store
from heat_config_kubelet.summary import Summarizer, read


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path)


def test_the_loop_leaves_what_became_of_every_deployment(node: Node) -> None:
    node.collect(
        raw_entry("a", resource="web"),
        raw_entry("b", resource="bad", config=pod_map("bad", NEVER_PULL)),
        raw_entry("c", resource="job", group="script", config="exit 0"),
    )
    node.work()
    found = {each.resource: each for each in read(node.settings.summary_file).deployments}
    assert {name: each.health for name, each in found.items()} == {"web": WELL, "bad": FAILED, "job": WELL}
    assert (found["web"].pods_ready, found["web"].pods_wanted) == (1, 1)
    assert (found["bad"].pods_ready, found["bad"].status_code, found["bad"].signal) == (0, 1, "delivered")
    assert found["job"].pods_wanted is None
    node.close()


def test_everybody_may_read_it_and_nobody_else_write_whatever_the_umask(node: Node) -> None:
    node.collect(raw_entry("a"))
    node.work()
    file = node.settings.summary_file
    assert (file.stat().st_mode & 0o777, file.parent.stat().st_mode & 0o777) == (0o644, 0o755)
    assert [each.name for each in file.parent.iterdir()] == [file.name]
    node.close()


def test_it_has_no_text_of_others(node: Node) -> None:
    node.collect(raw_entry("a", config=pod_map("bad", planted="x")))
    node.work()
    assert "planted" in node.heat.body("a")["deploy_stderr"]
    assert "planted" not in node.settings.summary_file.read_text()
    node.close()


class Case:
    def __init__(self, folder: Path) -> None:
        self.settings = Settings(folder / "none", state_dir=folder / "state", run_dir=folder / "run")
        self.time, self.log = FakeTime(), KeptLog()
        self.store = Store.open(self.settings.store_file)
        self.summarizer = Summarizer(self.settings, self.log, self.time.clock)

    def note(self, *, at_once: bool = False) -> None:
        self.summarizer.note(self.store.entries(), self.store.pods(), None, lambda _: 2, at_once=at_once)

    def names(self) -> list[str]:
        return [each.resource for each in read(self.settings.summary_file).deployments]


@pytest.fixture
def case(tmp_path: Path) -> Case:
    return Case(tmp_path)


def test_while_much_happens_it_is_written_once_a_second(case: Case) -> None:
    take_in(case.store, source(raw_entry("a", resource="a")))
    case.note()
    take_in(case.store, source(raw_entry("a", resource="a"), raw_entry("b", resource="b")))
    case.time.advance(0.4)
    case.note()
    assert case.names() == ["a"] and case.summarizer.pause(9.0) == pytest.approx(0.6)
    case.time.advance(0.7)
    case.note()
    assert case.names() == ["a", "b"] and case.summarizer.pause(9.0) == 9.0
    take_in(case.store, source())
    case.note(at_once=True)
    assert case.names() == []
    case.store.close()


def test_what_says_the_same_is_not_written_again(case: Case) -> None:
    case.note()
    before = case.settings.summary_file.stat().st_ino
    case.time.advance(60)
    case.note(at_once=True)
    assert case.settings.summary_file.stat().st_ino == before
    case.store.close()


def test_counts_of_pods_stay_where_nobody_has_looked(case: Case) -> None:
    take_in(case.store, source(raw_entry("a")))
    case.note()
    (row,) = read(case.settings.summary_file).deployments
    assert (row.pods_ready, row.pods_wanted, row.health) == (None, 2, IS_PENDING)
    content = json.loads(case.settings.summary_file.read_text())
    content["deployments"][0]["pods_ready"] = 1
    case.settings.summary_file.write_text(json.dumps(content))
    Summarizer(case.settings, case.log, case.time.clock).note(case.store.entries(), (), None, lambda _: 2)
    (row,) = read(case.settings.summary_file).deployments
    assert row.pods_ready == 1
    case.store.close()


def test_that_it_cannot_be_written_is_logged_once_and_stops_nothing(case: Case) -> None:
    case.settings.run_dir.write_text("in the way")
    take_in(case.store, source(raw_entry("a")))
    for _ in range(2):
        case.note(at_once=True)
        case.time.advance(5)
        take_in(case.store, source())
    assert case.log.text.count("summary not written") == 1
    case.store.close()


@pytest.mark.parametrize("text", ["", "{", "[]", '{"written_at": "x"}', '{"written_at": "", "deployments": [{}]}'])
def test_what_is_no_summary_says_so(tmp_path: Path, text: str) -> None:
    (tmp_path / "status.json").write_text(text)
    with pytest.raises(AgentError, match="is no summary of this release"):
        read(tmp_path / "status.json")
    with pytest.raises(AgentError, match="there is no summary"):
        read(tmp_path / "other.json")
