"""Delivering results: beside the loop, until they are taken, and never one that is superseded."""

from __future__ import annotations

import json
import random
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import START, FakeTime, KeptLog, raw_entry, source, take_in

from heat_config_kubelet.delivery import THREADS, Delivery
from heat_config_kubelet.ledger import Ledger
from heat_config_kubelet.settings import Settings
from heat_config_kubelet.signals import Answer, AnswerKind
from heat_config_kubelet.store import DELIVERED, DOUBTFUL, DROPPED, PENDING, REFUSED, UNSENT, Entry, Store
from heat_config_kubelet.values import Deployment, Result

YEAR = 365 * 86400.0
T1, T2, T3 = "2026-11-22T10:00:00Z", "2026-11-22T11:00:00Z", "2026-11-22T12:00:00Z"


class FakeHeat:
    """Answers as it is told; `hold` makes its endpoint hang."""

    def __init__(self) -> None:
        self.answers: dict[str, list[Answer | Exception]] = {}
        self.got: list[tuple[str, dict[str, object]]] = []
        self.open = threading.Event()
        self.open.set()
        self.under_way = threading.Semaphore(0)

    def send(self, deployment: Deployment, body: bytes) -> Answer:
        self.got.append((deployment.id, json.loads(body)))
        self.under_way.release()
        self.open.wait(10)
        answers = self.answers.get(deployment.id)
        answer = answers.pop(0) if answers else Answer(AnswerKind.ACCEPTED, "200")
        if isinstance(answer, Exception):
            raise answer
        return answer

    @property
    def order(self) -> list[str]:
        return [entry_id for entry_id, _ in self.got]


class Case:
    def __init__(self, folder: Path) -> None:
        self.time = FakeTime()
        self.log = KeptLog()
        self.heat = FakeHeat()
        self.settings = Settings(folder / "none", state_dir=folder)
        self.other = Store.open(folder / "store.sqlite")
        self.ledger = Ledger(Store.open(folder / "store.sqlite"), self.time.clock, self.log)
        self.ended = threading.Semaphore(0)
        self.delivery = self.begin()

    def begin(self) -> Delivery:
        """A new life of the loop."""
        self.ledger = Ledger(self.ledger.store, self.time.clock, self.log)
        self.ledger.take_news()
        self.delivery = Delivery(self.ledger, self.heat, self.settings, self.ended.release, random.Random(7))
        return self.delivery

    def decide(self, *entry_ids: str, code: int = 0) -> None:
        self.ledger.take_news()
        for entry_id in entry_ids:
            self.ledger.decide(self.ledger.entries[entry_id], Result(code, f"out of {entry_id}", ""))

    def entry(self, entry_id: str) -> Entry:
        return self.ledger.entries[entry_id]

    def deliver(self, count: int) -> None:
        """Send what is due, of which there is so much, and take in the answers."""
        self.delivery.advance()
        for _ in range(count):
            assert self.ended.acquire(timeout=10), "an attempt that was due was not made"
        self.delivery.advance()


@pytest.fixture
def case(tmp_path: Path) -> Iterator[Case]:
    made = Case(tmp_path)
    yield made
    made.heat.open.set()
    made.ledger.store.close()
    made.other.close()


def test_a_result_is_sent_and_noted_as_delivered(case: Case) -> None:
    take_in(case.other, source(raw_entry("a")))
    case.decide("a", code=1)
    case.deliver(1)
    assert case.heat.got == [("a", {"deploy_stdout": "out of a", "deploy_stderr": "", "deploy_status_code": 1})]
    assert (case.entry("a").signal, case.entry("a").attempts) == (DELIVERED, 1)
    assert case.delivery.pause() is None


@pytest.mark.parametrize(
    ("kind", "signal"),
    [(AnswerKind.REFUSED, REFUSED), (AnswerKind.EXPIRED, DROPPED), (AnswerKind.NOTHING, UNSENT)],
)
def test_a_final_answer_ends_it(case: Case, kind: AnswerKind, signal: str) -> None:
    take_in(case.other, source(raw_entry("a")))
    case.decide("a")
    case.heat.answers["a"] = [Answer(kind, "why")]
    case.deliver(1)
    assert (case.entry("a").signal, case.entry("a").answer) == (signal, "why")
    assert case.delivery.pause() is None


def test_a_signal_that_was_not_taken_is_sent_again_with_back_off(case: Case) -> None:
    take_in(case.other, source(raw_entry("a")))
    case.decide("a")
    case.heat.answers["a"] = [Answer(AnswerKind.RETRY, "503")] * 4
    pauses = []
    for _ in range(4):
        case.deliver(1)
        assert case.entry("a").signal == PENDING
        pause = case.delivery.pause()
        assert pause is not None
        pauses.append(pause)
        case.time.advance(pause * 0.9)
        case.delivery.advance()
        assert case.delivery._threads.under_way == set(), "not before its time"
        case.time.advance(pause * 0.1 + 0.01)
    assert pauses == sorted(pauses) and pauses[3] > 4 * pauses[0]
    case.deliver(1)
    assert (case.entry("a").signal, case.entry("a").attempts) == (DELIVERED, 5)


def test_a_servers_retry_after_is_waited_for(case: Case) -> None:
    take_in(case.other, source(raw_entry("a")))
    case.decide("a")
    case.heat.answers["a"] = [Answer(AnswerKind.RETRY, "429", retry_after=45.0)]
    case.deliver(1)
    pause = case.delivery.pause()
    assert pause is not None and 45.0 <= pause <= 50.0


def test_a_retry_is_remembered_over_a_restart(case: Case) -> None:
    take_in(case.other, source(raw_entry("a")))
    case.decide("a")
    case.heat.answers["a"] = [Answer(AnswerKind.RETRY, "503", retry_after=45.0)]
    case.deliver(1)
    case.begin().advance()
    assert case.heat.order == ["a"], "not due yet"
    case.time.advance(60)
    case.deliver(1)
    assert case.entry("a").signal == DELIVERED and case.entry("a").attempts == 2


@pytest.mark.parametrize("years", [-10, 10])
def test_a_corrected_clock_changes_no_wait(case: Case, years: int) -> None:
    """A node's first boot may correct its time of day by years, before it can reach Heat at all."""
    take_in(case.other, source(raw_entry("a")))
    case.decide("a")
    case.heat.answers["a"] = [Answer(AnswerKind.RETRY, "no route")]
    case.deliver(1)
    before = case.delivery.pause()
    case.time.jump(years * YEAR)
    assert case.delivery.pause() == pytest.approx(before)
    case.delivery.advance()
    assert case.heat.order == ["a"]
    case.time.advance(2)
    case.deliver(1)
    assert case.entry("a").signal == DELIVERED


def test_a_time_from_a_wrong_future_is_waited_for_an_hour_at_most(case: Case) -> None:
    take_in(case.other, source(raw_entry("a")))
    case.decide("a")
    case.ledger.note_retry(case.entry("a"), "503", START + 10 * YEAR)
    case.begin().pause()
    case.time.advance(1.2 * 3600)
    case.deliver(1)
    assert case.entry("a").signal == DELIVERED


def test_what_is_too_old_is_given_up(case: Case) -> None:
    take_in(case.other, source(raw_entry("a")))
    case.decide("a")
    case.time.advance(case.settings.signal_max_age + 1)
    case.delivery.advance()
    assert case.entry("a").signal == DROPPED and "too old" in case.entry("a").answer
    assert case.heat.got == []


def test_news_between_plan_and_delivery_stops_a_superseded_signal(case: Case) -> None:
    """It names the resource, not the configuration: sent now, it would complete the newer one."""
    take_in(case.other, source(raw_entry("a")))
    case.decide("a")
    take_in(case.other, source(raw_entry("b", action="UPDATE")))
    case.delivery.advance()
    assert case.heat.got == [] and case.delivery._threads.under_way == set()
    case.ledger.take_news()
    case.delivery.advance()
    assert case.heat.got == [] and list(case.ledger.entries) == ["b"]


def test_an_answer_to_what_vanished_meanwhile_is_passed_over(case: Case) -> None:
    take_in(case.other, source(raw_entry("a")))
    case.decide("a")
    case.heat.open.clear()
    case.delivery.advance()
    take_in(case.other, source())
    case.ledger.take_news()
    case.heat.open.set()
    assert case.ended.acquire(timeout=10)
    case.delivery.advance()
    assert case.delivery.pause() is None and not case.ledger.entries


@pytest.mark.parametrize("transport", ["CFN_SIGNAL", "HEAT_SIGNAL"])
def test_a_replaced_entrys_signal_waits_for_its_successors(case: Case, transport: str) -> None:
    """Heat gives it to the successor, which it would complete too early."""
    old = raw_entry("old", action="DELETE", created=T3, transport=transport)
    take_in(case.other, source(raw_entry("new", created=T2, transport=transport), old))
    case.decide("old")
    case.delivery.advance()
    assert case.heat.got == [] and case.delivery.pause() == 60.0, "nothing is asked over and over"
    case.decide("new")
    case.deliver(1)
    case.deliver(1)
    assert case.heat.order == ["new", "old"]
    assert (case.entry("old").signal, case.entry("new").signal) == (DOUBTFUL, DELIVERED)


@pytest.mark.parametrize("transport", ["CFN_SIGNAL", "HEAT_SIGNAL"])
def test_a_replaced_entrys_delete_that_heat_takes_for_the_successor_is_told(case: Case, transport: str) -> None:
    """Heat answers 200, and waits on."""
    old = raw_entry("old", action="DELETE", created=T3, transport=transport)
    take_in(case.other, source(raw_entry("new", created=T2, transport="NO_SIGNAL"), old))
    case.decide("new", "old")
    case.deliver(1)
    told = case.entry("old").answer
    assert told.startswith(f"200; {transport} names the resource, and Heat may have given this to new")
    assert "needs signal_transport TEMP_URL_SIGNAL or ZAQAR_SIGNAL" in told
    assert "WARNING signal doubtful" in case.log.text


def test_a_delete_without_a_successor_is_delivered(case: Case) -> None:
    take_in(case.other, source(raw_entry("old", action="DELETE"), raw_entry("x", resource="other")))
    case.decide("old")
    case.deliver(1)
    assert case.entry("old").signal == DELIVERED


@pytest.mark.parametrize("transport", ["TEMP_URL_SIGNAL", "ZAQAR_SIGNAL"])
def test_a_replaced_entry_with_an_address_of_its_own_is_answered_at_once(case: Case, transport: str) -> None:
    old = raw_entry("old", action="DELETE", created=T3, transport=transport)
    take_in(case.other, source(raw_entry("new", created=T2, transport=transport), old))
    case.decide("old")
    case.deliver(1)
    assert case.heat.order == ["old"] and case.entry("old").signal == DELIVERED


def hanging(count: int) -> list[dict[str, object]]:
    return [raw_entry(f"e{number}", resource=f"r{number}") for number in range(count)]


def test_an_endpoint_that_hangs_holds_up_nobody(case: Case) -> None:
    take_in(case.other, source(*hanging(THREADS + 3)))
    case.ledger.take_news()
    case.heat.open.clear()
    case.decide(*case.ledger.entries)
    case.delivery.advance()
    for _ in range(THREADS):
        assert case.heat.under_way.acquire(timeout=10)
    assert len(case.heat.got) == THREADS, "so many at a time"
    case.delivery.advance()
    assert case.delivery.pause() == 60.0, "what is due and has no thread is not asked for over and over"
    case.heat.open.set()
    for _ in range(THREADS):
        assert case.ended.acquire(timeout=10)
    case.deliver(3)
    assert {entry.signal for entry in case.ledger.entries.values()} == {DELIVERED}
    assert sorted(case.heat.order) == sorted(case.ledger.entries), "each once"


def test_what_is_superseded_while_every_endpoint_hangs_is_not_sent(case: Case) -> None:
    """It was due before, and waited for a thread only."""
    others = hanging(THREADS)
    take_in(case.other, source(*others, raw_entry("a", resource="x"), raw_entry("old", resource="y", created=T1)))
    case.ledger.take_news()
    case.heat.open.clear()
    case.decide(*case.ledger.entries)
    case.delivery.advance()
    for _ in range(THREADS):
        assert case.heat.under_way.acquire(timeout=10)
    update = raw_entry("b", resource="x", action="UPDATE")
    old, new = raw_entry("old", resource="y", created=T1), raw_entry("new", resource="y", created=T2)
    take_in(case.other, source(*others, update, old, new))
    case.decide("b", "new")
    case.heat.open.set()
    for _ in range(THREADS):
        assert case.ended.acquire(timeout=10)
    case.deliver(2)
    assert sorted(case.heat.order[THREADS:]) == ["b", "new"]
    assert case.entry("b").signal == case.entry("new").signal == DELIVERED
    assert case.entry("old").signal == DROPPED and "superseded by new" in case.entry("old").answer


def test_what_has_been_due_longest_is_sent_first(case: Case) -> None:
    take_in(case.other, source(*hanging(THREADS + 1)))
    case.ledger.take_news()
    case.decide(*case.ledger.entries)
    for number in range(THREADS + 1):
        case.ledger.note_retry(case.entry(f"e{number}"), "503", START + 50 - number)
    case.time.advance(100)
    case.heat.open.clear()
    case.delivery.advance()
    assert case.delivery._threads.under_way == {f"e{number}" for number in range(1, THREADS + 1)}


@pytest.mark.parametrize("kind", [AnswerKind.ACCEPTED, AnswerKind.REFUSED, AnswerKind.RETRY])
def test_an_answer_to_an_entrys_former_result_is_passed_over(case: Case, kind: AnswerKind) -> None:
    """Metadata written by hand may keep an id for a new content."""
    take_in(case.other, source(raw_entry("a")))
    case.decide("a", code=1)
    case.heat.answers["a"] = [Answer(kind, "of the former")]
    case.heat.open.clear()
    case.delivery.advance()
    assert case.heat.under_way.acquire(timeout=10)
    case.time.advance(5)
    take_in(case.other, source(raw_entry("a", action="UPDATE")))
    case.decide("a")
    assert case.entry("a").signal == PENDING
    case.heat.open.set()
    assert case.ended.acquire(timeout=10)
    case.deliver(1)
    assert [body["deploy_status_code"] for _, body in case.heat.got] == [1, 0]
    assert (case.entry("a").signal, case.entry("a").answer, case.entry("a").attempts) == (DELIVERED, "200", 1)


def test_a_bug_of_ours_loses_no_result(case: Case) -> None:
    take_in(case.other, source(raw_entry("a")))
    case.decide("a")
    case.heat.answers["a"] = [ZeroDivisionError("planted-secret")]
    case.deliver(1)
    assert case.entry("a").signal == PENDING and case.entry("a").answer == "internal error: ZeroDivisionError"
    case.time.advance(5)
    case.deliver(1)
    assert case.entry("a").signal == DELIVERED and "planted" not in case.log.text


def test_a_signal_that_was_cut_short_by_a_crash_is_sent_again(case: Case) -> None:
    take_in(case.other, source(raw_entry("a")))
    case.decide("a")
    case.heat.open.clear()
    case.delivery.advance()
    assert case.heat.under_way.acquire(timeout=10)
    case.begin()
    case.heat.open.set()
    assert case.ended.acquire(timeout=10), "the former life's attempt ends unheard"
    case.deliver(1)
    assert case.heat.order == ["a", "a"] and case.entry("a").signal == DELIVERED


def test_what_is_not_to_be_signalled_is_not_sent(case: Case) -> None:
    take_in(case.other, source(raw_entry("a", transport="NO_SIGNAL")))
    take_in(case.other, source(raw_entry("b", resource="x"), name="local"), mode="hook")
    case.decide("a", "b")
    case.delivery.advance()
    assert case.heat.got == [] and case.delivery.pause() is None
