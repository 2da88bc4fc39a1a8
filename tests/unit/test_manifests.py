"""Bringing the directory to what is wanted: in phases, from any of which a crash is resumed to the same end."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from samples import pod_status
from support import FakeTime, KeptLog, identity, make_entry, only, pod_map, pods_of_entry, raw_entry

from heat_config_kubelet.errors import ManifestError
from heat_config_kubelet.manifest_dir import Found, ManifestDir
from heat_config_kubelet.manifests import GONE_AFTER_GRACE, Manifests
from heat_config_kubelet.store import REMOVING, WRITING, WRITTEN, Entry, PodRow, Store
from heat_config_kubelet.values import Pod, PodStatus

GRACE = 2.0
ENTRY = make_entry(raw_entry("a"))


class Node:
    """A store and a directory, and a runtime that holds the pods that it is told to."""

    def __init__(self, folder: Path) -> None:
        self.time = FakeTime()
        self.log = KeptLog()
        self.runtime: set[str] = set()
        self.store = Store.open(folder / "store.sqlite")
        self.folder = folder / "manifests"
        self.directory = ManifestDir(self.folder)
        self.manifests = self.begin()

    def begin(self, directory: ManifestDir | None = None) -> Manifests:
        """A new life of the loop."""
        self.manifests = Manifests(
            self.store, directory or self.directory, lambda uid: uid in self.runtime, self.log, self.time.clock
        )
        return self.manifests

    def write(self, entry: Entry = ENTRY) -> tuple[PodRow, ...]:
        return self.manifests.write([(pod, entry) for pod in pods_of_entry(entry)])

    def files(self) -> dict[str, Any]:
        return {path.name: json.loads(path.read_text()) for path in self.folder.iterdir() if path.is_file()}

    def uids(self) -> set[str]:
        return {content["metadata"]["uid"] for content in self.files().values()}

    def settle(self, visible: frozenset[str] | None = frozenset()) -> tuple[str, ...]:
        """Let the pods go that have left the runtime."""
        gone = self.manifests.gone(visible, 0.0)
        self.time.advance(1.0)
        gone += self.manifests.gone(visible, 0.0)
        return tuple(each.row.key.name for each in gone)


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    made = Node(tmp_path)
    made.manifests.resume()
    yield made
    made.store.close()


# --- writing and removing


def test_a_written_pod_is_in_store_and_directory(node: Node) -> None:
    (row,) = node.write()
    assert node.manifests.rows() == (row,) and row.phase == WRITTEN
    content = only(list(node.files().values()))
    assert (content["metadata"]["uid"], content["metadata"]["name"]) == (row.uid, "web")
    assert row.file_hash == only(node.manifests.scan()).file_hash
    assert (row.identity, row.source, row.grace) == (identity(), "heat", GRACE)


def test_every_creation_has_a_uid_and_a_generation_of_its_own(node: Node) -> None:
    seen = set()
    for _ in range(3):
        (row,) = node.write()
        seen.add((row.uid, row.generation))
        node.manifests.remove([row])
        assert node.settle() == ("web",)
    assert len({uid for uid, _ in seen}) == len({generation for _, generation in seen}) == 3


def test_writing_and_removing_nothing_touches_nothing(node: Node) -> None:
    before = node.folder.stat().st_mtime_ns
    assert node.manifests.write([]) == ()
    node.manifests.remove([])
    assert node.folder.stat().st_mtime_ns == before


def test_a_file_is_unlinked_at_once_and_remembered_until_its_pod_is_gone(node: Node) -> None:
    (row,) = node.write()
    node.runtime.add(row.uid)
    node.manifests.remove([row])
    assert node.files() == {} and only(node.manifests.rows()).phase == REMOVING
    assert node.settle() == ()
    assert not node.manifests.may_be_gone()
    node.runtime.clear()
    assert node.manifests.may_be_gone()
    assert node.settle() == ("web",) and node.manifests.rows() == ()


def test_a_pod_that_the_kubelet_still_shows_is_not_gone(node: Node) -> None:
    (row,) = node.write()
    node.manifests.remove([row])
    assert node.settle(frozenset({row.uid})) == ()
    assert node.settle() == ("web",)


@pytest.mark.parametrize("shown", [False, True])
def test_a_pod_that_never_ran_is_given_a_second_to_appear(node: Node, shown: bool) -> None:
    """The kubelet may just have read its manifest, and begin with the pod while it shows it no more."""
    (row,) = node.write()
    node.manifests.remove([row])
    assert node.manifests.gone(frozenset({row.uid} if shown else ()), 0.0) == ()
    node.time.advance(0.9)
    assert node.manifests.gone(frozenset(), 0.0) == ()
    node.runtime.add(row.uid)
    node.time.advance(0.2)
    assert node.manifests.gone(frozenset(), 0.0) == ()
    node.runtime.clear()
    assert len(node.manifests.gone(frozenset(), 0.0)) == 1


def test_a_pod_that_ran_is_gone_as_soon_as_it_does_not(node: Node) -> None:
    (row,) = node.write()
    node.runtime.add(row.uid)
    node.manifests.remove([row])
    node.runtime.clear()
    assert len(node.manifests.gone(frozenset(), 0.0)) == 1


def test_a_kubelet_that_does_not_answer_hides_no_pod_of_the_runtime(node: Node) -> None:
    (row,) = node.write()
    node.runtime.add(row.uid)
    node.manifests.remove([row])
    assert node.settle(None) == ()
    node.runtime.clear()
    assert node.settle(None) == ("web",)


def not_taken_up(row: PodRow) -> PodStatus:
    """What the kubelet shows of a pod that it has not begun to work on."""
    return replace(pod_status(), uid=row.uid, phase="Pending", sandbox_ready=None, containers=())


def successor(node: Node) -> PodRow:
    """A manifest written in the place of one whose pod has just gone."""
    (row,) = node.write()
    node.manifests.remove([row])
    assert node.settle() == ("web",)
    (fresh,) = node.write()
    return fresh


def test_a_successor_that_the_kubelet_does_not_take_up_is_nudged(node: Node) -> None:
    row = successor(node)
    before = (node.folder / row.file).read_bytes()
    node.manifests.nudge({})
    assert (node.folder / row.file).read_bytes() == before, "not at once"
    node.time.advance(0.2)
    node.manifests.nudge({row.uid: not_taken_up(row)})
    after = json.loads((node.folder / row.file).read_bytes())
    assert after["metadata"]["annotations"].pop("heat-config-kubelet/nudge") == "1"
    assert after == json.loads(before), "nothing else has changed"


def test_a_nudged_manifest_is_not_taken_for_an_edited_one(node: Node) -> None:
    row = successor(node)
    for _ in range(3):
        node.time.advance(0.5)
        node.manifests.nudge({})
    (found,) = node.manifests.scan()
    assert found.file_hash == row.file_hash and found.mark is not None and found.mark.uid == row.uid


def test_a_successor_that_is_taken_up_is_left_alone(node: Node) -> None:
    row = successor(node)
    node.manifests.nudge({row.uid: replace(not_taken_up(row), sandbox_ready=False)})
    before = (node.folder / row.file).stat()
    node.time.advance(1.0)
    node.manifests.nudge({})
    assert not node.manifests.has_successors
    assert (node.folder / row.file).stat().st_mtime_ns == before.st_mtime_ns


def test_nudging_ends(node: Node) -> None:
    successor(node)
    node.time.advance(31.0)
    node.manifests.nudge({})
    assert not node.manifests.has_successors


def test_a_first_pod_of_its_name_is_no_successor(node: Node) -> None:
    node.write()
    assert not node.manifests.has_successors


@pytest.mark.parametrize("patience", [0.0, 100.0])
def test_a_pod_that_will_not_go_is_given_up_after_its_time(node: Node, patience: float) -> None:
    (row,) = node.write()
    node.runtime.add(row.uid)
    node.manifests.remove([row])
    node.time.advance(GRACE + GONE_AFTER_GRACE + patience)
    assert node.manifests.gone(frozenset({row.uid}), patience) == ()
    node.time.advance(0.1)
    (given_up,) = node.manifests.gone(frozenset({row.uid}), patience)
    assert given_up.overdue and given_up.row.key == row.key and node.manifests.rows() == ()
    assert "pod still there" in node.log.text


@pytest.mark.parametrize("years", [-10, 10])
def test_a_corrected_clock_changes_no_wait(node: Node, years: int) -> None:
    (row,) = node.write()
    node.runtime.add(row.uid)
    node.manifests.remove([row])
    node.time.jump(years * 365 * 86400.0)
    node.time.advance(GRACE + GONE_AFTER_GRACE)
    assert node.manifests.gone(frozenset({row.uid}), 0.0) == ()
    node.time.advance(0.1)
    assert len(node.manifests.gone(frozenset({row.uid}), 0.0)) == 1


def test_the_wait_goes_on_where_it_was_after_a_restart(node: Node) -> None:
    (row,) = node.write()
    node.runtime.add(row.uid)
    node.manifests.remove([row])
    node.time.advance(GRACE + GONE_AFTER_GRACE)
    node.begin().resume()
    node.time.advance(0.1)
    assert len(node.manifests.gone(frozenset({row.uid}), 0.0)) == 1


# --- a store that was lost


def lose_the_store(node: Node) -> None:
    for row in node.store.pods():
        node.store.drop_pod(row.key)
    node.begin().resume()


def test_our_manifests_are_known_again_when_the_store_is_lost(node: Node) -> None:
    (row,) = node.write()
    before = (node.folder / row.file).stat()
    lose_the_store(node)
    assert only(node.manifests.rows()) == replace(row, since=only(node.manifests.rows()).since)
    after = (node.folder / row.file).stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert "manifest recognised" in node.log.text


def test_a_copy_under_another_name_is_not_adopted(node: Node) -> None:
    (row,) = node.write()
    (node.folder / row.file).rename(node.folder / "web.json")
    lose_the_store(node)
    assert node.manifests.rows() == ()


def test_a_foreign_manifest_is_not_adopted(node: Node) -> None:
    (node.folder / "theirs.json").write_text(json.dumps(pod_map()))
    node.begin().resume()
    assert node.manifests.rows() == () and (node.folder / "theirs.json").exists()


def test_a_generation_goes_on_after_a_lost_store_with_new_uids(node: Node) -> None:
    (row,) = node.write()
    lose_the_store(node)
    node.manifests.remove(node.manifests.rows())
    node.settle()
    (again,) = node.write()
    assert again.uid != row.uid


# --- crashes


class PowerCutError(Exception):
    """Stands for the end of the process between two steps."""


class Fuse:
    """Blows at the n-th step that it is asked about."""

    def __init__(self, steps: int) -> None:
        self.left = steps

    def burn(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise PowerCutError


class CutDir(ManifestDir):
    """The real directory, whose process may end before or after each of its steps."""

    def __init__(self, folder: Path, fuse: Fuse) -> None:
        super().__init__(folder)
        self._fuse = fuse

    def _around(self, step: Callable[[], Any]) -> Any:
        self._fuse.burn()
        done = step()
        self._fuse.burn()
        return done

    def prepare(self) -> None:
        self._around(super().prepare)

    def write(self, file: str, content: bytes) -> str:
        return str(self._around(lambda: super(CutDir, self).write(file, content)))

    def remove(self, file: str) -> None:
        self._around(lambda: super(CutDir, self).remove(file))

    def sync(self) -> None:
        self._around(super().sync)

    def scan(self) -> tuple[Found, ...]:
        found: tuple[Found, ...] = self._around(super().scan)
        return found


def bring_about(node: Node, entry: Entry) -> None:
    """What a step of the loop does until the directory holds just this entry's pods."""
    node.manifests.resume()
    for _ in range(4):
        wanted = {pod.key: pod for pod in pods_of_entry(entry)}
        rows = {row.key: row for row in node.manifests.rows()}
        files = {each.file: each.file_hash for each in node.manifests.scan()}
        node.manifests.remove(
            [
                row
                for key, row in rows.items()
                if row.phase != REMOVING
                and (
                    key not in wanted
                    or wanted[key].content_hash != row.content_hash
                    or files.get(row.file) != row.file_hash
                )
            ]
        )
        node.settle()
        there = {row.key for row in node.manifests.rows()}
        node.manifests.write([(pod, entry) for key, pod in wanted.items() if key not in there])


TWO = make_entry(raw_entry("a", config={"apiVersion": "v1", "kind": "List", "items": [pod_map("web"), pod_map("db")]}))
CHANGED_TWO = make_entry(
    raw_entry(
        "b",
        action="UPDATE",
        config={"apiVersion": "v1", "kind": "List", "items": [pod_map("web", "registry.example/app:2"), pod_map("x")]},
    ),
    2,
)


STEPS = 24
"""Moments of `bring_about` just before and just after it touches the directory."""


@pytest.mark.parametrize("steps", range(STEPS + 1))
def test_a_crash_between_any_two_steps_is_resumed_to_the_same_end(tmp_path: Path, steps: int) -> None:
    """Whatever is cut short, the end is the wanted content, no file twice, no UID twice, nothing left behind."""
    node = Node(tmp_path)
    used: list[str] = []
    keep_uids(node, used)
    bring_about(node, TWO)
    before = node.uids()
    fuse = Fuse(steps)
    node.begin(CutDir(node.folder, fuse))
    keep_uids(node, used)
    try:
        bring_about(node, CHANGED_TWO)
    except PowerCutError:
        node.begin()
        keep_uids(node, used)
        bring_about(node, CHANGED_TWO)
    else:
        assert steps == STEPS, "every step was cut, up to the last one"
    files = node.files()
    assert sorted(content["metadata"]["name"] for content in files.values()) == ["web", "x"]
    assert {content["spec"]["containers"][0]["image"] for content in files.values()} == {
        "registry.example/app:1",
        "registry.example/app:2",
    }
    assert not before & node.uids() and len(used) == len(set(used))
    rows = node.manifests.rows()
    assert {row.phase for row in rows} == {WRITTEN} and {row.uid for row in rows} == node.uids()
    assert [path.name for path in (node.folder / ".heat-config-kubelet").iterdir()] == []
    node.store.close()


def keep_uids(node: Node, used: list[str]) -> None:
    """Note every UID that is made for a manifest."""
    real = node.manifests._fresh

    def noted(pod: Pod, entry: Entry, generation: str) -> PodRow:
        row = real(pod, entry, generation)
        used.append(row.uid)
        return row

    node.manifests._fresh = noted  # type: ignore[method-assign]


def test_a_crash_after_the_rename_restarts_no_pod(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """The manifest is in place, the store does not know it yet: the pod that runs is kept."""

    def cut() -> None:
        raise PowerCutError

    monkeypatch.setattr(node.directory, "sync", cut)
    with pytest.raises(PowerCutError):
        node.write()
    assert only(node.manifests.rows()).phase == WRITING
    before = only([(path.name, path.stat()) for path in node.folder.iterdir() if path.is_file()])
    monkeypatch.undo()
    node.begin()
    bring_about(node, ENTRY)
    row = only(node.manifests.rows())
    after = (node.folder / before[0]).stat()
    assert (after.st_ino, after.st_mtime_ns) == (before[1].st_ino, before[1].st_mtime_ns)
    assert row.phase == WRITTEN and row.file_hash == only(node.manifests.scan()).file_hash


def test_a_crash_before_the_rename_writes_with_a_new_uid(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    def cut(*_: object) -> str:
        raise PowerCutError

    monkeypatch.setattr(node.directory, "write", cut)
    with pytest.raises(PowerCutError):
        node.write()
    announced = only(node.manifests.rows()).uid
    monkeypatch.undo()
    node.begin()
    bring_about(node, ENTRY)
    assert node.uids() and announced not in node.uids()


def test_a_removal_that_the_disk_refused_is_taken_up_again(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    (row,) = node.write()

    def refused(file: str) -> None:
        raise ManifestError(f"{file}: Read-only file system")

    monkeypatch.setattr(node.directory, "remove", refused)
    with pytest.raises(ManifestError):
        node.manifests.remove([row])
    assert (node.folder / row.file).exists()
    monkeypatch.undo()
    node.manifests.resume()
    assert not (node.folder / row.file).exists() and only(node.manifests.rows()).phase == REMOVING


def test_a_write_that_had_no_room_is_taken_up_again(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first of two was written and stays as it is, the second is written when there is room again."""
    real, files = node.directory.write, []

    def full(file: str, content: bytes) -> str:
        files.append(file)
        if len(files) == 2:
            raise ManifestError(f"{file}: No space left on device")
        return real(file, content)

    monkeypatch.setattr(node.directory, "write", full)
    with pytest.raises(ManifestError):
        node.write(TWO)
    first = node.uids()
    monkeypatch.undo()
    bring_about(node, TWO)
    assert len(node.uids()) == 2 and first < node.uids()
