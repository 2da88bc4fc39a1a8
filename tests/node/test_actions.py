"""Every action of a deployment's life, and what a config may hold."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from lab import deployments as heat
from lab import images
from way import NEVER_READY, LastSeen, Way, several

SLOW_END = "trap 'sleep 1; exit 0' TERM; while :; do sleep 0.1; done"
"""A command that ends a second after it is told to."""


def test_an_update_of_one_of_two_pods_leaves_the_other(way: Way) -> None:
    first = way.entry("pair", several(heat.pod("left"), heat.pod("right")))
    way.deploy(first)
    way.succeeds("pair")
    before = way.containers("left", "right")
    files = {file: file.read_bytes() for file in way.manifest_files() if "left" in file.name}

    second = heat.again(first, config=several(heat.pod("left"), heat.pod("right", container={"env": [env("A", "1")]})))
    way.deploy(second)
    way.succeeds("pair")
    after = way.containers("left", "right")
    assert after["left/c"] == before["left/c"]
    assert after["right/c"] != before["right/c"]
    assert {file: file.read_bytes() for file in files} == files
    assert before["right/c"] not in way.node.running_containers()

    way.deploy(heat.again(second, config=heat.pod("other")))
    told = way.succeeds("pair")
    assert "default/other" in told["deploy_stdout"] and "default/left" not in told["deploy_stdout"]
    way.node.wait_for(lambda: not set(after.values()) & way.node.running_containers(), "the former pods to be gone")
    assert list(way.manifests()) == ["other"]
    way.wait_until_idle()
    way.no_more_signals("pair")


def test_an_update_that_changes_no_pod_restarts_none(way: Way) -> None:
    first = way.entry("web", heat.pod("web"), inputs={"unused": "1"})
    way.deploy(first)
    way.succeeds("web")
    before = way.containers("web"), way.manifest_files()[0].stat().st_ino
    way.deploy({**heat.again(first), "inputs": way.entry("web", {}, action="UPDATE", inputs={"unused": "2"})["inputs"]})
    way.succeeds("web")
    assert (way.containers("web"), way.manifest_files()[0].stat().st_ino) == before


@pytest.mark.parametrize("action", ["SUSPEND", "DELETE"])
def test_the_signal_of_a_removal_comes_when_the_pods_are_gone(way: Way, action: str) -> None:
    config = several(*(heat.pod(name, SLOW_END, terminationGracePeriodSeconds=9) for name in ("left", "right")))
    entry = way.entry("pair", config)
    way.deploy(entry)
    way.succeeds("pair")
    ran = set(way.containers("left", "right").values())
    began = time.monotonic()
    with LastSeen(lambda: way.node.slot.cgroup.processes("kubepods")) as processes:
        way.deploy(heat.again(entry, action))
        request = way.request("pair")
        still_running = ran & way.node.running_containers()
    assert dict(request.signal) == {
        "deploy_status_code": 0,
        "deploy_stderr": "",
        "deploy_stdout": f"{action}: removed default/left, default/right",
    }
    assert began + 1 < processes.at < request.at
    assert not still_running
    assert not way.node.pods_left()
    assert not way.manifests()


def test_a_suspended_deployment_comes_back_as_a_new_pod(way: Way) -> None:
    entry = way.entry("web", heat.pod("web"))
    way.deploy(entry)
    way.succeeds("web")
    first = way.ready_pod("web")["metadata"]["uid"]
    suspended = heat.again(entry, "SUSPEND")
    way.deploy(suspended)
    way.succeeds("web")
    assert not way.node.pods()
    way.deploy(heat.again(suspended, "RESUME"))
    way.succeeds("web")
    resumed = way.ready_pod("web")["metadata"]["uid"]
    assert resumed != first
    way.deploy(heat.again(entry, "UPDATE", heat.pod("web", "exec sleep 7200")))
    way.succeeds("web")
    assert way.ready_pod("web")["metadata"]["uid"] not in (first, resumed)
    way.wait_until_idle()
    way.no_more_signals("web")


def test_a_deletion_of_what_is_not_there_succeeds(way: Way) -> None:
    way.deploy(way.entry("web", heat.pod("web"), action="DELETE"))
    assert way.succeeds("web")["deploy_stdout"] == "DELETE: no pod was there"
    assert not way.manifests()


def test_an_action_that_is_none_of_ours_leaves_the_pods(way: Way) -> None:
    entry = way.entry("web", heat.pod("web"))
    way.deploy(entry)
    way.succeeds("web")
    before = way.containers("web")
    way.deploy(heat.again(entry, "SNAPSHOT"))
    way.succeeds("web")
    assert way.containers("web") == before


def test_pods_go_with_an_entry_that_vanishes(way: Way) -> None:
    web, other = way.entry("web", heat.pod("web")), way.entry("other", heat.pod("other"))
    way.deploy(web, other)
    way.succeeds("web")
    way.succeeds("other")
    before = way.containers("other")
    way.deploy(other)
    way.node.wait_for(lambda: "web" not in way.manifests() and len(way.node.pods_left()) == 1, "the pod to be gone")
    way.wait_until_idle()
    assert way.containers("other") == before
    way.no_more_signals("web", "other")


def test_changed_options_count_at_once_and_restart_nothing(way: Way) -> None:
    entry = way.entry("web", heat.pod("web", container=NEVER_READY), options={"containers_timeout": 300})
    way.deploy(entry)
    before = way.node.wait_for(lambda: way.node.pod("web"), "the pod")["metadata"]["uid"]
    way.wait_until_known(entry)
    changed = {**heat.again(entry), "options": {**entry["options"], "containers_timeout": 0.5}}
    way.deploy(changed)
    told = way.fails("web")
    assert "containers_timeout of 0.5 s has run out" in told["deploy_stderr"]
    pod = way.node.pod("web")
    assert pod and pod["metadata"]["uid"] == before
    way.wait_until_idle()
    way.no_more_signals("web")


# --- components


def test_a_component_whose_tools_are_all_the_kubelet(way: Way) -> None:
    parts = [
        {"actions": ["CREATE"], "tool": "kubelet", "config": heat.pod("web")},
        {"actions": ["UPDATE"], "tool": "kubelet", "config": heat.pod("web", "exec sleep 7200")},
        {"actions": ["DELETE"], "tool": "kubelet", "config": {}},
    ]
    entry = way.entry("web", {"configs": parts}, group="component")
    way.deploy(entry)
    way.succeeds("web")
    first = way.containers("web")
    way.deploy(updated := heat.again(entry, "UPDATE"))
    way.succeeds("web")
    assert way.containers("web") != first
    command = way.ready_pod("web")["spec"]["containers"][0]["command"]
    assert command[-1] == "exec sleep 7200"
    way.deploy(heat.again(updated, "DELETE"))
    assert way.succeeds("web")["deploy_stdout"] == "DELETE: removed default/web"
    assert not way.node.pods_left()


def test_a_components_script_runs_when_the_pods_are_gone(way: Way) -> None:
    kubepods = " ".join(f"'{folder}/kubepods'" for folder in way.node.slot.cgroup.folders)
    way.hook(
        "script",
        f"""cat > $work/stdin; left=$(find {kubepods} -type d -name 'pod*-*' | sort -u | wc -l)
        printf '{{"deploy_stdout": "%s pods", "deploy_status_code": 0, "seen": "%s"}}' $left $(ls $work)""",
    )
    parts = [
        {"actions": ["CREATE"], "tool": "kubelet", "config": heat.pod("web", SLOW_END)},
        {"actions": ["UPDATE"], "tool": "script", "config": "echo update"},
        {"actions": ["DELETE"], "tool": "script", "config": "echo delete"},
    ]
    entry = way.entry("web", {"configs": parts}, group="component", outputs=["seen"])
    way.deploy(entry)
    way.succeeds("web")
    before = way.containers("web")

    way.deploy(updated := heat.again(entry, "UPDATE"))
    told = way.succeeds("web")
    assert told["deploy_stdout"] != "0 pods" and told["seen"] == "stdin"
    assert way.containers("web") == before
    given = json.loads((way.work / "stdin").read_text())
    assert (given["group"], given["config"], given["id"]) == ("script", "echo update", updated["id"])

    way.deploy(heat.again(updated, "DELETE"))
    assert way.succeeds("web")["deploy_stdout"] == "0 pods"
    assert json.loads((way.work / "stdin").read_text())["config"] == "echo delete"
    assert not way.node.pods_left()


def test_a_component_without_config_for_an_action_changes_nothing(way: Way) -> None:
    parts = [{"actions": ["CREATE"], "tool": "kubelet", "config": heat.pod("web")}]
    entry = way.entry("web", {"configs": parts}, group="component")
    way.deploy(entry)
    way.succeeds("web")
    before = way.containers("web")
    for action in ("UPDATE", "SUSPEND", "RESUME"):
        way.deploy(heat.again(entry, action))
        told = way.succeeds("web")
        assert told["deploy_stdout"] == f"{action}: the component has no config for {action}; nothing was changed"
        assert way.containers("web") == before


# --- what a config may hold


def test_a_config_of_several_documents(way: Way) -> None:
    text = "\n---\n".join(json.dumps(heat.pod(name)) for name in ("one", "two")) + "\n---\n"
    way.deploy(way.entry("text", text, outputs=["pods"]))
    assert [pod["name"] for pod in json.loads(way.succeeds("text")["pods"])] == ["one", "two"]


def test_a_pod_without_a_name_gets_a_lasting_one(way: Way) -> None:
    pod: dict[str, Any] = heat.pod("-")
    del pod["metadata"]
    entry = way.entry("web", pod)
    way.deploy(entry)
    way.succeeds("web")
    (name,) = way.manifests()
    assert name.startswith("web-")
    pod["spec"]["containers"][0]["command"] = ["/bin/sleep", "7200"]
    way.deploy(heat.again(entry, config=pod))
    way.succeeds("web")
    assert list(way.manifests()) == [name]


def test_the_old_container_manifest_still_runs(way: Way) -> None:
    config = {
        "version": "v1beta2",
        "containers": [
            {
                "name": "simple-echo",
                "image": images.BUSYBOX,
                "command": ["nc", "-p", "8080", "-l", "-l", "-e", "echo", "hello world!"],
                "ports": [{"name": "nc-echo", "hostPort": 38090, "containerPort": 8080}],
            }
        ],
    }
    way.deploy(way.entry("echo", config, outputs=["pods"]))
    (pod,) = json.loads(way.succeeds("echo")["pods"])
    assert [container["name"] for container in pod["containers"]] == ["simple-echo"]
    (manifest,) = way.manifests().values()
    assert manifest["apiVersion"] == "v1" and "version" not in manifest


def env(name: str, value: str) -> dict[str, str]:
    return {"name": name, "value": value}
