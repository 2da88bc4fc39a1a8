"""`status`, `pods` and `config` on a real node in each state: one node, and many looks at it."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lab import deployments as heat
from lab import expected, nobody
from lab.images import BUSYBOX
from lab.node import LabNode
from way import Way, several


def look(way: Way, name: str, *arguments: str, status: int) -> str:
    """Run a command, compare what it shows with the expected file, and give it."""
    done = way.node.agent(*arguments)
    text = done.stdout + done.stderr
    varies = {r"knows \d+": "knows N", r"tried \d+ times": "tried N times"}
    expected.check(f"status/node-{name}", text, node=way.node.name, also=varies)
    assert done.returncode == status, text
    return text


def rows(node: LabNode, command: str = "status") -> dict[str, dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(node.agent(command, "-o", "json").stdout)
    return {row["resource" if command == "status" else "name"]: row for row in found}


def test_a_node_in_each_state(way: Way) -> None:
    node = way.node
    web = way.entry("web", several(heat.pod("web"), heat.pod("cache")))
    slow = way.entry("slow", way.gated("slow"))
    bad = way.entry("bad", heat.pod("bad", image="lab.local/none:1", container={"imagePullPolicy": "Never"}))
    way.deploy(web, slow, bad)
    way.succeeds("web")
    way.fails("bad")
    way.wait_until_settled(web, bad)
    node.wait_for(lambda: "runs, but is not ready" in rows(node)["slow"]["reason"], "the slow pod to run")
    look(way, "mixed", "status", status=1)

    # pending alone, then well
    way.deploy(web, slow)
    way.wait_until_gone(bad)
    node.wait_for(lambda: len(rows(node)) == 2 and not node.pod("bad"), "the failed one to vanish")
    look(way, "pending", "status", status=2)
    waiting = subprocess.Popen(
        [str(Path(sys.executable).parent / "heat-config-kubelet"), "status", "--wait", "--timeout", "60"],
        env=node.environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    way.open_gate("slow")
    way.succeeds("slow")
    told, _ = waiting.communicate(timeout=60)
    assert waiting.returncode == 0 and "pending" not in told and "working" not in told
    way.wait_until_idle()
    look(way, "well", "status", status=0)
    _without_root(way)
    _pods(way)

    # a pod that is not ready any more
    (way.work / "gate-slow" / "open").unlink()
    node.wait_for(lambda: rows(node)["slow"]["health"] == "degraded", "the slow pod not to be ready any more")
    look(way, "degraded", "status", "slow", status=2)
    way.open_gate("slow")
    node.wait_for(lambda: rows(node)["slow"]["health"] == "well", "the slow pod to be ready again")
    _stores(way)

    node.stop_kubelet()
    look(way, "kubelet-down", "status", status=2)
    assert {row["phase"] for row in rows(node, "pods").values()} == {"unknown"}
    node.start_kubelet()
    node.wait_for(lambda: node.agent("status").returncode == 0, "all to be well again")


def _without_root(way: Way) -> None:
    done = nobody.agent(way.node.environment, "status")
    expected.check("status/node-without-root", done.stdout + done.stderr, node=way.node.name)
    assert done.returncode == 0, done.stderr


def _pods(way: Way) -> None:
    """Beside ours there is somebody else's pod."""
    foreign = way.node.manifests / "proxy.json"
    foreign.write_text(json.dumps(heat.pod("proxy", image=BUSYBOX)))
    way.ready_pod("proxy")
    look(way, "pods", "pods", status=0)
    found = rows(way.node, "pods")
    assert (found["proxy"]["owner_kind"], found["proxy"]["file"]) == ("foreign", str(foreign))
    assert (found["web"]["owner"], found["web"]["images"], found["web"]["restarts"]) == ("lab/web", [BUSYBOX], 0)
    assert found["web"]["ip"] and found["web"]["started"] and Path(found["web"]["file"]).is_file()
    foreign.unlink()
    way.node.wait_for(lambda: "proxy" not in rows(way.node, "pods"), "the foreign pod to be gone")


def _stores(way: Way) -> None:
    """The store of a newer release, a corrupt one, and none: the manifests tell what they can."""
    node = way.node
    way.node.collector.stop()
    way.wait_until_idle()
    file = node.state_dir / "store.sqlite"
    with _mount("--bind", "-o", "ro", str(node.state_dir), on=node.state_dir):
        look(way, "disk-read-only", "status", status=2)
    with _full(node.state_dir):
        look(way, "disk-full", "status", status=2)
    version = _set_version(file, 99)
    look(way, "store-newer", "status", status=1)
    _set_version(file, version)
    content = file.read_bytes()
    file.write_bytes(os.urandom(len(content)))
    look(way, "store-corrupt", "status", status=1)
    file.unlink()
    look(way, "store-missing", "status", status=1)
    assert not file.exists()
    file.write_bytes(content)


@contextmanager
def _mount(*arguments: str, on: Path) -> Iterator[None]:
    subprocess.run(["mount", *arguments, str(on)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", str(on)], check=True)


@contextmanager
def _full(folder: Path) -> Iterator[None]:
    """Put a copy of the folder in its place, on a disk that is full."""
    copy = folder.with_name("copy")
    subprocess.run(["cp", "--archive", str(folder), str(copy)], check=True)
    with _mount("-t", "tmpfs", "-o", "size=4m", "tmpfs", on=folder):
        subprocess.run(["cp", "--archive", f"{copy}/.", str(folder)], check=True)
        with (folder / "fill").open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(bytes(4096))
        yield
    shutil.rmtree(copy)


def _set_version(file: Path, version: int) -> int:
    """Give the version that it was."""
    store = sqlite3.connect(file)
    before = int(store.execute("PRAGMA user_version").fetchone()[0])
    store.execute(f"PRAGMA user_version = {version}")
    store.close()
    return before


def test_the_settings_in_force_and_what_was_found(way: Way) -> None:
    node = way.node
    node.configure(signals={"timeout": 7})
    found = {row["name"]: row for row in json.loads(node.agent("config", "-o", "json").stdout)}
    assert (found["signals.timeout"]["value"], found["signals.timeout"]["source"]) == (7.0, "file")
    assert found["signals.max_age"]["source"] == "default"
    assert found["settings file"]["source"] == "environment"
    assert found["settings file"]["value"] == str(node.settings_file)
    assert found["node.manifest_dir"]["value"] == str(node.manifests)
    assert found["node.kubelet_api"]["value"] == f"https://127.0.0.1:{node.access.port}"
    assert found["node.runtime"]["value"] == f"unix://{node.folder / 'run' / 'containerd.sock'}"
    assert found["node.kubelet_client_cert"]["value"] == str(node.access.client_cert)
