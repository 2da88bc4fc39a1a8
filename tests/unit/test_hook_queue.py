"""The queue of other groups' hooks: one at a time, in name order, none ever twice."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fake_node import FakeHook, FakeWake, Hooks
from support import FakeTime, KeptLog, raw_entry, source, take_in

from heat_config_kubelet.hook_queue import HookQueue
from heat_config_kubelet.hooks import HookError, HookRun
from heat_config_kubelet.ledger import Ledger
from heat_config_kubelet.settings import Settings
from heat_config_kubelet.store import DONE, PENDING, UNSENT, WANTED, WORKING, Entry, Store
from heat_config_kubelet.values import Result


class Case:
    def __init__(self, folder: Path) -> None:
        self.time = FakeTime()
        self.log = KeptLog()
        self.hooks = Hooks(self.time, folder)
        self.settings = Settings(
            folder / "none", state_dir=folder, hooks_dirs=(self.hooks.folder,), deployed_dir=folder / "deployed"
        )
        self.store = Store.open(folder / "store.sqlite")
        self.wake = FakeWake(folder, self.time, lambda: False)
        self.begin()

    def begin(self, start: Callable[..., HookRun] | None = None) -> None:
        """A new life of the loop."""
        self.ledger = Ledger(self.store, self.time.clock, self.log)
        self.ledger.take_news()
        self.queue = HookQueue(self.ledger, self.settings, self.wake, self.log, start=start or self.hooks.start)

    def collect(self, *entries: dict[str, Any]) -> None:
        take_in(self.store, source(*entries))
        self.begin()

    def advance(self) -> None:
        self.queue.advance([entry for entry in self.ledger.entries.values() if entry.state != DONE])

    def entry(self, entry_id: str = "a") -> Entry:
        return self.ledger.entries[entry_id]

    def mark(self, name: str, content: str = "{}") -> None:
        self.settings.deployed_dir.mkdir(exist_ok=True)
        (self.settings.deployed_dir / name).write_text(content)


def script(entry_id: str, **fields: Any) -> dict[str, Any]:
    return raw_entry(entry_id, group="script", config="#!/bin/sh", **{"resource": entry_id, **fields})


@pytest.fixture
def case(tmp_path: Path) -> Iterator[Case]:
    made = Case(tmp_path)
    yield made
    made.store.close()


def test_a_hook_is_started_and_its_result_taken_in_when_it_ends(case: Case) -> None:
    case.collect(script("a"))
    case.advance()
    assert case.hooks.ran == ["a"] and case.entry().state == WORKING and case.entry().hook == FakeHook.record
    assert case.queue.pause() == 0.2
    case.advance()
    assert case.entry().state == WORKING
    case.time.advance(1.0)
    case.advance()
    assert (case.entry().state, case.entry().result, case.entry().signal) == (DONE, Result(0, "done", ""), PENDING)
    assert case.queue.pause() is None and case.hooks.ran == ["a"]


def test_hooks_run_one_at_a_time_in_the_order_of_their_names(case: Case) -> None:
    case.collect(script("a", name="30"), script("b", name="10"), script("c", name="20"))
    order = []
    for _ in range(4):
        case.advance()
        order.append(list(case.hooks.ran))
        case.time.advance(1.0)
    assert order == [["b"], ["b", "c"], ["b", "c", "a"], ["b", "c", "a"]]
    assert all(entry.state == DONE for entry in case.ledger.entries.values())


def test_what_heat_agents_has_run_already_is_not_run_again(case: Case) -> None:
    """Its mark is there, and it has signalled."""
    case.collect(script("a"))
    case.mark("a.json")
    case.advance()
    assert case.hooks.ran == [] and (case.entry().state, case.entry().signal) == (DONE, UNSENT)
    assert case.entry().result is None and "has run already" in case.entry().answer


def test_a_hook_that_a_crash_cut_short_has_failed_and_is_never_run_again(case: Case) -> None:
    case.hooks.seconds["a"] = 100.0
    case.collect(script("a"))
    case.advance()
    case.begin()
    case.advance()
    result = case.entry().result
    assert case.hooks.ran == ["a"] and result is not None and result.status_code == 1
    assert "cut short" in result.stderr and case.entry().signal == PENDING


def test_a_hook_that_ended_before_the_crash_gives_the_answer_that_it_left(case: Case) -> None:
    case.collect(script("a"))
    case.advance()
    case.mark("a.notify.json", '{"deploy_status_code": 3, "deploy_stdout": "left"}')
    case.begin()
    case.advance()
    assert case.entry().result == Result(3, "left", "") and case.hooks.ran == ["a"]


def test_a_crash_before_the_mark_runs_the_hook(case: Case) -> None:
    case.collect(script("a"))
    case.ledger.begin(case.entry())
    case.begin()
    case.advance()
    assert case.hooks.ran == ["a"]


def test_a_result_is_decided_once_though_its_answer_could_not_be_kept(case: Case) -> None:
    """The disk is full: only the mark is there, and that is no crash."""
    case.collect(script("a"))
    case.hooks.results["a"] = Result(5, "own words", "")
    case.advance()
    case.time.advance(1.0)
    case.advance()
    assert case.entry().result == Result(5, "own words", "")
    assert [event.kind for event in case.store.events("a")] == ["collected", "started", "failed"]


def test_a_group_without_a_hook_fails_and_the_next_one_runs(case: Case) -> None:
    case.collect(raw_entry("a", group="puppet", config="x", name="10", resource="a"), script("b", name="20"))
    case.advance()
    result = case.entry("a").result
    assert result is not None and result.status_code == 1 and "no executable puppet" in result.stderr
    assert case.hooks.ran == ["b"]


def test_a_hook_that_cannot_be_started_fails_with_the_reason(case: Case) -> None:
    def broken(*_: object, **__: object) -> HookRun:
        raise HookError("hook script: Exec format error")

    case.collect(script("a"))
    case.begin(start=broken)
    case.advance()
    result = case.entry().result
    assert result is not None and "Exec format error" in result.stderr and case.queue.pause() is None


def test_an_id_that_is_no_file_name_fails_alone(case: Case) -> None:
    case.collect(script("../../etc/x", resource="r", name="10"), script("b", name="20"))
    case.advance()
    result = case.entry("../../etc/x").result
    assert result is not None and "name a file" in result.stderr and case.hooks.ran == ["b"]


def test_a_hook_whose_entry_vanishes_ends_unheard_and_the_next_one_runs(case: Case) -> None:
    case.collect(script("a"), script("b"))
    case.advance()
    other = Store.open(case.settings.store_file)
    take_in(other, source(script("b")))
    other.close()
    case.ledger.take_news()
    case.advance()
    assert case.hooks.ran == ["a"], "still running"
    case.time.advance(1.0)
    case.advance()
    assert case.hooks.ran == ["a", "b"] and case.entry("b").state == WORKING


def test_what_is_not_due_is_not_run(case: Case) -> None:
    case.collect(script("a"))
    case.queue.advance([])
    assert case.hooks.ran == [] and case.entry().state == WANTED and case.queue.pause() is None


class WatchedHook(FakeHook):
    """A hook with a descriptor to watch."""

    def fileno(self) -> int:
        return 77


def test_the_end_of_a_hook_wakes_the_loop(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    watched: list[int] = []
    monkeypatch.setattr(case.wake, "watch", watched.append)
    monkeypatch.setattr(case.wake, "unwatch", watched.remove)
    case.collect(script("a"))
    case.begin(start=lambda *_, **__: WatchedHook(case.time, 1.0, Result(0, "", "")))  # type: ignore[arg-type]
    case.advance()
    assert watched == [77] and case.queue.pause() == 60.0, "nothing to ask for until it is told"
    case.time.advance(1.0)
    case.advance()
    assert watched == [] and case.entry().state == DONE
