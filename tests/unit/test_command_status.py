"""`status`: each deployment in each state, what is said below, exit statuses, waiting, and without root."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from commanded import Commanded, Ran
from fake_node import NEVER_PULL, NEVER_READY, Node
from lab import expected
from support import pod_map, raw_entry

from heat_config_kubelet.errors import UNWRITABLE, KubeletError, StoreError
from heat_config_kubelet.signals import Answer, AnswerKind
from heat_config_kubelet.store import Store

OLD_KEYS = {
    *("id", "stack", "resource", "action", "group", "state", "status_code", "since", "signal", "signal_answer"),
}


@pytest.fixture
def case(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Commanded]:
    found = Commanded(tmp_path, monkeypatch, capsys)
    yield found
    found.node.close()


@pytest.fixture
def healthy(case: Commanded) -> Commanded:
    """Two deployments with three pods that run, and a hook's."""
    two = {"apiVersion": "v1", "kind": "List", "items": [pod_map("web"), pod_map("cache")]}
    case.node.collect(
        raw_entry("id-1", resource="front", config=two),
        raw_entry("id-2", resource="db", config=pod_map("db")),
        raw_entry("id-3", resource="job", group="script", config="exit 0"),
    )
    case.node.work()
    return case


def rows(ran: Ran) -> dict[str, dict[str, Any]]:
    return {row["resource"]: row for row in json.loads(ran.out)}


def test_a_node_where_all_is_well(healthy: Commanded) -> None:
    ran = healthy.run("status")
    expected.check("status/healthy", ran.out)
    assert (ran.status, ran.err) == (0, "")
    expected.check("status/healthy-wide", healthy.run("status", "-o", "wide").out)


def test_machines_get_a_list_of_maps(healthy: Commanded) -> None:
    ran = healthy.run("status", "-o", "json")
    found = rows(ran)
    assert all(row.keys() >= OLD_KEYS for row in found.values())
    front = found["front"]
    assert (front["id"], front["stack"], front["state"], front["status_code"]) == ("id-1", "shop", "succeeded", 0)
    assert (front["pods_ready"], front["pods_wanted"], front["health"]) == (2, 2, "well")
    assert front["since"].startswith("2026-11-18T") and front["since"].endswith("Z")
    assert (found["job"]["pods_ready"], found["job"]["pods_wanted"]) == (None, None)
    assert healthy.run("status", "--json").out == ran.out
    assert yaml.safe_load(healthy.run("status", "-o", "yaml").out) == json.loads(ran.out)


def test_one_is_shown_by_any_part_of_its_name(healthy: Commanded) -> None:
    assert rows(healthy.run("status", "-o", "json", "shop/fr")).keys() == {"front"}
    assert rows(healthy.run("status", "-o", "json", "id-2", "job")).keys() == {"db", "job"}
    ran = healthy.run("status", "nobody")
    assert ran.status == 1 and "there is no deployment nobody" in ran.err and "shop/front" in ran.err


def test_what_failed_says_why_and_is_exit_status_1(case: Commanded) -> None:
    case.node.collect(
        raw_entry("id-1", resource="absent", config=pod_map("absent", NEVER_PULL)),
        raw_entry("id-2", resource="wrong", config=pod_map("wrong", colour="red")),
        raw_entry("id-3", resource="good", config=pod_map("good")),
    )
    case.node.work()
    ran = case.run("status")
    expected.check("status/failed", ran.out)
    assert ran.status == 1


def test_what_is_pending_says_what_it_waits_for_and_is_exit_status_2(case: Commanded) -> None:
    case.node.collect(
        raw_entry("id-1", resource="slow", config=pod_map("slow", NEVER_READY)),
        raw_entry("id-2", resource="good", config=pod_map("good")),
    )
    shown: list[Ran] = []
    case.node.after(5, lambda: shown.append(case.run("status")))
    case.node.work()
    (ran,) = shown
    expected.check("status/pending", ran.out)
    assert ran.status == 2


def test_what_was_only_collected_is_pending(case: Commanded) -> None:
    case.node.collect(raw_entry("id-1", resource="front", config=pod_map("web")))
    ran = case.run("status")
    expected.check("status/collected", ran.out)
    assert ran.status == 2


def test_what_nobody_waits_for_is_skipped_and_well(case: Commanded) -> None:
    old, new = raw_entry("id-1", resource="front"), raw_entry("id-2", resource="front", created="2026-11-22T11:00:00Z")
    case.node.collect(old, new)
    case.node.work()
    ran = case.run("status")
    expected.check("status/skipped", ran.out)
    assert ran.status == 0


def test_pods_that_are_not_ready_any_more_make_it_degraded(healthy: Commanded) -> None:
    healthy.node.file("cache").unlink()
    healthy.node.time.advance(60)
    ran = healthy.run("status")
    expected.check("status/degraded", ran.out)
    assert ran.status == 2
    found = rows(healthy.run("status", "--json"))["front"]
    assert (found["state"], found["health"], found["pods_ready"]) == ("succeeded", "degraded", 1)


@pytest.mark.parametrize(
    ("kind", "text"), [(AnswerKind.REFUSED, "404 no such stack"), (AnswerKind.EXPIRED, "its pre-signed URL has ended")]
)
def test_a_signal_that_heat_did_not_take_makes_it_degraded(case: Commanded, kind: AnswerKind, text: str) -> None:
    case.node.heat.answers["id-1"] = [Answer(kind, text)]
    case.node.collect(raw_entry("id-1", resource="front", config=pod_map("web")))
    case.node.work()
    ran = case.run("status")
    assert (
        ran.status == 2 and f"shop/front, CREATE: signal {'refused' if '404' in text else 'dropped'}: {text}" in ran.out
    )


def test_a_signal_that_waits_says_why_how_often_and_until_when(case: Commanded) -> None:
    case.node.heat.answers["id-1"] = [Answer(AnswerKind.RETRY, "503 Service Unavailable")] * 3
    case.node.collect(raw_entry("id-1", resource="front", config=pod_map("web")))
    shown: list[Ran] = []
    case.node.after(4, lambda: shown.append(case.run("status")))
    case.node.work()
    expected.check("status/signal-waits", shown[0].out, also={r"tried \d times": "tried N times"})
    assert shown[0].status == 2


def test_a_kubelet_that_is_down_is_said_and_the_rest_is_shown(healthy: Commanded) -> None:
    healthy.node.kubelet.problem = KubeletError(
        "the kubelet does not answer at https://127.0.0.1:10250", hint="start it"
    )
    ran = healthy.run("status")
    expected.check("status/kubelet-down", ran.out)
    assert ran.status == 2
    ran = healthy.run("status", "-o", "json")
    assert rows(ran)["front"]["pods_ready"] is None and "does not answer" in ran.err


def test_a_collector_that_has_stopped_is_said(healthy: Commanded, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "utime", lambda *_: None)
    healthy.node.settings.os_collect_config_cache.rmdir()
    ran = healthy.run("status")
    assert ran.status == 2 and "it has never collected anything" in ran.out


def test_a_node_without_a_store_says_so_and_makes_none(case: Commanded) -> None:
    case.node.close()
    case.node.settings.store_file.unlink()
    ran = case.run("status")
    assert (ran.status, ran.out) == (1, "no deployments\n") and "there is no store yet" in ran.err
    assert not case.node.settings.store_file.exists()
    case.node.other = Store.open(case.node.settings.store_file)


@pytest.mark.parametrize("name", ["missing", "corrupt", "newer"])
def test_without_a_readable_store_the_manifests_are_shown(healthy: Commanded, name: str) -> None:
    node = healthy.node
    if name == "newer":
        node.other._db.execute("PRAGMA user_version = 99")
    node.close()
    file = node.settings.store_file
    if name == "missing":
        file.unlink()
    elif name == "corrupt":
        file.write_bytes(b"no database at all" * 300)
    ran = healthy.run("status")
    expected.check(f"status/store-{name}", ran.out + ran.err, also={r"knows \d+": "knows N"})
    assert ran.status == 1
    node.other = sqlite3.connect(":memory:")  # type: ignore[assignment]


def test_a_store_with_a_damaged_page_is_told(healthy: Commanded) -> None:
    node = healthy.node
    node.close()
    file = node.settings.store_file
    content = bytearray(file.read_bytes())
    content[4096 : 4096 * 3] = b"\xff" * 8192
    file.write_bytes(content)
    ran = healthy.run("status")
    assert ran.status == 1 and "Traceback" not in ran.err and "the next pass begins a new one" in ran.err
    assert "shop" in ran.out and "unknown" in ran.out
    node.other = sqlite3.connect(":memory:")  # type: ignore[assignment]


_IMPORTS = """
import sys
from heat_config_kubelet import cli
cli.main(sys.argv[1:])
heavy = {"requests", "yaml", "keystoneauth1", "kubernetes", "heat_config_kubelet.loop", "heat_config_kubelet.schema"}
print("imported:", *sorted(heavy & sys.modules.keys()))
"""


@pytest.mark.parametrize("command", ["status", "pods", "config"])
def test_nothing_heavy_is_imported_where_no_pod_is_asked_for(case: Commanded, command: str) -> None:
    case.node.collect(raw_entry("id-1", resource="job", group="script", config="exit 0"))
    case.node.work()
    text = case.settings_file.read_text()
    case.settings_file.write_text(text.replace(f"manifest_dir = {case.node.folder}\n", ""))
    call = [sys.executable, "-c", _IMPORTS, "--settings", str(case.settings_file), command]
    done = subprocess.run(call, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.splitlines()[-1] == "imported:", done.stderr


def test_a_disk_that_cannot_be_written_is_said_and_the_store_is_read(
    healthy: Commanded, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(path: Path, **_: object) -> Store:
        raise StoreError(
            f"{path}: disk I/O error",
            hint=UNWRITABLE,
        )

    healthy.node.close()
    monkeypatch.setattr(Store, "open", fails)
    ran = healthy.run("status")
    expected.check("status/disk-full", ran.out + ran.err)
    assert ran.status == 2


# --- waiting and watching


def test_wait_returns_when_nothing_is_pending(case: Commanded) -> None:
    node = case.node
    node.collect(raw_entry("id-1", resource="front", config=pod_map("web")))
    began = threading.Event()
    ended: list[float] = []

    def work() -> None:
        began.wait(10)
        other = Node.__new__(Node)
        other.__dict__.update(node.__dict__)
        other.work()
        ended.append(time.monotonic())

    thread = threading.Thread(target=work)
    thread.start()
    began.set()
    ran = case.run("status", "--wait", "--timeout", "60")
    assert ran.status == 0 and "succeeded" in ran.out
    thread.join()


def test_wait_ends_at_its_timeout_and_shows_what_is_pending(case: Commanded) -> None:
    case.node.collect(raw_entry("id-1", resource="front", config=pod_map("web")))
    ran = case.run("status", "--wait", "--timeout", "0.3")
    assert ran.status == 2 and "wanted" in ran.out


def test_wait_is_for_those_that_are_named(case: Commanded) -> None:
    case.node.collect(raw_entry("id-1", resource="front"))
    case.node.work()
    case.node.collect(raw_entry("id-1", resource="front"), raw_entry("id-2", resource="later"))
    assert case.run("status", "--wait", "front").status == 0
    assert case.run("status", "--wait", "--timeout", "0.1", "later").status == 2
    ran = case.run("status", "--wait", "--timeout", "0.1", "nobody")
    assert ran.status == 1 and "there is no deployment nobody" in ran.err


def test_wait_takes_a_store_that_is_not_there_for_metadata_to_come(case: Commanded) -> None:
    case.node.close()
    case.node.settings.store_file.unlink()
    ran = case.run("status", "--wait", "--timeout", "0.3")
    assert ran.status == 1 and "there is no store yet" in ran.err
    case.node.other = Store.open(case.node.settings.store_file)


def test_watch_shows_it_again_when_something_changes(case: Commanded, monkeypatch: pytest.MonkeyPatch) -> None:
    node = case.node
    node.collect(raw_entry("id-1", resource="front", config=pod_map("web")))
    looks = 0

    def changed(seconds: float) -> None:
        nonlocal looks
        looks += 1
        if looks == 2:
            node.work()

    monkeypatch.setattr(time, "sleep", changed)
    ran = case.run("status", "--watch", "--wait")
    tables = ran.out.split("\n\nSTACK")
    assert ran.status == 0 and len(tables) == 2
    assert "wanted" in tables[0] and "succeeded" in tables[1] and "1/1" in tables[1]


# --- without root


@pytest.fixture
def shut(healthy: Commanded, monkeypatch: pytest.MonkeyPatch) -> Commanded:
    """A user who may not look into the state directory."""
    monkeypatch.setattr(os, "access", lambda path, _: Path(path) != healthy.node.settings.state_dir)
    monkeypatch.setattr(Store, "open", lambda *_, **__: pytest.fail("the store was opened"))
    return healthy


def test_without_root_the_summary_is_shown(shut: Commanded) -> None:
    ran = shut.run("status")
    assert ran.status == 0
    expected.check("status/summary", ran.out + ran.err)
    assert rows(shut.run("status", "-o", "json", "db")).keys() == {"db"}


def test_without_root_it_waits_and_watches_by_the_summary(shut: Commanded, monkeypatch: pytest.MonkeyPatch) -> None:
    file = shut.node.settings.summary_file
    settled = file.read_text()
    file.write_text(settled.replace('"signal": "delivered"', '"signal": "pending"'))
    assert "pending" in shut.run("status", "--wait", "--timeout", "0.1").out
    monkeypatch.setattr(time, "sleep", lambda _: file.write_text(settled))
    ran = shut.run("status", "--wait", "--watch")
    assert ran.status == 0 and ran.out.count("STACK") == 2
    assert shut.run("status", "--wait").status == 0


def test_without_root_and_summary_that_is_said(shut: Commanded) -> None:
    shut.node.settings.summary_file.unlink()
    ran = shut.run("status")
    assert ran.status == 1 and "there is no summary" in ran.err and ran.out == ""
