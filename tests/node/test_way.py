"""The whole way: metadata through the real os-collect-config to manifests, running pods, and signals."""

from __future__ import annotations

import json
import stat
import subprocess
from collections.abc import Callable
from typing import Any

from lab import deployments as heat
from lab import images
from lab.node import LabNode
from way import NEVER_READY, Way, marks, several, way_on

NodeFactory = Callable[[str], LabNode]


def test_two_deployments_become_manifests_pods_and_signals(way: Way) -> None:
    web = way.entry("web", heat.pod("web", labels={"app": "web"}), outputs=["pod_ip"], error_outputs=["why"])
    pair = way.entry("pair", several(heat.pod("left"), heat.pod("right", hostNetwork=True)), outputs=["pods"])
    way.deploy(web, pair)
    assert way.signal("web") == {
        "deploy_status_code": 0,
        "deploy_stderr": "",
        "deploy_stdout": table(way, "web"),
        "pod_ip": way.ready_pod("web")["status"]["podIP"],
    }
    told = way.signal("pair")
    pods = json.loads(told.pop("pods"))
    assert told == {"deploy_status_code": 0, "deploy_stderr": "", "deploy_stdout": table(way, "left", "right")}
    assert pods == [pod_map(way, "left"), pod_map(way, "right")]
    way.wait_until_idle()
    way.no_more_signals("web", "pair")

    assert stat.S_IMODE(way.node.manifests.stat().st_mode) & 0o022 == 0
    assert [stat.S_IMODE(file.stat().st_mode) for file in way.manifest_files()] == [0o600] * 3
    manifests = way.manifests()
    assert sorted(manifests) == ["left", "right", "web"]
    for name, manifest in manifests.items():
        resource = "web" if name == "web" else "pair"
        found = marks(manifest)
        assert (found["stack"], found["resource"], found["source"]) == (heat.STACK, resource, "lab")
        running = way.ready_pod(name)["metadata"]
        assert running["uid"] == manifest["metadata"]["uid"]
        assert marks({"metadata": running}) == found
    assert manifests["web"]["metadata"]["labels"] == {"app": "web"}


def test_every_transport_brings_the_result(way: Way) -> None:
    outputs = ["pod_ip", "host_ip", "pods", "unheard_of"]
    entries = {
        transport: way.entry(
            transport.partition("_")[0].lower(),
            heat.pod(transport.partition("_")[0].lower()),
            transport=transport,
            outputs=outputs,
            error_outputs=["why"],
        )
        for transport in heat.TRANSPORTS
    }
    way.deploy(*entries.values())
    for transport, entry in entries.items():
        name = entry["name"]
        if transport == "NO_SIGNAL":
            continue
        request = way.request(name)
        pod = way.ready_pod(name)
        assert "hostIP" not in pod["status"], "a kubelet without an API server tells none"
        assert dict(request.signal) == {
            "deploy_status_code": 0,
            "deploy_stderr": "",
            "deploy_stdout": table(way, name),
            "pod_ip": pod["status"]["podIP"],
            "host_ip": node_address(),
            "pods": json.dumps([pod_map(way, name)]),
        }
        assert request.method == {"TEMP_URL_SIGNAL": "PUT"}.get(transport, "POST")
        assert request.headers["content-type"] == "application/json"
        assert int(request.headers["content-length"]) == len(request.raw)
    way.ready_pod("no")
    way.wait_until_settled(*entries.values())
    way.wait_until_idle()
    way.no_more_signals(*(entry["name"] for entry in entries.values()))


def test_a_pod_that_is_meant_to_end_is_a_success_when_it_has(way: Way) -> None:
    options = {"min_ready_seconds": 10}
    once = way.entry("once", heat.pod("once", "exit 0", restartPolicy="Never"), outputs=["pods"], options=options)
    second = "test -e /scratch/tried || { touch /scratch/tried; exit 1; }"
    mounts = {"volumeMounts": [{"name": "work", "mountPath": "/scratch"}]}
    volumes = [{"name": "work", "hostPath": {"path": str(way.work)}}]
    again = heat.pod("again", second, restartPolicy="OnFailure", container=mounts, volumes=volumes)
    way.deploy(once, way.entry("again", again, outputs=["pods"], options=options))
    for name in ("once", "again"):
        (pod,) = json.loads(way.succeeds(name)["pods"])
        assert (pod["phase"], pod["containers"][0]["exit_code"]) == ("Succeeded", 0)
        assert pod["restarts"] == (name == "again")


def test_a_new_polling_interval_reaches_the_running_os_collect_config(way: Way) -> None:
    collector = way.node.collector
    collector.polling_interval = 100.0
    way.deploy(settings={"polling_interval": 0.2})
    # Without the new interval it would sleep 1, 2, 4, 8, 16, 32 s.
    way.wait_for_polls(8, timeout=25)
    assert "polling_interval = 0.2\n" in collector.config_file.read_text()
    assert collector.running


def test_polling_goes_on_while_a_pod_is_slow(way: Way) -> None:
    slow = way.entry("slow", heat.pod("slow", container=NEVER_READY), options={"containers_timeout": 300})
    way.deploy(slow)
    way.node.wait_for(lambda: way.node.pod("slow"), "the slow pod")
    quick = way.entry("quick", heat.pod("quick"))
    way.deploy(slow, quick)
    way.succeeds("quick")
    way.deploy(slow)
    way.wait_until_gone(quick)
    way.node.wait_for(lambda: "quick" not in way.manifests(), "the quick one's manifest to go")
    way.deploy()
    way.wait_until_empty()
    way.no_more_signals("slow", "quick")


def test_a_deployment_in_the_middle_is_finished_after_a_reboot(fresh_node: NodeFactory) -> None:
    with way_on(fresh_node("rebooted")) as way:
        node = way.node
        calls = way.work / "calls"
        entry = way.entry("web", way.gated("web"), options={"containers_timeout": 300})
        node.collector.set(heat.metadata(entry))
        node.collector.start({"os-collect-config": {"command": f"echo called >> {calls}; heat-config-kubelet run"}})
        before = node.wait_for(lambda: (node.pod("web") or {}).get("status", {}).get("containerStatuses"), "its pod")
        node.wait_for(lambda: (node.collector.cache / "lab.json.last").exists(), "the pass to be committed")
        called = calls.read_text()
        node.kill_all()
        node.start()
        way.open_gate("web")
        node.collector.resume()
        way.wait_for_polls(4)
        assert calls.read_text() == called
        way.no_more_signals("web")
        assert node.agent("resume").returncode == 0
        told = way.succeeds("web")
        assert told["deploy_stdout"] == table(way, "web")
        assert way.containers("web")["web/c"] != before[0].get("containerID")
        way.wait_until_idle()
        way.no_more_signals("web")


def test_nothing_is_resumed_where_nothing_was_ever_deployed(node: LabNode) -> None:
    done = node.agent("resume")
    assert (done.returncode, done.stderr) == (0, "")
    assert not (node.state_dir / "store.sqlite").exists()
    assert not (node.state_dir / "loop.log").exists()


def table(way: Way, *names: str) -> str:
    """The text for a person about these running pods of one container each, which have not been restarted."""
    rows = [("POD", "READY", "STATE", "RESTARTS", "IP", "IMAGES")]
    for name in names:
        status = way.ready_pod(name)["status"]
        rows.append((f"default/{name}", "1/1", "Running", "0", status.get("podIP") or node_address(), images.BUSYBOX))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(line.rstrip() for line in lines)


def node_address() -> str:
    """The node's own address, as the machine's routes have it."""
    told = subprocess.run(["ip", "-json", "route", "get", "198.51.100.1"], capture_output=True, check=True).stdout
    return str(json.loads(told)[0]["prefsrc"])


def pod_map(way: Way, name: str) -> dict[str, Any]:
    """A pod in the output `pods`, from what the kubelet says of it."""
    pod = way.ready_pod(name)
    (container,) = pod["status"]["containerStatuses"]
    return {
        "namespace": "default",
        "name": name,
        "uid": pod["metadata"]["uid"],
        "phase": "Running",
        "reason": "",
        "ready": True,
        "restarts": 0,
        "pod_ip": pod["status"].get("podIP") or node_address(),
        "host_ip": node_address(),
        "containers": [
            {
                "name": "c",
                "init": False,
                "image": container["image"],
                "image_id": container["imageID"],
                "state": "running",
                "reason": "",
                "ready": True,
                "restarts": 0,
                "exit_code": None,
            }
        ],
    }
