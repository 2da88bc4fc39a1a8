"""The store: what is wanted and when an entry vanishes; what survives, and what is done with a store that did not."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support import START, KeptLog, identity, live, make_row, only, pod_map, raw_entry, source, take_in

from heat_config_kubelet.deployments import read
from heat_config_kubelet.errors import DamagedStoreError, StoreError
from heat_config_kubelet.metadata import read_sources
from heat_config_kubelet.pods import pods_of
from heat_config_kubelet.store import (
    _MIGRATIONS,
    DELIVERED,
    DONE,
    DROPPED,
    HOOK,
    PENDING,
    REMOVING,
    RUN,
    SCHEMA_VERSION,
    UNSENT,
    WANTED,
    WORKING,
    WRITING,
    Event,
    Store,
    open_or_restart,
)
from heat_config_kubelet.values import Identity, PodKey, Result, Source

ANSWER = Result(1, "out", "err", {"why": "because"})


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "store.sqlite"


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    made = Store.open(path)
    yield made
    made.close()


def kinds(store: Store, entry_id: str) -> list[str]:
    return [event.kind for event in store.events(entry_id)]


# --- the file


def test_the_store_is_for_root_alone(store: Store, path: Path) -> None:
    take_in(store, source(raw_entry("a")))
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert {stat.S_IMODE(each.stat().st_mode) for each in path.parent.iterdir()} == {0o600}


def test_what_was_committed_is_there_after_a_crash(store: Store, path: Path) -> None:
    take_in(store, source(raw_entry("a")))
    with store.transaction():
        store.decide("a", ANSWER, PENDING, START)
    again = Store.open(path)
    entry = only(again.entries())
    assert (entry.state, entry.result, entry.signal) == (DONE, ANSWER, PENDING)
    again.close()


def record_and_fail(store: Store) -> None:
    with store.transaction():
        store.record([source(raw_entry("a"))], RUN, START)
        raise StoreError("cut short")


def test_a_transaction_that_fails_leaves_nothing(store: Store) -> None:
    with pytest.raises(StoreError, match="cut short"):
        record_and_fail(store)
    assert store.entries() == () and store.answered() == frozenset()


def test_a_missing_store_is_only_made_where_that_is_wanted(path: Path) -> None:
    with pytest.raises(StoreError, match="there is no store yet") as caught:
        Store.open(path, create=False)
    assert caught.value.hint and not path.parent.exists()


def test_a_store_of_a_newer_release_is_left_alone_and_said(store: Store, path: Path) -> None:
    store.close()
    with sqlite3.connect(path) as raw:
        raw.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    raw.close()
    before = path.read_bytes()
    with pytest.raises(
        StoreError, match=f"version {SCHEMA_VERSION + 1}, this release knows {SCHEMA_VERSION}"
    ) as caught:
        open_or_restart(path, START, KeptLog())
    assert "newer release" in caught.value.hint and not isinstance(caught.value, DamagedStoreError)
    assert path.read_bytes() == before


def damage_the_head(path: Path) -> None:
    path.write_bytes(b"no database at all" * 100)


def damage_a_page(path: Path) -> None:
    with path.open("r+b") as handle:
        size = handle.seek(0, os.SEEK_END)
        handle.seek(4096)
        handle.write(b"\xa5" * (size - 4096))


@pytest.mark.parametrize("damage", [damage_the_head, damage_a_page])
def test_a_damaged_store_is_set_aside_and_a_new_one_begun(path: Path, damage: Any) -> None:
    """Whole pages can be lost too, which opening alone does not show."""
    first = Store.open(path)
    take_in(first, source(*(raw_entry(f"id-{number}", resource=f"r{number}") for number in range(50))))
    first.close()
    damage(path)
    spoilt = path.read_bytes()
    log = KeptLog()
    begun = open_or_restart(path, START, log)
    assert begun.entries() == ()
    begun.close()
    (aside,) = (each for each in path.parent.iterdir() if "damaged" in each.name)
    assert aside.read_bytes() == spoilt and stat.S_IMODE(aside.stat().st_mode) == 0o600
    assert "store damaged, a new one begun" in log.text and str(aside) in log.text


def test_a_sound_store_is_not_set_aside(store: Store, path: Path) -> None:
    take_in(store, source(raw_entry("a")))
    log = KeptLog()
    again = open_or_restart(path, START, log)
    assert list(live(again)) == ["a"] and log.text == ""
    again.close()


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="file"):
        Store.open(tmp_path / "file" / "store.sqlite")
    (tmp_path / "store.sqlite").mkdir()
    with pytest.raises(StoreError, match=r"store\.sqlite"):
        Store.open(tmp_path / "store.sqlite")


def test_another_writer_is_noticed_and_we_are_not(store: Store, path: Path) -> None:
    before = store.version()
    take_in(store, source(raw_entry("a")))
    assert store.version() == before
    other = Store.open(path)
    other.put("x", "1")
    other.close()
    assert store.version() != before


def test_values_of_the_stores_own_are_kept_by_name(store: Store) -> None:
    assert store.get("mode") is None
    store.put("mode", "run")
    store.put("mode", "hook")
    assert store.get("mode") == "hook"


# --- what is wanted, and when it vanishes


def test_entries_come_in_the_order_in_which_they_were_first_seen(store: Store) -> None:
    take_in(store, source(raw_entry("b"), raw_entry("a", resource="x")))
    take_in(store, source(raw_entry("0", resource="y"), raw_entry("b"), raw_entry("a", resource="x")))
    assert list(live(store)) == ["b", "a", "0"]


def test_a_new_entry_is_wanted_and_told(store: Store) -> None:
    with store.transaction():
        recorded = store.record([source(raw_entry("a"))], RUN, START)
    assert recorded.added == (identity(),) and recorded.vanished == () and recorded.problems == ()
    entry = only(store.entries())
    assert (entry.state, entry.signal, entry.sources, entry.seen_at, entry.mode) == (WANTED, "", ("heat",), START, RUN)
    assert store.answered() == {"heat"} and kinds(store, "a") == ["collected"]


def test_the_same_answer_again_changes_nothing(store: Store) -> None:
    take_in(store, source(raw_entry("a")))
    with store.transaction():
        store.decide("a", ANSWER, PENDING, START)
        recorded = store.record([source(raw_entry("a"))], RUN, START + 1)
    assert (recorded.added, recorded.vanished) == ((), ())
    assert only(store.entries()).state == DONE and kinds(store, "a") == ["collected", "failed"]


def test_an_entry_vanishes_when_its_source_answers_without_it(store: Store) -> None:
    take_in(store, source(raw_entry("a"), raw_entry("b", resource="x")))
    with store.transaction():
        recorded = store.record([source(raw_entry("b", resource="x"))], RUN, START + 9)
    assert recorded.vanished == (identity(),) and list(live(store)) == ["b"]
    gone = next(each for each in store.entries(vanished=True) if each.deployment.id == "a")
    assert gone.vanished_at == START + 9 and kinds(store, "a") == ["collected", "vanished"]


def test_the_boot_copys_empty_list_removes_nothing_of_another_source(store: Store) -> None:
    """Nova's user data says `deployments: []` for ever; when Heat does not answer that is all a run gets."""
    take_in(store, source(raw_entry("a")), source(name="heat_local"))
    take_in(store, source(name="heat_local"))
    assert list(live(store)) == ["a"]


@pytest.mark.parametrize("content", ["", "{", '{"deployments": {}}', '{"os-collect-config": {}}', None])
def test_a_source_that_says_nothing_removes_nothing(store: Store, tmp_path: Path, content: str | None) -> None:
    """An unreadable file, one without the key, one that is not there."""
    take_in(store, source(raw_entry("a")))
    file = tmp_path / "heat.json"
    if content is not None:
        file.write_text(content)
    take_in(store, *read_sources((file,)))
    assert list(live(store)) == ["a"]


def test_a_source_that_did_not_answer_removes_nothing(store: Store) -> None:
    take_in(store, source(raw_entry("a")), source(raw_entry("b", resource="x"), name="local"))
    take_in(store, source(name="local"))
    assert list(live(store)) == ["a"]


def test_an_entry_of_two_sources_vanishes_with_the_last_of_them(store: Store) -> None:
    take_in(store, source(raw_entry("a")), source(raw_entry("a"), name="cfn"))
    assert only(store.entries()).sources == ("cfn", "heat")
    take_in(store, source())
    assert only(store.entries()).sources == ("cfn",)
    take_in(store, source(name="cfn"))
    assert store.entries() == ()


@pytest.mark.parametrize("odd", ["text", {"id": 5, "name": "x"}, {"id": "x\ud800", "name": "x"}, None])
def test_an_entry_that_cannot_be_read_stops_no_other_and_removes_nothing(store: Store, odd: Any) -> None:
    """What is missing in that answer may be that very entry."""
    take_in(store, source(raw_entry("a")))
    with store.transaction():
        recorded = store.record([source(odd, raw_entry("b", resource="x"))], RUN, START)
    assert sorted(live(store)) == ["a", "b"] and recorded.vanished == ()
    assert only(recorded.problems).startswith("heat: deployments[0]: ")


def test_a_sources_problem_is_told(store: Store) -> None:
    with store.transaction():
        assert store.record([Source("heat", None, "heat.json: odd")], RUN, START).problems == ("heat.json: odd",)
    assert store.answered() == frozenset()


def test_content_that_changes_under_its_old_id_is_taken_as_a_new_action(store: Store) -> None:
    """Heat gives a new id for every action; metadata written by hand may keep it."""
    take_in(store, source(raw_entry("a")))
    with store.transaction():
        store.decide("a", ANSWER, DELIVERED, START)
    take_in(store, source(raw_entry("a", config=pod_map("other"))), now=START + 5)
    entry = only(store.entries())
    assert (entry.state, entry.result, entry.signal, entry.seen_at) == (WANTED, None, "", START + 5)
    assert entry.deployment.config == pod_map("other")


def test_two_sources_that_differ_about_one_id_do_not_take_turns(store: Store) -> None:
    first, second = source(raw_entry("a")), source(raw_entry("a", created="later"), name="cfn")
    take_in(store, first, second)
    with store.transaction():
        store.decide("a", ANSWER, DELIVERED, START)
    take_in(store, first, second)
    assert only(store.entries()).state == DONE


def test_an_entry_that_comes_back_after_its_answer_is_not_answered_again(store: Store) -> None:
    """A source that was behind for once must not make an old configuration signal: that completes the newer one."""
    take_in(store, source(raw_entry("a")))
    with store.transaction():
        store.decide("a", ANSWER, DELIVERED, START)
    take_in(store, source())
    take_in(store, source(raw_entry("a")))
    entry = only(store.entries())
    assert (entry.state, entry.signal) == (DONE, DELIVERED)


def test_an_entry_that_comes_back_before_it_was_signalled_is_done_anew(store: Store) -> None:
    take_in(store, source(raw_entry("a")))
    with store.transaction():
        store.decide("a", ANSWER, PENDING, START)
    take_in(store, source())
    assert store.drop_vanished_signals(START) == ("a",)
    take_in(store, source(raw_entry("a")))
    entry = only(store.entries())
    assert (entry.state, entry.signal, entry.result) == (WANTED, "", None)


# --- one deployment by itself


def want(store: Store, raw: dict[str, Any], now: float = START) -> None:
    with store.transaction():
        store.want_again(read(raw, "test"), HOOK, HOOK, now)


def test_the_next_action_that_comes_by_itself_takes_the_former_ones_place(store: Store) -> None:
    want(store, raw_entry("a"))
    want(store, raw_entry("x", resource="other"))
    want(store, raw_entry("b", action="UPDATE"))
    assert list(live(store)) == ["x", "b"]


def test_what_was_decided_is_done_anew_when_it_is_asked_for_again(store: Store) -> None:
    want(store, raw_entry("a"))
    with store.transaction():
        store.decide("a", ANSWER, UNSENT, START)
        store.note_given("a", START)
    assert only(store.entries()).signal == DELIVERED
    want(store, raw_entry("a"))
    entry = only(store.entries())
    assert (entry.state, entry.result) == (WANTED, None)


def test_a_result_that_nobody_has_asked_for_yet_is_kept(store: Store) -> None:
    want(store, raw_entry("a"))
    with store.transaction():
        store.note_given("a", START)
        store.decide("a", ANSWER, UNSENT, START)
    want(store, raw_entry("a"))
    entry = only(store.entries())
    assert (entry.state, entry.result, entry.signal) == (DONE, ANSWER, UNSENT)


def test_what_is_under_way_goes_on_when_it_is_asked_for_again(store: Store) -> None:
    want(store, raw_entry("a"))
    with store.transaction():
        store.set_state("a", WORKING, START)
    want(store, raw_entry("a"))
    assert only(store.entries()).state == WORKING


def test_what_had_vanished_is_not_answered_with_its_old_result(store: Store) -> None:
    take_in(store, source(raw_entry("a")), mode=HOOK)
    with store.transaction():
        store.decide("a", ANSWER, UNSENT, START)
    take_in(store, source(), mode=HOOK)
    want(store, raw_entry("a"))
    entry = only(store.entries())
    assert (entry.state, entry.result, entry.vanished_at) == (WANTED, None, None)


def test_an_entry_that_came_by_itself_vanishes_by_the_source_that_lists_it_later(store: Store) -> None:
    """An image that gets `record` later: else nobody would ever say that the entry has gone."""
    want(store, raw_entry("a"))
    take_in(store, source(raw_entry("a")), mode=HOOK)
    take_in(store, source(), mode=HOOK)
    assert store.entries() == ()


# --- what became of it


def test_an_entrys_life_is_told_in_its_events(store: Store) -> None:
    take_in(store, source(raw_entry("a")))
    with store.transaction():
        store.set_state("a", WORKING, START + 1)
        store.set_state("a", WORKING, START + 2)
        store.set_hook("a", "pid")
        assert only(store.entries()).hook == "pid"
        store.decide("a", ANSWER, PENDING, START + 3)
        store.set_signal("a", PENDING, "503", START + 4, attempts=1, next_attempt=START + 5)
    entry = only(store.entries())
    assert (entry.started_at, entry.decided_at, entry.hook) == (START + 1, START + 3, "")
    assert (entry.signal, entry.attempts, entry.next_attempt, entry.answer) == (PENDING, 1, START + 5, "503")
    assert [(event.kind, event.text) for event in store.events("a")][1:] == [("failed", ""), ("signal pending", "503")]


def test_a_step_is_noted_once_until_the_entry_is_collected_again(store: Store) -> None:
    take_in(store, source(raw_entry("a"), raw_entry("b", resource="x")))
    for step in (Event(START + 1, "a", "ready", "", "default/web", uid) for uid in ("1", "1", "2")):
        store.event_once(step)
    store.event_once(Event(START + 2, "b", "ready", "", "default/web", "1"))
    assert [(each.uid, each.at) for each in store.events("a")[1:]] == [("1", START + 1), ("2", START + 1)]
    store.event("a", "collected", "again", START + 3)
    for _ in range(2):
        store.event_once(Event(START + 4, "a", "ready", "", "default/web", "1"))
    assert [each.kind for each in store.events("a")] == ["collected", "ready", "ready", "collected", "ready"]


def test_the_last_events_of_all_are_in_the_order_in_which_they_happened(store: Store) -> None:
    take_in(store, source(raw_entry("a"), raw_entry("b", resource="x")))
    store.event_once(Event(START - 1, "b", "ready", "", "default/web", "1"))
    store.event_once(Event(START + 1, "a", "ready", "", "default/web", "2"))
    assert [(each.entry_id, each.kind) for each in store.last_events(3)] == [
        ("a", "collected"),
        ("b", "collected"),
        ("a", "ready"),
    ]
    assert len(store.last_events(10)) == 4


def test_an_older_stores_events_are_kept(path: Path) -> None:
    path.parent.mkdir()
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as raw:
        for statement in _MIGRATIONS[0]:
            raw.execute(statement)
        raw.execute("INSERT INTO event VALUES (?, 'a', 'collected', '')", (START,))
        raw.execute("PRAGMA user_version = 1")
    with contextlib.closing(Store.open(path)) as store:
        assert store.events("a") == (Event(START, "a", "collected", ""),)


def test_a_skipped_entry_is_done_without_a_result(store: Store) -> None:
    take_in(store, source(raw_entry("a")))
    with store.transaction():
        store.skip("a", DROPPED, "superseded", START)
    entry = only(store.entries())
    assert (entry.state, entry.result, entry.signal, entry.answer) == (DONE, None, DROPPED, "superseded")


def test_signals_of_what_vanished_are_dropped_and_why(store: Store) -> None:
    take_in(store, source(raw_entry("old"), raw_entry("gone", resource="x"), raw_entry("kept", resource="y")))
    with store.transaction():
        for entry_id in ("old", "gone", "kept"):
            store.decide(entry_id, ANSWER, PENDING, START)
    take_in(store, source(raw_entry("new", action="UPDATE"), raw_entry("kept", resource="y")))
    assert set(store.drop_vanished_signals(START)) == {"old", "gone"}
    answers = {each.deployment.id: (each.signal, each.answer) for each in store.entries(vanished=True)}
    assert answers["old"] == (DROPPED, "superseded by a newer configuration")
    assert answers["gone"] == (DROPPED, "vanished from the metadata")
    assert answers["kept"][0] == PENDING


def test_old_entries_and_events_are_pruned_and_nothing_else(store: Store) -> None:
    take_in(store, source(raw_entry("a"), raw_entry("b", resource="x")))
    take_in(store, source(raw_entry("b", resource="x")), now=START)
    store.prune(START + 7 * 86400 - 1)
    assert len(store.entries(vanished=True)) == 2
    store.prune(START + 7 * 86400 + 1)
    assert [each.deployment.id for each in store.entries(vanished=True)] == ["b"]
    with store.transaction():
        for number in range(5100):
            store.event("b", "x", str(number), START)
    store.prune(START)
    assert len(store.events("b")) == 5000 and store.events("b")[-1].text == "5099"


# --- a disk that cannot be written


def test_a_store_that_cannot_be_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a store?#%.sqlite"
    with contextlib.closing(Store.open(path)) as store:
        take_in(store, source(raw_entry("a")))
        with pytest.raises(StoreError, match=r"what was written last is in .*-wal, which cannot be read now"):
            Store.open_unwritable(path)
    before = sorted(tmp_path.iterdir())
    with contextlib.closing(Store.open_unwritable(path)) as store:
        assert only(store.entries()).deployment.id == "a"
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            store.put("a", "b")
    assert sorted(tmp_path.iterdir()) == before
    with pytest.raises(StoreError):
        Store.open_unwritable(tmp_path / "none")
    assert sorted(tmp_path.iterdir()) == before


# --- manifests


def test_a_manifests_phases_are_kept(store: Store) -> None:
    (wanted,) = pods_of(pod_map(), identity=identity())
    row = make_row(wanted, identity(), phase=WRITING)
    store.put_pod(row)
    assert store.pods() == (row,)
    changed = store.set_phase(row, REMOVING, START + 1)
    assert store.pods() == (changed,) and (changed.phase, changed.since) == (REMOVING, START + 1)
    store.drop_pod(PodKey("default", "web"))
    assert store.pods() == ()


def test_names_of_any_kind_are_kept(store: Store) -> None:
    take_in(store, source(raw_entry("a", resource="größe '\"; DROP TABLE entry; --", stack="s\x00/1")))
    assert only(store.entries()).deployment.identity == Identity("s\x00/1", "größe '\"; DROP TABLE entry; --")
