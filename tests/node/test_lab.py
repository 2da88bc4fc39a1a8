"""The lab itself: a node works, several do side by side, and nothing is left of one."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from lab.binaries import Binaries
from lab.node import LabError, LabNode
from lab.progress import Progress
from lab.readiness import is_ready

PORT = 38099
NodeFactory = Callable[[str], LabNode]


def put(node: LabNode, name: str, command: str = "exec sleep 3600", **fields: Any) -> None:
    """Make a static pod by hand; `fields` are of its container."""
    container = {"name": "c", "image": "lab.local/busybox:1", "command": ["/bin/sh", "-c", command], **fields}
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {"terminationGracePeriodSeconds": 1, "containers": [container]},
    }
    aside = node.folder / "aside"
    aside.write_text(json.dumps(pod))
    aside.rename(node.manifests / f"{name}.json")


def ready(node: LabNode, name: str) -> dict[str, Any]:
    def look() -> dict[str, Any] | None:
        pod = node.pod(name)
        return pod if is_ready(pod) else None

    return node.wait_for(look, f"pod {name} to be ready")


def traces(folder: Path) -> list[str]:
    """What this machine still has of a node: processes and mounts that name its folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        for name in ("cmdline", "mountinfo"):
            try:
                text = (process / name).read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue
            if f"{folder}/" in text and int(process.name) != os.getpid():
                found.append(f"{process.name} {name}: {text[:200]}")
    return found


def test_a_static_pod_runs_and_goes(node: LabNode) -> None:
    put(node, "web")
    pod = ready(node, "web")
    identity = pod["status"]["containerStatuses"][0]["containerID"].removeprefix("containerd://")
    assert identity in node.running_containers()
    assert node.pods_left() == {pod["metadata"]["uid"]}
    (node.manifests / "web.json").unlink()
    node.wait_for(lambda: not node.pods_left(), "the pod to be gone")
    node.wait_for(lambda: identity not in node.running_containers(), "its container to be gone")


def test_a_port_of_this_machine_leads_to_no_pod_that_was_killed(node: LabNode) -> None:
    """Else a kubelet that gets the same port later cannot be reached."""

    def rules() -> list[str]:
        told = subprocess.run(["iptables-save", "-t", "nat"], capture_output=True, text=True, check=True).stdout
        return [line for line in told.splitlines() if f"{PORT}" in line]

    put(node, "web", ports=[{"containerPort": 80, "hostPort": PORT}])
    ready(node, "web")
    assert rules() != []
    node.kill_all()
    assert rules() == []
    node.start()
    ready(node, "web")


def test_logs_come_over_the_kubelets_api(node: LabNode) -> None:
    put(node, "talker", "echo hello; exec sleep 3600")
    ready(node, "talker")
    path = f"/containerLogs/default/talker-{node.name}/c"
    node.wait_for(lambda: node.get(path) == b"hello\n", "the container's log")


def test_nobody_is_let_in_without_a_certificate(node: LabNode) -> None:
    command = ["openssl", "s_client", "-connect", f"127.0.0.1:{node.access.port}", "-CAfile", str(node.access.ca)]
    request = "GET /pods HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n"
    done = subprocess.run([*command, "-quiet"], input=request, capture_output=True, text=True, timeout=20)
    assert "401 Unauthorized" in done.stdout


def test_an_emptied_node_has_nothing_deployed(node: LabNode) -> None:
    put(node, "stubborn", "trap '' TERM; while :; do sleep 1; done")
    ready(node, "stubborn")
    (node.state_dir / "store.sqlite").touch()
    node.empty()
    assert not node.pods()
    assert not node.pods_left()
    assert sorted(path.name for path in node.state_dir.iterdir()) == ["kubelet.json", "pki"]


def test_pods_come_again_after_a_loss_of_power(fresh_node: NodeFactory) -> None:
    node = fresh_node("reboot")
    put(node, "web")
    before = ready(node, "web")["status"]["containerStatuses"][0]["containerID"]
    node.kill_all()
    assert not node.slot.cgroup.processes()
    node.start()
    after = ready(node, "web")["status"]["containerStatuses"][0]
    assert after["containerID"] != before


def test_three_nodes_side_by_side_leave_nothing(fresh_node: NodeFactory) -> None:
    nodes = [fresh_node(f"side-{letter}") for letter in "abc"]
    for node in nodes:
        put(node, "web")
    for node in nodes:
        assert ready(node, "web")["status"]["podIP"].startswith(f"198.18.{node.slot.number}.")
        assert len(node.pods_left()) == 1
    groups = [folder for node in nodes for folder in node.slot.cgroup.folders]
    bridges = [Path("/sys/class/net", node.slot.bridge) for node in nodes]
    assert all(path.exists() for path in (*groups, *bridges))
    for node in nodes:
        node.close()
        assert traces(node.folder) == []
        assert [path.name for path in node.folder.iterdir()] == ["log"]
    assert not any(path.exists() for path in (*groups, *bridges))


def test_a_failed_start_leaves_nothing(programs: Binaries, progress: Progress) -> None:
    folder = Path(tempfile.mkdtemp(prefix="lab-", dir="/tmp"))
    node = LabNode(folder, "broken", programs, progress)
    node.settings_file.write_text(f"[agent]\nstate_dir = {node.state_dir}\n[kubelet]\nmanifest_dir = /proc/none\n")
    with pytest.raises(Exception, match="/proc/none"), node:
        pass
    assert traces(folder) == []
    shutil.rmtree(folder)


def test_what_was_waited_for_is_told(node: LabNode) -> None:
    with pytest.raises(LabError, match=r"waited for a miracle: not within 0\.2 s; last seen: None\n--- containerd"):
        node.wait_for(lambda: None, "a miracle", timeout=0.2)


OWNER = """\
import sys, pathlib
from lab import binaries, node, progress
quiet = progress.Progress(quiet=True)
with node.LabNode(pathlib.Path(sys.argv[1]), "owned", binaries.get(quiet), quiet) as found:
    print(found.slot.number, flush=True)
    sys.stdin.read()
"""


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGINT])
def test_a_node_ends_with_its_owner(end: signal.Signals, programs: Binaries) -> None:
    folder = Path(tempfile.mkdtemp(prefix="lab-", dir="/tmp"))
    tests = Path(__file__).parents[1]
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER, str(folder)],
        cwd=tests,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert owner.stdin and owner.stdout
    with owner.stdin, owner.stdout:
        number = int(owner.stdout.readline())
        assert traces(folder)
        owner.send_signal(end)
        owner.wait(30)
    deadline = time.monotonic() + 20
    while traces(folder) or Path(f"/sys/class/net/lab{number}").exists() or (folder / "lib").exists():
        assert time.monotonic() < deadline, traces(folder)
        time.sleep(0.1)
    shutil.rmtree(folder, ignore_errors=True)
