"""Whole lives of deployments: from the metadata over the manifests to the signals, with a played kubelet and Heat."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fake_node import NEVER_PULL, Node, refuses
from support import only, pod_map, raw_entry, source

from heat_config_kubelet import manifests
from heat_config_kubelet.errors import KubeletError, ManifestError
from heat_config_kubelet.kubelet_service import ServiceReport, ServiceState
from heat_config_kubelet.manifest_dir import ManifestDir, render
from heat_config_kubelet.pods import pods_of
from heat_config_kubelet.signals import Answer, AnswerKind
from heat_config_kubelet.store import DELIVERED, DONE, DROPPED, HOOK, REFUSED, UNSENT
from heat_config_kubelet.values import Identity, Pod, Result

T1, T2, T3 = "2026-11-22T10:00:00Z", "2026-11-22T11:00:00Z", "2026-11-22T12:00:00Z"
NEWER = "registry.example/app:2"
YEAR = 365 * 86400.0


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    made = Node(tmp_path)
    yield made
    made.close()


def several(*pods: dict[str, Any]) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "List", "items": list(pods)}


# --- the actions of a deployment


def test_create_runs_the_pods_and_signals_success(node: Node) -> None:
    node.collect(raw_entry("a", outputs=({"name": "pod_ip"},)))
    node.work()
    body = node.heat.body("a")
    assert (body["deploy_status_code"], body["pod_ip"]) == (0, "10.88.0.7")
    assert "default/web" in body["deploy_stdout"] and node.heat.codes() == [("a", 0)]
    assert (node.entries["a"].state, node.entries["a"].signal) == (DONE, DELIVERED)
    pods = ("written", "sandbox", "image", "started", "ready")
    steps = ["collected", "validated", "started", *pods, "succeeded", "sent", "signal delivered"]
    assert [event.kind for event in node.other.events("a")] == steps
    assert list(node.uids()) == ["web"]


def test_only_the_changed_pods_are_replaced_and_unchanged_files_never_touched(node: Node) -> None:
    node.collect(raw_entry("a", config=several(pod_map("web"), pod_map("db"))))
    node.work()
    uids, files = node.uids(), node.files()
    node.collect(raw_entry("b", action="UPDATE", config=several(pod_map("web", NEWER), pod_map("db"))))
    node.work()
    assert node.files()["db"] == files["db"] and node.uids()["db"] == uids["db"]
    assert node.images() == {"web": NEWER, "db": "registry.example/app:1"} and node.uids()["web"] != uids["web"]
    assert node.heat.codes() == [("a", 0), ("b", 0)]


def test_an_update_that_changes_nothing_restarts_nothing_and_is_answered(node: Node) -> None:
    node.collect(raw_entry("a"))
    node.work()
    files = node.files()
    node.collect(raw_entry("b", action="UPDATE"))
    node.work()
    assert node.files() == files and node.heat.codes() == [("a", 0), ("b", 0)]
    assert len(node.kubelet.starts) == 1


def test_an_agent_that_renders_differently_restarts_nothing(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is compared is the config's own document, not what an older release made of it."""
    node.collect(raw_entry("a"))
    node.work()
    files = node.files()
    monkeypatch.setattr(
        manifests, "render", lambda pod, mark: render(pod, mark).replace(b'"kind"', b'"newer": 1, "kind"')
    )
    node.collect(raw_entry("b", action="UPDATE"), raw_entry("c", resource="x", config=pod_map("x")))
    node.work()
    assert node.files()["web"] == files["web"] and "newer" in node.file("x").read_text()


def test_suspend_removes_the_pods_and_resume_brings_them_back_as_new_ones(node: Node) -> None:
    node.collect(raw_entry("a"))
    node.work()
    before = node.uids()
    node.collect(raw_entry("b", action="SUSPEND"))
    node.work()
    assert node.uids() == {} and "removed default/web" in node.heat.body("b")["deploy_stdout"]
    assert not node.kubelet.in_runtime(before["web"]), "answered only when the pod was gone"
    node.collect(raw_entry("c", action="RESUME"))
    node.work()
    assert list(node.uids()) == ["web"] and node.uids() != before
    assert node.heat.codes() == [("a", 0), ("b", 0), ("c", 0)]


def test_delete_is_answered_when_the_pods_are_gone(node: Node) -> None:
    node.collect(raw_entry("a", config=pod_map(terminationGracePeriodSeconds=20)))
    node.work()
    node.collect(raw_entry("b", action="DELETE", config=pod_map(terminationGracePeriodSeconds=20)))
    begun = node.time.steady
    node.work()
    assert node.uids() == {} and node.heat.codes()[-1] == ("b", 0)
    assert 20.0 <= node.time.steady - begun < 22.0
    node.collect()
    node.work()
    assert node.entries == {} and node.other.pods() == ()


def test_what_vanishes_without_a_delete_is_removed(node: Node) -> None:
    node.collect(raw_entry("a"), raw_entry("b", resource="x", config=pod_map("x")))
    node.work()
    node.collect(raw_entry("b", resource="x", config=pod_map("x")))
    node.work()
    assert list(node.uids()) == ["x"] and node.heat.codes() == [("a", 0), ("b", 0)]


def test_a_pod_is_replaced_only_when_the_former_one_has_left_the_runtime(node: Node) -> None:
    """A kubelet left to replace it in place adds its back-off of 10 s to the grace period."""
    node.collect(raw_entry("a"))
    node.work()
    former = node.uids()["web"]
    node.collect(raw_entry("b", action="UPDATE", config=pod_map(image=NEWER)))
    node.after(1.0, lambda: seen.append(node.uids()))
    seen: list[dict[str, str]] = []
    node.work()
    assert seen == [{}] and node.kubelet.starts[1][1] == node.uids()["web"] != former


def test_waiting_for_a_pod_to_end_does_not_spin(node: Node) -> None:
    node.collect(raw_entry("a", config=pod_map(terminationGracePeriodSeconds=60)))
    node.work()
    node.collect(raw_entry("b", action="UPDATE", config=pod_map(image=NEWER)))
    node.work()
    assert node.heat.codes()[-1] == ("b", 0)
    assert len([pause for pause in node.wake.pauses if pause < 0.05]) < 20
    assert len(node.wake.pauses) < 60 / 0.1 + 100


def test_many_deployments_are_driven_together(node: Node) -> None:
    """One that is slow holds up no other."""
    node.kubelet.start_seconds = 5.0
    node.collect(
        *(raw_entry(f"e{number}", resource=f"r{number}", config=pod_map(f"p{number}")) for number in range(20))
    )
    begun = node.time.steady
    node.work()
    assert len(node.heat.codes()) == 20 and node.time.steady - begun < 10.0


# --- who wants what: sources


def test_the_boot_copy_alone_removes_nothing(node: Node) -> None:
    """Heat does not answer, and Nova's user data says `deployments: []`."""
    node.collect_from(source(raw_entry("a")), source(name="heat_local"))
    node.work()
    files = node.files()
    node.collect_from(source(name="heat_local"))
    node.work()
    assert node.files() == files


def test_after_a_lost_store_pods_are_kept_until_their_source_answers(node: Node) -> None:
    node.collect(raw_entry("a"))
    node.work()
    files = node.files()
    node.other.close()
    for path in node.settings.state_dir.glob("store.sqlite*"):
        path.unlink()
    node.other = node.open_store(node.settings.store_file)
    node.collect(name="heat_local")
    node.work()
    assert node.files() == files
    node.collect(raw_entry("a"))
    node.work()
    assert node.files() == files and node.heat.codes() == [("a", 0), ("a", 0)]
    node.collect()
    node.work()
    assert node.files() == {}


# --- replacement: two entries of one identity


def test_a_failed_deployment_is_replaced_and_its_delete_touches_no_pod(node: Node) -> None:
    bad = pod_map(image=NEVER_PULL, terminationGracePeriodSeconds=2)
    node.collect(raw_entry("old", created=T1, config=bad))
    node.work()
    assert node.heat.codes() == [("old", 1)]
    old, new = raw_entry("old", created=T1, config=bad), raw_entry("new", created=T2)
    node.collect(old, new)
    node.work()
    assert node.heat.codes()[1:] == [("new", 0)]
    files = node.files()
    node.collect(new, raw_entry("gone", action="DELETE", created=T3, config=bad))
    node.work()
    assert node.heat.codes()[2:] == [("gone", 0)]
    assert "replaced by new" in node.heat.body("gone")["deploy_stdout"]
    node.collect(new)
    node.work()
    assert node.files() == files


def test_a_pod_that_had_failed_before_is_made_anew_where_nothing_of_it_changed(node: Node) -> None:
    """What was wrong with it may be mended outside of its config: an image that is there now."""
    both = several(pod_map("web", image=NEVER_PULL), pod_map("db"))
    old, new = raw_entry("old", created=T1, config=both), raw_entry("new", created=T2, config=both)
    node.collect(old)
    node.work()
    before = node.uids()
    node.time.advance(1.0)
    node.kubelet.absent = frozenset()
    node.collect(old, new)
    node.work()
    assert node.heat.codes() == [("old", 1), ("new", 0)]
    after = node.uids()
    assert after["web"] != before["web"] and after["db"] == before["db"]


def test_a_pod_that_fails_anew_is_made_anew_once(node: Node) -> None:
    bad = pod_map(image=NEVER_PULL, terminationGracePeriodSeconds=0)
    old, new = raw_entry("old", created=T1, config=bad), raw_entry("new", created=T2, config=bad)
    node.collect(old)
    node.work()
    node.time.advance(1.0)
    node.collect(old, new)
    node.work()
    assert node.heat.codes() == [("old", 1), ("new", 1)]
    assert len(node.kubelet.starts) == 2


def test_the_old_ones_delete_waits_for_the_successors_signal(node: Node) -> None:
    """With a signal that names the resource, Heat would complete the successor."""
    node.kubelet.start_seconds = 30.0
    node.collect(
        raw_entry("new", created=T2), raw_entry("gone", action="DELETE", created=T3, config=pod_map(image=NEVER_PULL))
    )
    node.work()
    assert node.heat.codes() == [("new", 0), ("gone", 0)]


def test_a_superseded_entry_is_never_signalled(node: Node) -> None:
    node.collect(raw_entry("old", created=T1), raw_entry("new", created=T2, config=pod_map(image=NEWER)))
    node.work()
    assert node.heat.codes() == [("new", 0)] and node.entries["old"].signal == DROPPED
    assert node.images() == {"web": NEWER} and len(node.kubelet.starts) == 1


def test_a_failure_that_heat_did_not_take_is_dropped_once_there_is_a_successor(node: Node) -> None:
    """Sent after the successor's signal, it would fail the resource that the successor has mended."""
    bad, new = raw_entry("old", created=T1, config=pod_map(image=NEVER_PULL)), raw_entry("new", created=T2)
    node.heat.answers["old"] = [Answer(AnswerKind.RETRY, "503", retry_after=600.0)]
    node.collect(bad)
    node.after(300.0, lambda: node.collect(bad, new))
    node.work()
    assert node.heat.codes() == [("old", 1), ("new", 0)]
    assert node.entries["old"].signal == DROPPED and "superseded by new" in node.entries["old"].answer


def test_when_the_newer_one_vanishes_the_older_content_returns_as_a_new_pod(node: Node) -> None:
    """A failed update that Heat rolls back."""
    node.collect(raw_entry("old", created=T1))
    node.work()
    first = node.uids()
    node.collect(raw_entry("old", created=T1), raw_entry("new", created=T2, config=pod_map(image=NEWER)))
    node.work()
    node.collect(raw_entry("old", created=T1))
    node.work()
    assert node.images() == {"web": "registry.example/app:1"} and node.uids() != first
    node.kubelet.sync()
    assert len(node.kubelet.starts) == len({uid for _, uid in node.kubelet.starts}) == 3
    assert node.heat.codes() == [("old", 0), ("new", 0)]


def test_news_while_a_pod_starts_supersedes_what_was_waited_for(node: Node) -> None:
    node.kubelet.start_seconds = 20.0
    node.collect(raw_entry("a"))
    node.after(5.0, lambda: node.collect(raw_entry("b", action="UPDATE", config=pod_map(image=NEWER))))
    node.work()
    assert node.heat.codes() == [("b", 0)] and node.images() == {"web": NEWER}


# --- faults of a deployment


def test_a_bad_config_fails_alone_with_every_fault_and_its_pods_stay(node: Node) -> None:
    node.collect(raw_entry("a"))
    node.work()
    files = node.files()
    bad = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "Bad Name"},
        "spec": {"containers": [{"imagee": "x"}]},
    }
    node.collect(
        raw_entry("b", action="UPDATE", config=bad, options={"poll_period": "soon"}),
        raw_entry("c", resource="x", config=pod_map("x")),
    )
    node.work()
    assert sorted(node.heat.codes()[1:]) == [("b", 1), ("c", 0)] and node.files()["web"] == files["web"]
    told = node.heat.body("b")["deploy_stderr"]
    assert all(word in told for word in ("options.poll_period", "metadata.name", "imagee"))


def test_an_image_that_cannot_be_had_fails_with_the_runtimes_words(node: Node) -> None:
    node.collect(raw_entry("a", config=pod_map(image=NEVER_PULL), outputs=({"name": "why", "error_output": True},)))
    begun = node.time.steady
    node.work()
    assert node.heat.codes() == [("a", 1)] and node.time.steady - begun < 5.0
    assert "ErrImageNeverPull" in node.heat.body("a")["why"]


def test_a_pod_that_does_not_become_ready_fails_after_its_limit(node: Node) -> None:
    node.kubelet.start_seconds = 1e6
    node.collect(raw_entry("a", options={"images_timeout": 30, "containers_timeout": 40}))
    begun = node.time.steady
    node.work()
    assert node.heat.codes() == [("a", 1)] and 29.0 <= node.time.steady - begun <= 75.0
    assert "has run out" in node.heat.body("a")["deploy_stderr"]


@pytest.mark.parametrize("years", [-10, 10])
def test_a_corrected_clock_changes_no_wait(node: Node, years: int) -> None:
    node.kubelet.start_seconds = 20.0
    node.collect(raw_entry("a", options={"images_timeout": 30, "containers_timeout": 30}))
    node.after(5.0, lambda: node.time.jump(years * YEAR))
    node.work()
    assert node.heat.codes() == [("a", 0)]
    node.collect(raw_entry("b", action="DELETE"))
    node.kubelet.stuck = True
    node.after(1.0, lambda: node.time.jump(-years * YEAR))
    node.after(6.0, lambda: setattr(node.kubelet, "stuck", False))
    node.work()
    assert node.heat.codes()[1:] == [("b", 0)]


def test_a_delete_with_options_that_make_no_sense_is_done_all_the_same(node: Node) -> None:
    """It is how a deployment is got rid of that failed for them; it must not stop the loop for all."""
    odd = {"poll_period": "soon"}
    node.collect(raw_entry("a", options=odd))
    node.work()
    node.collect(raw_entry("b", action="DELETE", options=odd), raw_entry("c", resource="x", config=pod_map("x")))
    node.work()
    assert node.heat.codes()[0] == ("a", 1) and sorted(node.heat.codes()[1:]) == [("b", 0), ("c", 0)]


def test_a_pod_that_will_not_end_fails_its_delete_with_the_reason(node: Node) -> None:
    node.collect(raw_entry("a"))
    node.work()
    node.kubelet.stuck = True
    node.collect(raw_entry("b", action="DELETE"))
    node.work()
    assert node.heat.codes()[1:] == [("b", 1)]
    assert "pod default/web is still there after its grace period" in node.heat.body("b")["deploy_stderr"]


def test_a_pod_that_would_not_end_before_is_not_held_against_a_later_delete(node: Node) -> None:
    node.collect(raw_entry("a"), raw_entry("slow", resource="x", group="script", config="x"))
    node.hooks.seconds["slow"] = 500.0
    script = raw_entry("slow", resource="x", group="script", config="x")
    update = raw_entry("b", action="UPDATE", config=pod_map(image=NEWER))
    node.after(10.0, lambda: setattr(node.kubelet, "stuck", True))
    node.after(11.0, lambda: node.collect(update, script))
    node.after(100.0, lambda: setattr(node.kubelet, "stuck", False))
    node.after(101.0, lambda: node.collect(raw_entry("c", action="DELETE"), script))
    node.work()
    assert node.heat.codes() == [("a", 0), ("b", 0), ("c", 0), ("slow", 0)]
    assert node.uids() == {}


# --- two pods of one name


def test_a_name_belongs_to_the_one_that_runs_and_the_other_gets_it_when_that_goes(node: Node) -> None:
    holder, other = raw_entry("a", resource="holder"), raw_entry("b", resource="other", config=pod_map(image=NEWER))
    node.collect(holder)
    node.work()
    files = node.files()
    node.collect(holder, other)
    node.work()
    assert node.heat.codes()[1:] == [("b", 1)] and node.files() == files
    assert "deployment shop/holder has a pod of that name" in node.heat.body("b")["deploy_stderr"]
    node.collect(other)
    node.work()
    assert node.images() == {"web": NEWER}


def test_a_foreign_manifest_keeps_its_pods_name_and_is_never_touched(node: Node) -> None:
    node.folder.mkdir()
    theirs = node.folder / "web.yaml"
    theirs.write_text(json.dumps(pod_map()))
    before = theirs.stat()
    node.collect(raw_entry("a"))
    node.work()
    assert node.heat.codes() == [("a", 1)] and "web.yaml, which is not ours" in node.heat.body("a")["deploy_stderr"]
    assert (theirs.stat().st_ino, theirs.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    theirs.unlink()
    node.collect(raw_entry("b", action="UPDATE"))
    node.work()
    assert node.heat.codes()[1:] == [("b", 0)]


def test_a_copy_of_our_manifest_is_told_and_left_alone(node: Node) -> None:
    node.collect(raw_entry("a"))
    node.work()
    copy = node.folder / "web.json.bak"
    copy.write_bytes(node.file("web").read_bytes())
    ours = node.file("web").stat()
    node.collect(raw_entry("b", action="UPDATE", config=pod_map(image=NEWER)))
    node.work()
    assert node.heat.codes()[1:] == [("b", 1)] and "web.json.bak" in node.heat.body("b")["deploy_stderr"]
    assert copy.exists() and node.file("web").stat().st_ino == ours.st_ino


# --- manifests that somebody touched


@pytest.mark.parametrize("touched", ["edited", "deleted"])
def test_a_manifest_that_was_touched_is_put_right_as_a_new_pod(node: Node, touched: str) -> None:
    node.collect(raw_entry("a"), raw_entry("x", resource="x", config=pod_map("x")))
    node.work()
    content, uid, other = json.loads(node.file("web").read_text()), node.uids()["web"], node.files()["x"]
    if touched == "deleted":
        node.file("web").unlink()
    else:
        node.file("web").write_text(json.dumps({**content, "spec": {"containers": [{"name": "c", "image": "evil"}]}}))
    node.collect(raw_entry("a"), raw_entry("x", resource="x", config=pod_map("x")))
    node.work()
    assert node.images()["web"] == "registry.example/app:1" and node.uids()["web"] != uid
    assert node.files()["x"] == other


# --- the directory makes trouble


class FullDir(ManifestDir):
    """A directory without room, until there is."""

    full = True

    def write(self, file: str, content: bytes) -> str:
        if FullDir.full:
            raise ManifestError(f"{file}: No space left on device")
        return super().write(file, content)


class ReadOnlyDir(ManifestDir):
    """A directory on a file system that was mounted read-only, until it is not."""

    read_only = True

    def prepare(self) -> None:
        if ReadOnlyDir.read_only:
            raise ManifestError(f"{self.folder}: Read-only file system")
        super().prepare()

    def remove(self, file: str) -> None:
        if ReadOnlyDir.read_only:
            raise ManifestError(f"{file}: Read-only file system")
        super().remove(file)


def test_a_full_disk_fails_the_deployment_after_its_time_with_the_reason(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What needs nothing written is done meanwhile; when there is room again the pods run."""
    monkeypatch.setattr(FullDir, "full", True)
    node.directory_of = FullDir
    node.collect(
        raw_entry("a", options={"containers_timeout": 30}), raw_entry("s", resource="x", group="script", config="x")
    )
    begun = node.time.steady
    failed_at: list[float] = []
    real = node.heat.send

    def watched(deployment: Any, body: bytes) -> Answer:
        failed_at.append(node.time.steady - begun)
        return real(deployment, body)

    monkeypatch.setattr(node.heat, "send", watched)
    node.after(100.0, lambda: setattr(FullDir, "full", False))
    node.work()
    assert node.heat.codes() == [("s", 0), ("a", 1)] and 30.0 <= failed_at[1] < 35.0
    assert "No space left on device" in node.heat.body("a")["deploy_stderr"]
    assert list(node.uids()) == ["web"]


def test_a_disk_that_gets_room_in_time_fails_nothing(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FullDir, "full", True)
    node.directory_of = FullDir
    node.collect(raw_entry("a", options={"containers_timeout": 30}))
    node.after(10.0, lambda: setattr(FullDir, "full", False))
    node.work()
    assert node.heat.codes() == [("a", 0)]


def test_a_read_only_directory_is_tried_until_it_can_be_written(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ReadOnlyDir, "read_only", True)
    node.directory_of = ReadOnlyDir
    node.collect(raw_entry("a"))
    node.after(20.0, lambda: setattr(ReadOnlyDir, "read_only", False))
    node.work()
    assert node.heat.codes() == [("a", 0)] and node.log.text.count("Read-only") == 1, "said once"


def test_a_removal_that_is_refused_is_tried_until_it_is_done(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    node.collect(raw_entry("a"))
    node.work()
    monkeypatch.setattr(ReadOnlyDir, "read_only", True)
    node.directory_of = ReadOnlyDir
    node.collect(raw_entry("b", action="DELETE"))
    node.after(100.0, lambda: setattr(ReadOnlyDir, "read_only", False))
    node.work()
    assert node.uids() == {} and node.heat.codes()[1:] == [("b", 0)]


def test_a_removal_that_is_refused_too_long_fails_with_the_reason(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    node.collect(raw_entry("a"))
    node.work()
    monkeypatch.setattr(ReadOnlyDir, "read_only", True)
    node.directory_of = ReadOnlyDir
    node.collect(raw_entry("b", action="DELETE", options={"containers_timeout": 30}))
    node.after(100.0, lambda: setattr(ReadOnlyDir, "read_only", False))
    node.work()
    assert node.heat.codes()[1:] == [("b", 1)] and "Read-only" in node.heat.body("b")["deploy_stderr"]
    assert node.uids() == {}, "and is done when it can be"


def test_without_a_kubelet_to_work_with_deployments_fail_with_that_and_hooks_run(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loop then ends: the next one looks for the kubelet again."""

    class NoDir(ManifestDir):
        def prepare(self) -> None:
            """Nothing to prepare."""

        def scan(self) -> Any:
            raise ManifestError("no kubelet configuration")

    node.broken = "no kubelet configuration"
    node.directory_of = NoDir
    node.collect(raw_entry("a"), raw_entry("s", resource="x", group="script", config="x"))
    node.work()
    assert sorted(node.heat.codes()) == [("a", 1), ("s", 0)]
    assert "no kubelet configuration" in node.heat.body("a")["deploy_stderr"]


# --- the kubelet makes trouble


def test_a_kubelet_that_refuses_us_fails_the_deployment_at_once(node: Node) -> None:
    node.kubelet.problem = refuses("401 Unauthorized")
    node.collect(raw_entry("a"))
    begun = node.time.steady
    node.work()
    assert node.heat.codes() == [("a", 1)] and node.time.steady - begun < 5.0
    assert "401 Unauthorized" in node.heat.body("a")["deploy_stderr"]


def test_a_kubelet_that_is_down_is_started_and_waited_for(node: Node) -> None:
    node.kubelet.problem = KubeletError("connection refused")
    node.collect(raw_entry("a"))
    node.after(20.0, lambda: setattr(node.kubelet, "problem", None))
    node.work()
    assert node.heat.codes() == [("a", 0)] and node.service.asked > 5


def test_a_kubelet_that_cannot_be_started_fails_the_deployment_with_its_words(node: Node) -> None:
    node.kubelet.problem = KubeletError("connection refused")
    node.service.report = ServiceReport(ServiceState.FAILED, "kubelet.service: cgroup v1 is not supported")
    node.collect(raw_entry("a"))
    node.work()
    assert "cgroup v1 is not supported" in node.heat.body("a")["deploy_stderr"]


# --- other groups


def test_hooks_run_one_at_a_time_in_the_order_of_their_names_and_hold_up_no_pod(node: Node) -> None:
    node.hooks.seconds = {"s1": 100.0, "s2": 50.0}
    node.collect(
        raw_entry("s2", resource="r2", name="20-b", group="script", config="x"),
        raw_entry("s1", resource="r1", name="10-a", group="ansible", config="x"),
        raw_entry("p", resource="r3", name="30-c"),
    )
    begun = node.time.steady
    node.work()
    assert node.hooks.ran == ["s1", "s2"] and node.heat.codes() == [("p", 0), ("s1", 0), ("s2", 0)]
    assert 150.0 <= node.time.steady - begun < 155.0


def test_a_failed_hook_fails_its_deployment_alone(node: Node) -> None:
    node.hooks.results["s"] = Result(7, "", "broke")
    node.collect(raw_entry("s", resource="x", group="script", config="x"), raw_entry("p"))
    node.work()
    assert sorted(node.heat.codes()) == [("p", 0), ("s", 7)]


def test_a_group_without_a_hook_fails_and_says_where_it_was_looked_for(node: Node) -> None:
    node.collect(raw_entry("s", group="puppet", config="x"))
    node.work()
    assert node.heat.codes() == [("s", 1)] and str(node.hooks.folder) in node.heat.body("s")["deploy_stderr"]


def test_a_components_delete_by_another_tool_runs_when_its_pods_are_gone(node: Node) -> None:
    config = {
        "configs": [
            {"tool": "kubelet", "actions": ["CREATE"], "config": pod_map()},
            {"tool": "script", "actions": ["DELETE"], "config": "#!/bin/sh"},
        ]
    }
    node.collect(raw_entry("a", group="component", config=config))
    node.work()
    uid = node.uids()["web"]
    there: list[bool] = []
    node.hooks.before = lambda: there.append(node.kubelet.in_runtime(uid))
    node.collect(raw_entry("b", action="DELETE", group="component", config=config))
    node.work()
    assert node.hooks.ran == ["b"] and there == [False] and node.heat.codes() == [("a", 0), ("b", 0)]


def test_a_component_without_config_for_the_action_changes_nothing_and_is_answered(node: Node) -> None:
    config = {"configs": [{"tool": "kubelet", "actions": ["CREATE"], "config": pod_map()}]}
    node.collect(raw_entry("a", group="component", config=config))
    node.work()
    files = node.files()
    node.collect(raw_entry("b", action="SUSPEND", group="component", config=config))
    node.work()
    assert node.files() == files and node.heat.codes()[1:] == [("b", 0)]
    assert "no config for SUSPEND" in node.heat.body("b")["deploy_stdout"]


@pytest.mark.parametrize(("problem", "code"), [("", 0), ("exit status 1: [ERROR] no such key", 1)])
def test_an_ungrouped_config_is_answered_after_os_apply_config(node: Node, problem: str, code: int) -> None:
    node.collect(raw_entry("u", group="Heat::Ungrouped", config={"x": 1}))
    node.after(10.0, lambda: silent.append(not node.heat.got))
    node.after(20.0, lambda: node.applied(problem))
    silent: list[bool] = []
    node.work()
    assert silent == [True] and node.heat.codes() == [("u", code)]
    assert problem in node.heat.body("u")["deploy_stderr"]


def test_a_former_pass_of_os_apply_config_answers_nothing_newer(node: Node) -> None:
    node.applied()
    node.time.advance(1)
    node.collect(raw_entry("u", group="Heat::Ungrouped", config={"x": 1}))
    node.after(5.0, lambda: silent.append(not node.heat.got))
    node.after(6.0, node.applied)
    silent: list[bool] = []
    node.work()
    assert silent == [True] and node.heat.codes() == [("u", 0)]


# --- results and their delivery


def test_no_signal_is_no_signal(node: Node) -> None:
    node.collect(raw_entry("a", transport="NO_SIGNAL"))
    node.work()
    assert node.heat.got == [] and node.entries["a"].signal == UNSENT and node.uids()


def test_in_hook_mode_nothing_is_signalled_and_no_other_hook_run(node: Node) -> None:
    node.collect(raw_entry("a"), raw_entry("s", resource="x", group="script", config="x"), mode=HOOK)
    node.work()
    assert node.heat.got == [] and node.hooks.ran == []
    assert {entry.signal for entry in node.entries.values()} == {UNSENT}
    assert only([entry.result for entry in node.entries.values() if entry.result]).status_code == 0


def test_a_refused_signal_is_not_tried_again(node: Node) -> None:
    node.heat.answers["a"] = [Answer(AnswerKind.REFUSED, "404")]
    node.collect(raw_entry("a"))
    node.work()
    assert node.entries["a"].signal == REFUSED and len(node.heat.got) == 1


def test_the_loop_lives_until_every_signal_is_taken(node: Node) -> None:
    node.heat.answers["a"] = [Answer(AnswerKind.RETRY, "503")] * 6
    node.collect(raw_entry("a"), raw_entry("b", resource="x", config=pod_map("x")))
    begun = node.time.steady
    node.work()
    assert [entry_id for entry_id, _ in node.heat.got].count("a") == 7 and node.time.steady - begun > 30.0
    assert node.entries["a"].signal == node.entries["b"].signal == DELIVERED


# --- lives of the loop


def test_work_that_comes_at_the_last_look_is_not_lost(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    from heat_config_kubelet.loop import Loop

    real, late = Loop._end, [raw_entry("b", resource="x", config=pod_map("x"))]

    def end(self: Loop) -> bool:
        if late:
            node.collect(raw_entry("a"), late.pop())
        return real(self)

    monkeypatch.setattr(Loop, "_end", end)
    node.collect(raw_entry("a"))
    node.work()
    assert node.heat.codes() == [("a", 0), ("b", 0)]


def test_a_loop_with_nothing_to_do_ends_at_once(node: Node) -> None:
    node.work()
    assert node.wake.pauses == [] and node.time.slept == []


def test_a_reboot_in_the_middle_of_a_deployment_is_taken_up(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """os-collect-config calls no command then: the metadata has not changed."""
    node.kubelet.start_seconds = 20.0
    node.collect(raw_entry("a"))

    def reboot() -> None:
        raise KeyboardInterrupt

    node.after(5.0, reboot)
    with pytest.raises(KeyboardInterrupt):
        node.work()
    assert node.wake.flag.exists(), "what starts the loop again"
    files = node.files()
    node.work()
    assert node.files() == files and node.heat.codes() == [("a", 0)]


def test_a_hook_that_a_crash_cut_short_has_failed_and_is_not_run_again(node: Node) -> None:
    node.hooks.seconds["s"] = 100.0
    node.collect(raw_entry("s", group="script", config="x"))

    def crash() -> None:
        raise KeyboardInterrupt

    node.after(5.0, crash)
    with pytest.raises(KeyboardInterrupt):
        node.work()
    node.work()
    assert node.hooks.ran == ["s"] and node.heat.codes() == [("s", 1)]
    assert "not run a second time" in node.heat.body("s")["deploy_stderr"]


def test_a_store_that_cannot_be_written_is_an_error_and_no_half_step(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    from heat_config_kubelet.store import Store

    node.collect(raw_entry("a"))

    def full(*_: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(Store, "put_pod", full)
        with pytest.raises(sqlite3.OperationalError):
            node.work()
    assert node.uids() == {} and node.wake.flag.exists()
    node.work()
    assert node.heat.codes() == [("a", 0)]


def test_metadata_that_is_not_heats_runs_pods_too(node: Node) -> None:
    node.collect({"name": "mine", "group": "kubelet", "config": pod_map()}, name="local")
    node.work()
    entry = only(list(node.entries.values()))
    assert entry.deployment.identity == Identity("", "mine") and entry.signal == UNSENT
    assert entry.result is not None and entry.result.status_code == 0


def test_nothing_secret_comes_into_the_log(node: Node) -> None:
    config = pod_map()
    config["spec"]["containers"][0]["env"] = [{"name": "DB_PASSWORD", "value": "planted-1"}]
    node.collect(
        raw_entry("a", config=config, inputs={"deploy_password": "planted-2"}), raw_entry("x", config="planted-3: [")
    )
    node.work()
    assert "planted" not in node.log.text and len(node.log.text) > 100


def test_pods_are_read_once_however_often_the_loop_steps(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    from heat_config_kubelet import wanted

    calls: list[object] = []
    real = pods_of

    def counted(config: object, **given: Any) -> tuple[Pod, ...]:
        calls.append(config)
        return real(config, **given)

    monkeypatch.setattr(wanted, "pods_of", counted)
    node.kubelet.start_seconds = 60.0
    node.collect(raw_entry("a"))
    node.after(5.0, lambda: node.collect(raw_entry("a"), raw_entry("b", resource="x", config=pod_map("x"))))
    node.work()
    assert len(calls) == 2
