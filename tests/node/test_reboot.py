"""A loss of power in each phase, and a state that is lost or damaged: nothing is lost, nothing is done twice."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable
from pathlib import Path

import passes
import pytest
from lab import deployments as heat
from way import Way

from heat_config_kubelet.store import REMOVING, Store

LASTS = "trap '' TERM; while :; do sleep 0.1; done"
"""A command that ends when its pod's grace period does."""
LONG = 120
"""A grace period in seconds that nobody waits for: a loss of power ends it."""


def reboot(way: Way) -> None:
    """Cut the power, and come up again as a node's units do it; the metadata have not changed meanwhile."""
    way.node.kill_all()
    assert not way.node.slot.cgroup.processes()
    way.node.start()
    assert way.node.agent("check-cache").returncode == 0
    way.node.collector.resume()
    assert way.node.agent("resume").returncode == 0


def wait_until_done(way: Way) -> None:
    """Wait until the loop has ended, and os-collect-config alone is left."""
    way.wait_until_idle()
    way.node.collector.stop()
    passes.wait_until_idle(way.node)


def is_removing(way: Way, name: str) -> bool:
    store = Store.open(way.node.state_dir / "store.sqlite", create=False)
    try:
        return any(row.key.name == name and row.phase == REMOVING for row in store.pods())
    finally:
        store.close()


def test_while_pods_start(way: Way) -> None:
    bystander = way.entry("bystander", heat.pod("bystander"))
    way.deploy(bystander)
    way.succeeds("bystander")
    entry = way.entry("web", way.gated("web"))
    way.deploy(bystander, entry)
    way.node.wait_for(lambda: passes.has_containers(way.node, "web"), "the container")
    before = way.containers("web", "bystander")
    files = {file: file.read_bytes() for file in way.manifest_files()}
    reboot(way)
    way.open_gate("web")
    way.succeeds("web")
    way.ready_pod("bystander")
    after = way.containers("web", "bystander")
    assert not set(before.values()) & set(after.values())
    wait_until_done(way)
    assert {file: file.read_bytes() for file in way.manifest_files()} == files
    way.no_more_signals("web", "bystander")


def test_while_the_old_pod_terminates(way: Way) -> None:
    first = way.entry("web", heat.pod("web", LASTS, terminationGracePeriodSeconds=LONG))
    way.deploy(first)
    way.succeeds("web")
    old = passes.uid_of(way.node, "web")
    way.deploy(heat.again(first, config=heat.pod("web", container={"env": [{"name": "A", "value": "1"}]})))
    way.node.wait_for(lambda: is_removing(way, "web"), "the removal")
    assert way.node.pods_left() == {old}
    reboot(way)
    way.succeeds("web", timeout=LONG / 2)
    assert passes.is_ready(way.node, "web")
    assert way.manifests()["web"]["spec"]["containers"][0]["env"] == [{"name": "A", "value": "1"}]
    assert passes.uid_of(way.node, "web") != old
    assert way.node.pods_left() == {passes.uid_of(way.node, "web")}
    wait_until_done(way)
    way.no_more_signals("web")


@pytest.mark.parametrize("how", ["DELETE", "vanished"])
def test_while_pods_are_removed(way: Way, how: str) -> None:
    entry = way.entry("web", heat.pod("web", LASTS, terminationGracePeriodSeconds=LONG))
    way.deploy(entry)
    way.succeeds("web")
    way.deploy(*([heat.again(entry, "DELETE")] if how == "DELETE" else []))
    way.node.wait_for(lambda: is_removing(way, "web"), "the removal")
    reboot(way)
    if how == "DELETE":
        told = way.succeeds("web", timeout=LONG / 2)
        assert "default/web" in told["deploy_stdout"], told
    wait_until_done(way)
    assert way.manifests() == {}
    assert not way.node.pods_left()
    way.no_more_signals("web")


def test_with_a_signal_undelivered(way: Way) -> None:
    entry = way.entry("web", heat.pod("web"))
    way.receiver.refuse()
    way.deploy(entry)
    way.node.wait_for(lambda: [each for each in way.entries().values() if each.attempts], "an attempt")
    uid = passes.uid_of(way.node, "web")
    reboot(way)
    way.receiver.listen()
    way.succeeds("web")
    wait_until_done(way)
    assert passes.uid_of(way.node, "web") == uid
    assert passes.states(way.node) == {"web": ("succeeded", "delivered")}
    way.no_more_signals("web")


def test_with_a_hook_under_way(way: Way) -> None:
    way.hook("script", "echo ran >> $work/ran; sleep 600")
    way.deploy(way.entry("task", "", group="script"))
    way.node.wait_for(lambda: (way.work / "ran").exists(), "the hook")
    reboot(way)
    told = way.fails("task")
    assert "cut short by a restart" in told["deploy_stderr"]
    wait_until_done(way)
    assert (way.work / "ran").read_text() == "ran\n"
    way.no_more_signals("task")


# --- a state that is lost or damaged


def remove(store: Path) -> None:
    for suffix in ("", "-wal", "-shm"):
        Path(f"{store}{suffix}").unlink(missing_ok=True)


def fill_with_garbage(store: Path) -> None:
    store.write_bytes(b"no database at all\n" * 1000)


def cut_short(store: Path) -> None:
    store.write_bytes(store.read_bytes()[: store.stat().st_size // 2])


def cut_to_nothing(store: Path) -> None:
    store.write_bytes(b"")


def damage_inside(store: Path) -> None:
    """Keep the first page, by which SQLite knows its files, and spoil all others."""
    content = store.read_bytes()
    store.write_bytes(content[:4096] + b"\xff" * (len(content) - 4096))


def damage_one_table(store: Path) -> None:
    with contextlib.closing(sqlite3.connect(store)) as found:
        (page,) = found.execute("SELECT rootpage FROM sqlite_master WHERE name = 'entry'").fetchone()
        (size,) = found.execute("PRAGMA page_size").fetchone()
    with store.open("r+b") as stream:
        stream.seek((page - 1) * size)
        stream.write(b"\xff" * size)


HARMS = [remove, fill_with_garbage, cut_short, cut_to_nothing, damage_inside, damage_one_table]


@pytest.mark.parametrize("harm", HARMS)
def test_pods_run_on_when_the_store_is(way: Way, harm: Callable[[Path], None]) -> None:
    node = way.node
    kept, dropped = way.entry("kept", heat.pod("kept")), way.entry("dropped", heat.pod("dropped"))
    elsewhere = way.entry("elsewhere", heat.pod("elsewhere"))
    other = passes.write_source(node, elsewhere, name="other")
    first = [passes.write_source(node, kept, dropped), other]
    assert node.agent("run", files=first).returncode == 0
    for name in ("kept", "dropped", "elsewhere"):
        way.succeeds(name)
    passes.wait_until_idle(node)
    before = way.containers("kept", "elsewhere")
    manifests = passes.snapshot(node.manifests)
    harm(node.state_dir / "store.sqlite")

    # The loop of the next boot knows our manifests again, and nobody has said yet what is wanted.
    loop = node.agent("loop")
    assert loop.returncode == 0, loop.stderr
    assert passes.snapshot(node.manifests) == manifests
    assert len(list(node.state_dir.glob("store.sqlite.damaged-*"))) == (harm not in (remove, cut_to_nothing))

    done = node.agent("run", files=[passes.write_source(node, kept)])
    assert done.returncode == 0, done.stderr
    way.succeeds("kept")
    node.wait_for(lambda: "dropped" not in way.manifests(), "the removal of what is not wanted any more")
    passes.wait_until_idle(node)
    assert way.containers("kept", "elsewhere") == before
    assert len(node.pods_left()) == 2
    assert passes.states(node) == {"kept": ("succeeded", "delivered")}
    way.no_more_signals("kept", "dropped", "elsewhere")


def test_a_newer_releases_store_is_not_touched(way: Way) -> None:
    node = way.node
    entry = way.entry("web", heat.pod("web"))
    passes.run_pass(node, entry)
    way.succeeds("web")
    passes.wait_until_idle(node)
    before = way.containers("web")
    store = sqlite3.connect(node.state_dir / "store.sqlite")
    store.execute("PRAGMA user_version = 99")
    store.close()
    content = (node.state_dir / "store.sqlite").read_bytes()
    for command in ("run", "loop", "status"):
        done = node.agent(command, files=[passes.write_source(node)])
        assert done.returncode == 1, command
        assert "its schema is version 99, this release knows" in done.stderr, command
        assert "install the newer release again, or move the file away: the pods keep running" in done.stderr
        assert "Traceback" not in done.stderr
    assert (node.state_dir / "store.sqlite").read_bytes() == content
    assert way.containers("web") == before
    assert list(way.manifests()) == ["web"]

    (node.state_dir / "store.sqlite").unlink()
    passes.run_pass(node, entry)
    way.succeeds("web")
    assert way.containers("web") == before


def test_a_damaged_cache_of_os_collect_config_is_mended(way: Way, monkeypatch: pytest.MonkeyPatch) -> None:
    node = way.node
    entry = way.entry("web", heat.pod("web"))
    way.deploy(entry)
    way.succeeds("web")
    wait_until_done(way)
    before = way.containers("web")
    last = node.collector.cache / "lab.json.last"
    last.write_bytes(last.read_bytes()[:100])
    (node.collector.cache / "tmpabandoned").write_text("{}")

    monkeypatch.setattr(node.collector, "program", "os-collect-config")
    node.collector.resume()
    node.wait_for(lambda: not node.collector.running, "os-collect-config to end, as it does with such a cache")
    assert "JSONDecodeError" in node.collector.log.read_text()

    done = node.agent("check-cache")
    assert done.returncode == 0
    assert f"{last}: damaged, removed; its source will count as changed" in done.stdout
    assert not (node.collector.cache / "tmpabandoned").exists()
    node.collector.resume()
    node.wait_for(last.exists, "os-collect-config to work again")
    entry = heat.again(entry, config=heat.pod("web", container={"env": [{"name": "A", "value": "1"}]}))
    way.deploy(entry)
    way.succeeds("web")
    assert way.containers("web") != before
    way.no_more_signals("web")
