"""Which steps a pod has taken and when, from looks of a real kubelet."""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support import START, FakeTime, KeptLog, make_row, only, raw_entry, source, take_in

from heat_config_kubelet.kubelet_api import parse_pods
from heat_config_kubelet.ledger import NOTES_SECONDS, Ledger
from heat_config_kubelet.pod_steps import PodSteps, steps_taken
from heat_config_kubelet.store import Entry, Event, PodRow, Store
from heat_config_kubelet.values import Pod, PodKey, PodStatus, Result

DATA = Path(__file__).parent / "data" / "pods"


def recorded(name: str) -> tuple[Pod, float, list[tuple[float, PodStatus]]]:
    """A pod, when the kubelet first saw it, and its status at each look (seconds after that)."""
    told = json.loads((DATA / f"{name}.json").read_text())
    seen = told["pod"]["metadata"]["annotations"]["kubernetes.io/config.seen"]
    began = datetime.datetime.fromisoformat(seen[:26] + "+00:00").timestamp()
    pod = Pod(PodKey("default", name), told["pod"], "hash")
    looks = []
    for look in told["looks"]:
        (status,) = parse_pods(json.dumps({"items": [{**told["pod"], "status": look["status"]}]}).encode())
        looks.append((look["at"], status))
    return pod, began, looks


class Case:
    """An entry whose pod was written a tenth of a second before the kubelet saw it."""

    def __init__(self, folder: Path, name: str = "ok") -> None:
        self.pod, self.began, self.looks = recorded(name)
        self.time = FakeTime(self.began - 0.2)
        self.store = Store.open(folder / "store.sqlite")
        """Another process's connection."""
        self.ledger = Ledger(Store.open(folder / "store.sqlite"), self.time.clock, KeptLog())
        take_in(self.store, source(raw_entry("a")), now=self.time.wall)
        self.ledger.take_news()
        made = make_row(self.pod, self.entry.deployment.identity)
        self.row = replace(made, since=self.began - 0.1)
        self.steps = PodSteps(self.ledger)

    @property
    def entry(self) -> Entry:
        entry: Entry = only(list(self.ledger.entries.values()))
        return entry

    def close(self) -> None:
        self.store.close()
        self.ledger.store.close()

    def at(self, seconds: float) -> None:
        self.time.jump(self.began + seconds - self.time.wall)

    def play(self) -> None:
        for seconds, status in self.looks:
            self.at(seconds)
            self.steps.note(self.entry, self.pod, self.row, status)

    def told(self) -> dict[str, float]:
        """The steps of the pod, in seconds since the kubelet saw it."""
        self.time.advance(NOTES_SECONDS)
        self.ledger.write_notes()
        events = [event for event in self.store.events("a") if event.pod]
        assert all((event.pod, event.uid) == (str(self.row.key), self.row.uid) for event in events)
        assert len({event.kind for event in events}) == len(events), "nothing twice"
        return {event.kind: round(event.at - self.began, 2) for event in events}


@pytest.fixture
def case(tmp_path: Path) -> Iterator[Case]:
    made = Case(tmp_path)
    yield made
    made.close()


def test_a_pods_way_as_the_looks_show_it(case: Case) -> None:
    """The sandbox was there in second 52, and seen at 53.08: so it was there at 53.0, 0.36 s after the start."""
    case.play()
    assert case.told() == {"written": -0.1, "sandbox": 0.36, "image": 0.67, "started": 0.67, "ready": 0.67}


def test_of_a_look_that_comes_late_the_kubelets_own_times_count(case: Case) -> None:
    """Its seconds are whole ones: 00:49:52 and 00:49:53, the pod was seen at 52.637."""
    case.at(60)
    case.steps.note(case.entry, case.pod, case.row, case.looks[-1][1])
    assert case.told() == {"written": -0.1, "sandbox": 0.36, "image": 1.36, "started": 1.36, "ready": 1.36}


def test_no_step_is_before_the_one_that_it_follows(case: Case) -> None:
    """The time of day was set back after the manifest was written."""
    status = replace(case.looks[-1][1], sandbox_at=None)
    case.row = replace(case.row, since=case.began + 100)
    case.at(0)
    case.steps.note(case.entry, case.pod, case.row, replace(status, ready_at=None))
    assert set(case.told().values()) == {100.0}


def test_the_steps_that_a_failing_pod_takes(tmp_path: Path) -> None:
    for name, steps in {
        "slow": ["written", "sandbox"],
        "initslow": ["written", "sandbox"],
        "port2": ["written"],
        "unready": ["written", "sandbox", "image", "started"],
        "nocmd": ["written", "sandbox", "image"],
        "crash": ["written", "sandbox", "image", "started", "ready"],
    }.items():
        case = Case(tmp_path / name, name)
        case.play()
        assert list(case.told()) == steps, name
        case.close()


def test_what_another_process_has_noted_is_not_noted_again(case: Case) -> None:
    case.play()
    told = case.told()
    case.steps = PodSteps(case.ledger)
    case.at(100)
    case.steps.note(case.entry, case.pod, case.row, case.looks[-1][1])
    assert case.told() == told


def later(case: Case) -> Entry:
    """The entry's next action, collected an hour later, with the pod unchanged."""
    case.time.advance(3600)
    take_in(case.store, source(raw_entry("a", action="UPDATE")), now=case.time.wall)
    case.ledger.take_news()
    return case.entry


def test_a_pod_of_an_earlier_action_is_kept_and_its_steps_are_not_told_again(case: Case) -> None:
    case.play()
    case.told()
    entry = later(case)
    assert entry.deployment.action == "UPDATE"
    case.steps.note(entry, case.pod, case.row, case.looks[-1][1])
    case.time.advance(NOTES_SECONDS)
    case.ledger.write_notes()
    assert [event.kind for event in case.store.events("a")][-2:] == ["collected", "kept"]


def test_a_kept_pod_that_is_still_on_its_way_takes_its_steps(case: Case) -> None:
    entry = later(case)
    case.steps.note(entry, case.pod, case.row, case.looks[1][1])
    container = replace(case.looks[-1][1].containers[0], started_at=case.time.wall)
    status = replace(case.looks[-1][1], containers=(container,), ready_at=case.time.wall)
    case.steps.note(entry, case.pod, case.row, status)
    assert list(case.told()) == ["kept", "image", "started", "ready"]


def test_checked_and_gone_are_noted_for_whom_they_concern(case: Case) -> None:
    take_in(case.store, source(raw_entry("a"), raw_entry("b", resource="x")))
    case.ledger.take_news()
    case.steps.note_gone(case.row)
    for _ in range(2):
        case.steps.note_valid(case.ledger.entries["b"])
    case.ledger.begin(case.ledger.entries["a"])
    kinds = {each: [event.kind for event in case.store.events(each)] for each in "ab"}
    assert kinds == {"a": ["collected", "gone", "started"], "b": ["collected", "validated"]}


def test_notes_wait_for_a_transaction_that_is_there_anyway(case: Case) -> None:
    case.steps.note_valid(case.entry)
    case.ledger.write_notes()
    assert len(case.store.events("a")) == 1
    case.ledger.decide(case.entry, Result(0, "", ""))
    assert [event.kind for event in case.store.events("a")] == ["collected", "validated", "succeeded"]
    case.ledger.note(Event(START, "a", "validated", ""))
    case.steps.note_valid(case.entry)
    assert len(case.ledger._notes) == 1, "nothing more of what is decided"


def test_what_is_forgotten_may_come_again(case: Case) -> None:
    case.steps.note_valid(case.entry)
    case.steps.keep_only(frozenset())
    assert not case.steps._noted


def test_containers_that_the_kubelet_does_not_show_yet_have_not_started() -> None:
    pod, _, looks = recorded("two")
    one = replace(looks[-1][1], containers=looks[-1][1].containers[:1])
    assert [kind for kind, _ in steps_taken(pod, one)] == ["sandbox"]


def test_a_row_of_a_manifest_that_was_recognised_counts_as_kept(case: Case) -> None:
    """The store was lost: the row is as old as that, the pod is older."""
    entry = later(case)
    row: PodRow = replace(case.row, since=case.time.wall + 1)
    status: Any = case.looks[-1][1]
    case.time.advance(2)
    case.steps.note(entry, case.pod, row, status)
    assert list(case.told()) == ["kept"]
