"""Many deployments at once, a manifest directory that others use too, and disks that are full or read-only."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import passes
from lab import deployments as heat
from lab.deployments import Metadata
from lab.node import LabNode
from way import Way

from heat_config_kubelet.manifest_dir import STAGING

MANY = 50


def changed(name: str, **spec: Any) -> Metadata:
    """A pod of this name with another content than `heat.pod` gives it."""
    return heat.pod(name, container={"env": [{"name": "CHANGED", "value": "yes"}]}, **spec)


def files_there(node: LabNode) -> passes.Snapshot:
    """All in the manifest directory but the folder that manifests are written in first."""
    return {name: seen for name, seen in passes.snapshot(node.manifests).items() if name != STAGING}


def ours(way: Way, name: str) -> Path:
    """The file of our manifest of a pod."""
    (found,) = way.node.manifests.glob(f"heat-{name}-????????????.json")
    return found


def test_fifty_deployments_at_once(way: Way) -> None:
    """One that is bad fails alone; one that changes leaves the others alone; nothing of ours runs on."""
    names = [f"web-{number:02}" for number in range(MANY - 1)]
    entries = {name: way.entry(name, heat.pod(name, hostNetwork=True)) for name in names}
    bad = heat.pod("bad", image="lab.local/absent:1", container={"imagePullPolicy": "Never"})
    entries["bad"] = way.entry("bad", bad, error_outputs=["reason"])
    way.deploy(*entries.values())
    told = way.fails("bad", timeout=120)
    assert "lab.local/absent:1" in told["reason"]
    for name in names:
        way.succeeds(name, timeout=120)
    way.wait_until_idle()
    before, files = way.containers(*names), files_there(way.node)
    assert len(before) == len(names)

    entries["web-07"] = heat.again(entries["web-07"], config=changed("web-07", hostNetwork=True))
    way.deploy(*entries.values())
    way.succeeds("web-07")
    way.wait_until_idle()
    after, later = way.containers(*names), files_there(way.node)
    assert {pod for pod in before if after[pod] != before[pod]} == {"web-07/c"}
    assert {file for file in files if later.get(file) != files[file]} == {ours(way, "web-07").name}
    way.no_more_signals(*entries)

    way.node.collector.stop()
    passes.wait_until_idle(way.node)
    assert set(way.node.running_containers()) >= set(after.values())


def test_what_others_put_into_the_directory_is_left_alone(way: Way) -> None:
    node = way.node
    entry = way.entry("web", heat.pod("web"))
    way.deploy(entry)
    way.succeeds("web")
    passes.put_foreign(node, "other", "other.yaml")
    own = ours(way, "web")
    (node.manifests / "half.json").write_text(json.dumps(heat.pod("half"))[:60])
    (node.manifests / ".#heat-web.json").write_text("an editor's")
    (node.manifests / "link").symlink_to("/nowhere")
    (node.manifests / "folder").mkdir()
    shutil.copy(own, node.manifests / "folder" / own.name)
    shutil.copy(own, node.manifests / f".{own.name}.swp")
    foreign = {name: seen for name, seen in files_there(node).items() if name != own.name}
    other = way.containers("other")

    second = heat.again(entry, config=changed("web"))
    taken = way.entry("taken", heat.pod("other"), error_outputs=["reason"])
    way.deploy(second, taken)
    way.succeeds("web")
    told = way.fails("taken")
    assert "default/other" in told["reason"] and "other.yaml" in told["reason"], told
    way.deploy()
    way.wait_until_gone(second, taken)
    way.wait_until_idle()
    now = files_there(node)
    assert {name: now.get(name) for name in foreign} == foreign
    assert not own.exists()
    assert way.containers("other") == other


def test_a_backup_copy_of_ours_is_named(way: Way) -> None:
    """The kubelet would run the copy beside, or instead of, the manifest that comes next."""
    entry = way.entry("web", heat.pod("web"), error_outputs=["reason"])
    way.deploy(entry)
    way.succeeds("web")
    own = ours(way, "web")
    backup = way.node.manifests / f"{own.name}.bak"
    shutil.copy(own, backup)
    content = own.read_bytes()
    way.deploy(heat.again(entry, config=changed("web")))
    told = way.fails("web")
    assert backup.name in told["reason"] and "default/web" in told["reason"], told
    assert (own.read_bytes(), backup.read_bytes()) == (content, content)

    backup.unlink()
    third = heat.again(entry, config=changed("web"))
    way.deploy(third)
    way.succeeds("web")
    assert way.manifests()["web"]["spec"]["containers"][0]["env"]
    way.wait_until_idle()
    way.no_more_signals("web")


def test_manifests_that_somebody_deleted_or_edited_are_put_right(way: Way) -> None:
    node = way.node
    names = ("deleted", "edited", "kept")
    entries = [way.entry(name, heat.pod(name)) for name in names]
    passes.run_pass(node, *entries)
    for name in names:
        way.succeeds(name)
    passes.wait_until_idle(node)
    before = way.containers(*names)
    ours(way, "deleted").unlink()
    text = ours(way, "edited").read_text()
    assert "sleep 3600" in text
    ours(way, "edited").write_text(text.replace("sleep 3600", "sleep 7200"))

    passes.run_pass(node, *entries)
    passes.wait_until_idle(node)
    for name in ("deleted", "edited"):
        passes.wait_until_ready(node, name)
    after = way.containers(*names)
    assert {pod for pod in before if after[pod] == before[pod]} == {"kept/c"}
    commands = {name: pod["spec"]["containers"][0]["command"][2] for name, pod in way.manifests().items()}
    assert commands == dict.fromkeys(names, "exec sleep 3600")
    node.wait_for(lambda: len(node.pods_left()) == len(names), "the former pods to be gone")
    way.no_more_signals(*names)


# --- disks


@contextmanager
def loop_with(node: LabNode, script: str) -> Iterator[list[str]]:
    """The loop with mounts of its own; gives what a command has to begin with to see and change them."""
    program = str(Path(sys.executable).parent / "heat-config-kubelet")
    own = ["unshare", "--mount", "--propagation", "private", "/bin/sh", "-ec", f'{script}; exec "$@"', "sh"]
    loop = subprocess.Popen(
        [*node.slot.cgroup.joining("agent"), *own, program, "loop"], env=node.environment, stderr=subprocess.DEVNULL
    )
    try:
        yield ["nsenter", f"--mount=/proc/{loop.pid}/ns/mnt"]
        assert loop.wait(60) == 0
    finally:
        loop.kill()
        loop.wait()


def test_a_read_only_manifest_directory_that_is_mended(way: Way) -> None:
    node = way.node
    there = way.entry("there", heat.pod("there"))
    passes.run_pass(node, there)
    way.succeeds("there")
    passes.wait_until_idle(node)
    before = way.containers("there")
    fresh, task = way.entry("fresh", heat.pod("fresh")), way.entry("task", "", group="script")
    way.hook("script", "echo '{\"deploy_status_code\": 0}'")
    passes.record(node, heat.again(there, config=changed("there")), fresh, task)
    folder = node.manifests
    with loop_with(node, f"mount --bind {folder} {folder}; mount -o remount,bind,ro {folder}") as inside:
        way.succeeds("task")
        assert way.containers("there") == before
        assert passes.states(node)["fresh"][0] == "working"
        subprocess.run([*inside, "umount", str(folder)], check=True)
        way.succeeds("there")
        way.succeeds("fresh")
    assert way.containers("there") != before
    way.no_more_signals("there", "fresh", "task")


def test_a_read_only_manifest_directory_that_stays(way: Way) -> None:
    """It fails with the reason when its time is over, and what ran goes on; once mended, what is wanted is there."""
    node = way.node
    there = way.entry("there", heat.pod("there"))
    passes.run_pass(node, there)
    way.succeeds("there")
    passes.wait_until_idle(node)
    before = way.containers("there")
    short = {"containers_timeout": 2, "images_timeout": 2}
    entries = [
        way.entry("fresh", heat.pod("fresh"), options=short, error_outputs=["reason"]),
        {**heat.again(there, config=changed("there")), "options": {**there["options"], **short}},
    ]
    passes.record(node, *entries)
    folder = node.manifests
    with loop_with(node, f"mount --bind {folder} {folder}; mount -o remount,bind,ro {folder}") as inside:
        told = way.fails("fresh")
        assert "Read-only file system" in told["reason"]
        assert "the manifest directory must be writable and have room" in told["reason"]
        assert "Read-only file system" in way.fails("there")["deploy_stderr"]
        assert way.containers("there") == before
        assert list(way.manifests()) == ["there"]
        subprocess.run([*inside, "umount", str(folder)], check=True)
    assert sorted(way.manifests()) == ["fresh", "there"]
    for name in ("fresh", "there"):
        passes.wait_until_ready(node, name)
    assert way.manifests()["there"]["spec"]["containers"][0]["env"]
    way.no_more_signals("there", "fresh")


def test_a_full_manifest_directory(way: Way) -> None:
    """It is tried again until there is room; no half-written manifest is ever to be seen."""
    node = way.node
    entry = way.entry("web", heat.pod("web"))
    passes.record(node, entry)
    folder = node.manifests
    full = f"mount -t tmpfs -o size=16k lab {folder}; head -c 16384 /dev/zero > {folder}/.full || true"
    with loop_with(node, full) as inside:
        node.wait_for(lambda: passes.states(node)["web"][0] == "working", "the loop to try")
        listed = [*inside, "sh", "-c", f"ls {folder}; cat {folder}/.heat-config-kubelet/* 2>/dev/null || true"]
        said = node.wait_for(lambda: subprocess.run(listed, capture_output=True, text=True), "the directory")
        assert "heat-web" not in said.stdout
        assert passes.our_manifests(node) == {}
        subprocess.run([*inside, "umount", "--lazy", str(folder)], check=True)
        way.succeeds("web")
    assert passes.is_ready(node, "web")
    way.no_more_signals("web")


def limited(node: LabNode, command: str, size: int, *entries: Metadata) -> subprocess.CompletedProcess[str]:
    """Call the agent so that no file of its can grow beyond a size, as on a full disk."""
    program = str(Path(sys.executable).parent / "heat-config-kubelet")
    file = passes.write_source(node, *entries)
    return subprocess.run(
        [*node.slot.cgroup.joining("agent"), "prlimit", f"--fsize={size}", program, command],
        env={**node.environment, "OS_CONFIG_FILES": str(file)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_a_full_disk_for_the_state(way: Way) -> None:
    """`run` fails, so that os-collect-config calls it again, and so does the loop; nothing is lost."""
    node = way.node
    entry = way.entry("web", heat.pod("web"))
    failed = limited(node, "run", 8192, entry)
    assert failed.returncode == 1
    assert "there is no room, or it may not be written: heat-config-kubelet doctor disk read-only" in failed.stderr
    assert "Traceback" not in failed.stderr
    passes.wait_until_idle(node)
    assert passes.our_manifests(node) == {}

    passes.record(node, entry)
    failed = limited(node, "loop", 8192, entry)
    assert failed.returncode == 1
    assert "there is no room, or it may not be written: heat-config-kubelet doctor disk read-only" in failed.stderr
    assert "Traceback" not in failed.stderr
    assert passes.is_pending(node)

    assert node.agent("resume").returncode == 0
    way.succeeds("web")
    way.wait_until_idle()
    assert passes.states(node) == {"web": ("succeeded", "delivered")}
    way.no_more_signals("web")
