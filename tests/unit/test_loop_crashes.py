"""The loop's process ends at any of its changes: the next one brings the same end about.

The changes are the store's transactions and the directory's steps; the crash comes just before or just after one.
What SIGKILL does to real processes is tested on a node.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fake_node import Node
from support import pod_map, raw_entry

from heat_config_kubelet.manifest_dir import ManifestDir
from heat_config_kubelet.store import DELIVERED, DONE, PENDING, WRITTEN, Store

NEWER = "registry.example/app:2"
BEFORE = {"apiVersion": "v1", "kind": "List", "items": [pod_map("web"), pod_map("gone"), pod_map("same")]}
AFTER = {"apiVersion": "v1", "kind": "List", "items": [pod_map("web", NEWER), pod_map("same"), pod_map("new")]}


class CrashError(BaseException):
    """The end of the process."""


class Fuse:
    """Blows at the n-th moment that it is asked about."""

    def __init__(self, moments: int) -> None:
        self.left = moments
        self.blown = False

    def burn(self) -> None:
        self.left -= 1
        if self.left < 0 and not self.blown:
            self.blown = True
            raise CrashError


def put_in(fuse: Fuse, patch: pytest.MonkeyPatch) -> None:
    """Let the fuse burn around every change that the loop makes."""
    transaction = Store.transaction

    @contextlib.contextmanager
    def watched_transaction(store: Store) -> Iterator[None]:
        fuse.burn()
        with transaction(store):
            yield
        fuse.burn()

    patch.setattr(Store, "transaction", watched_transaction)
    for name in ("prepare", "write", "remove", "sync"):
        patch.setattr(ManifestDir, name, watched(fuse, getattr(ManifestDir, name)))


def watched(fuse: Fuse, step: Any) -> Any:
    def around(*given: Any) -> Any:
        fuse.burn()
        done = step(*given)
        fuse.burn()
        return done

    return around


def crash_at(moment: int, node: Node) -> bool:
    """Work until the crash and then, as after a reboot, to the end; says whether it crashed."""
    with pytest.MonkeyPatch.context() as patch:
        fuse = Fuse(moment)
        put_in(fuse, patch)
        try:
            node.work()
        except CrashError:
            assert node.wake.flag.exists() or node.wake.ended, "what starts the next loop"
    node.work()
    return fuse.blown


def life(folder: Path, moment: int) -> bool:
    node = Node(folder)
    node.collect(raw_entry("a", config=BEFORE))
    node.work()
    same = node.files()["same"]
    node.collect(
        raw_entry("b", action="UPDATE", config=AFTER),
        raw_entry("c", resource="other", config=pod_map("other", "bad image")),
        raw_entry("d", resource="removed", action="DELETE"),
    )
    crashed = crash_at(moment, node)
    assert node.images() == {"web": NEWER, "same": "registry.example/app:1", "new": "registry.example/app:1"}
    assert node.files()["same"] == same, "what did not change was not touched"
    names = [name for name, _ in node.kubelet.starts]
    assert names.count("same") == names.count("gone") == 1
    assert len(node.kubelet.starts) == len({uid for _, uid in node.kubelet.starts}), "no UID twice"
    assert {row.phase for row in node.other.pods()} == {WRITTEN}
    assert {row.uid for row in node.other.pods()} == set(node.uids().values())
    assert {entry.state for entry in node.entries.values()} == {DONE}
    assert PENDING not in {entry.signal for entry in node.entries.values()}
    assert set(node.heat.codes()) == {("a", 0), ("b", 0), ("c", 1), ("d", 0)}
    node.close()
    return crashed


def asked_life(folder: Path, moment: int) -> bool:
    """A person has a deployment run again, another's result sent again, and a third one's pod ended."""
    node = Node(folder)
    node.collect(
        raw_entry("a", config=BEFORE),
        raw_entry("b", resource="other", config=pod_map("other")),
        raw_entry("c", resource="third", config=pod_map("third")),
    )
    node.work()
    before, files = node.uids(), node.files()
    with node.other.transaction():
        node.other.start_again(node.entries["a"], node.time.wall, quiet=False)
        node.other.send_again("b", node.time.wall)
        node.other.replace_pods([before["third"]])
        node.wake.raise_flag()
    crashed = crash_at(moment, node)
    assert node.files()["other"] == files["other"]
    assert {name for name, uid in node.uids().items() if before[name] != uid} == {"web", "gone", "same", "third"}
    assert [name for name, _ in node.kubelet.starts].count("third") == 2, "once, whatever was cut short"
    assert {row.phase for row in node.other.pods()} == {WRITTEN}
    assert {entry.signal for entry in node.entries.values()} == {DELIVERED}
    codes = node.heat.codes()
    assert codes.count(("c", 0)) == 1 and {each: codes.count((each, 0)) >= 2 for each in "ab"} == {"a": True, "b": True}
    node.close()
    return crashed


MOMENTS, ASKED_MOMENTS = 69, 52


@pytest.mark.parametrize("moment", range(MOMENTS))
def test_a_crash_at_any_change_is_taken_up_to_the_same_end(tmp_path: Path, moment: int) -> None:
    life(tmp_path, moment)


@pytest.mark.parametrize("moment", range(ASKED_MOMENTS))
def test_what_a_person_asked_for_comes_about_whatever_is_cut_short(tmp_path: Path, moment: int) -> None:
    asked_life(tmp_path, moment)


def test_no_change_is_left_out(tmp_path: Path) -> None:
    assert not life(tmp_path, MOMENTS), "MOMENTS reaches beyond the last change"


def test_no_change_that_a_person_asked_for_is_left_out(tmp_path: Path) -> None:
    assert not asked_life(tmp_path, ASKED_MOMENTS), "ASKED_MOMENTS reaches beyond the last change"
