"""The loop's view of the store: changes of its own at once, news of others when it asks."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import START, FakeTime, KeptLog, identity, only, raw_entry, source, take_in

from heat_config_kubelet.ledger import Ledger
from heat_config_kubelet.store import (
    DELIVERED,
    DONE,
    DROPPED,
    HOOK,
    PENDING,
    REFUSED,
    RUN,
    UNSENT,
    WANTED,
    WORKING,
    Entry,
    Store,
)
from heat_config_kubelet.values import Result

FINE = Result(0, "fine", "")


class Case:
    """A ledger, and another process that records."""

    def __init__(self, folder: Path) -> None:
        self.time = FakeTime()
        self.log = KeptLog()
        self.other = Store.open(folder / "store.sqlite")
        self.ledger = Ledger(Store.open(folder / "store.sqlite"), self.time.clock, self.log)

    def entry(self, entry_id: str = "a") -> Entry:
        return self.ledger.entries[entry_id]


@pytest.fixture
def case(tmp_path: Path) -> Iterator[Case]:
    made = Case(tmp_path)
    yield made
    made.ledger.store.close()
    made.other.close()


def test_news_of_others_is_taken_in_when_it_is_asked_for(case: Case) -> None:
    assert case.ledger.take_news(), "the first look is news"
    assert not case.ledger.take_news()
    take_in(case.other, source(raw_entry("a")))
    assert case.ledger.has_news() and not case.ledger.entries
    assert case.ledger.take_news() and list(case.ledger.entries) == ["a"]
    assert not case.ledger.has_news()


def test_changes_of_its_own_are_no_news_and_there_at_once(case: Case) -> None:
    take_in(case.other, source(raw_entry("a")))
    case.ledger.take_news()
    begun = case.ledger.begin(case.entry())
    assert begun == case.entry() and begun.state == WORKING and begun.started_at == START
    case.ledger.decide(begun, FINE)
    assert (case.entry().state, case.entry().result, case.entry().signal) == (DONE, FINE, PENDING)
    assert not case.ledger.has_news()


def test_what_has_begun_does_not_begin_again(case: Case) -> None:
    take_in(case.other, source(raw_entry("a")))
    case.ledger.take_news()
    begun = case.ledger.begin(case.entry())
    case.time.advance(5)
    assert case.ledger.begin(begun) is begun and case.entry().started_at == START


@pytest.mark.parametrize(
    ("mode", "transport", "signal"),
    [(RUN, "CFN_SIGNAL", PENDING), (RUN, "NO_SIGNAL", UNSENT), (HOOK, "CFN_SIGNAL", UNSENT)],
)
def test_a_result_is_signalled_only_where_somebody_waits_for_ours(
    case: Case, mode: str, transport: str, signal: str
) -> None:
    """Not with NO_SIGNAL; not where heat-agents signals."""
    take_in(case.other, source(raw_entry("a", transport=transport)), mode=mode)
    case.ledger.take_news()
    case.ledger.decide(case.entry(), FINE)
    assert case.entry().signal == signal


@pytest.mark.parametrize("years", [-10, 0, 10])
def test_time_since_the_beginning_is_not_moved_by_a_corrected_clock(case: Case, years: int) -> None:
    take_in(case.other, source(raw_entry("a")))
    case.ledger.take_news()
    begun = case.ledger.begin(case.entry())
    case.time.advance(5)
    case.time.jump(years * 365 * 86400.0)
    case.time.advance(5)
    assert case.ledger.elapsed(begun) == 10.0


def test_time_since_the_beginning_goes_on_in_the_next_life(case: Case) -> None:
    take_in(case.other, source(raw_entry("a")))
    case.ledger.take_news()
    case.ledger.begin(case.entry())
    case.time.advance(30)
    later = Ledger(case.ledger.store, case.time.clock, case.log)
    later.take_news()
    assert later.elapsed(only(list(later.entries.values()))) == 30.0


def test_signals_of_what_vanished_are_dropped_with_the_news(case: Case) -> None:
    take_in(case.other, source(raw_entry("a")))
    case.ledger.take_news()
    case.ledger.decide(case.entry(), FINE)
    take_in(case.other, source())
    case.ledger.take_news()
    assert not case.ledger.entries and only(case.other.entries(vanished=True)).signal == DROPPED
    assert "signal dropped" in case.log.text


def test_the_owner_is_the_newest_entry_of_an_identity(case: Case) -> None:
    take_in(
        case.other,
        source(
            raw_entry("new", created="2026-11-22T11:00:00Z"),
            raw_entry("old", action="DELETE", created="2026-11-22T12:00:00Z"),
            raw_entry("x", resource="other", created="2026-11-22T13:00:00Z"),
        ),
    )
    case.ledger.take_news()
    assert case.ledger.owners() == {identity(): case.entry("new"), identity("other"): case.entry("x")}


def test_every_attempt_is_counted_and_a_dropped_signal_is_none(case: Case) -> None:
    take_in(case.other, source(raw_entry("a"), raw_entry("b", resource="x")))
    case.ledger.take_news()
    for entry_id in ("a", "b"):
        case.ledger.decide(case.entry(entry_id), FINE)
    case.ledger.note_retry(case.entry(), "503", START + 4)
    assert (case.entry().attempts, case.entry().next_attempt, case.entry().answer) == (1, START + 4, "503")
    case.ledger.note_signal(case.entry(), DELIVERED, "200")
    assert (case.entry().signal, case.entry().attempts) == (DELIVERED, 2)
    case.ledger.note_signal(case.entry("b"), DROPPED, "too old")
    assert (case.entry("b").signal, case.entry("b").attempts) == (DROPPED, 0)
    assert "again_in=4.0" in case.log.text and "WARNING signal dropped" in case.log.text


def test_what_failed_for_good_is_an_error_in_the_log(case: Case) -> None:
    take_in(case.other, source(raw_entry("a"), raw_entry("b", resource="x")))
    case.ledger.take_news()
    case.ledger.decide(case.entry("a"), FINE)
    case.ledger.decide(case.entry("b"), Result(1, "", "no room"))
    case.ledger.note_signal(case.entry("a"), REFUSED, "404")
    levels = [line.partition(" config=")[0] for line in case.log.text.splitlines()]
    assert levels == [
        "INFO deployment decided deployment=shop/deploy action=CREATE status_code=0",
        "ERROR deployment decided deployment=shop/x action=CREATE status_code=1",
        "ERROR signal refused deployment=shop/deploy",
    ]


def test_nothing_secret_comes_into_the_log(case: Case) -> None:
    take_in(
        case.other, source(raw_entry("a", inputs={"deploy_password": "planted-pw"}, config={"token": "planted-tk"}))
    )
    case.ledger.take_news()
    case.ledger.decide(case.ledger.begin(case.entry()), Result(1, "planted-out", "planted-err", {"o": "planted-o"}))
    case.ledger.skip(case.entry(), UNSENT, "for a reason")
    assert "planted" not in case.log.text and "deployment skipped" in case.log.text


def test_a_hooks_process_is_noted(case: Case) -> None:
    take_in(case.other, source(raw_entry("a", group="script", config="x")))
    case.ledger.take_news()
    case.ledger.set_hook(case.entry(), json.dumps({"pid": 7}))
    assert case.entry().hook == '{"pid": 7}' and case.entry().state == WANTED


def test_what_was_seen_of_an_entry_before_it_was_begun_again_is_not_noted(case: Case) -> None:
    take_in(case.other, source(raw_entry("a")))
    case.ledger.take_news()
    begun = case.ledger.begin(case.entry())
    with case.other.transaction():
        case.other.start_again(begun, START + 5, quiet=False)
    case.ledger.decide(begun, FINE)
    case.ledger.skip(begun, DROPPED, "superseded")
    case.ledger.note_signal(begun, DELIVERED, "200")
    case.ledger.note_retry(begun, "503", START + 9)
    entry = only(case.other.entries())
    assert (entry.state, entry.result, entry.signal, entry.attempts) == (WANTED, None, "", 0)
    assert case.ledger.has_news()


def test_an_entry_with_several_pods_begins_once(case: Case) -> None:
    take_in(case.other, source(raw_entry("a")))
    case.ledger.take_news()
    wanted = case.entry()
    assert case.ledger.begin(wanted) == case.ledger.begin(wanted)
    assert [event.kind for event in case.other.events("a")] == ["collected", "started"]
