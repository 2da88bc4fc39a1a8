"""Deployments of other groups beside ours: run by our loop, or by heat-agents with our hook."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from lab import deployments as heat
from lab import heat_agents
from lab.collector import TEMPLATE
from lab.deployments import Metadata
from lab.node import LabNode
from lab.progress import Progress
from way import Way, way_on

RECORDING = """cat > $work/$$
name=$(sed 's/.*"config": "\\([a-z-]*\\)".*/\\1/' $work/$$)
mv $work/$$ $work/$name.stdin
echo "begin $name" >> $work/order
until test -e $work/go; do sleep 0.05; done
echo "end $name" >> $work/order
printf '{"deploy_stdout": "ran %s", "deploy_stderr": "", "deploy_status_code": 0, "result": "of %s"}' $name $name"""
"""A hook whose config is its name: notes when it begins and ends, and waits in between until it may go on."""


# --- our loop runs the hooks


def test_hooks_run_in_order_one_at_a_time_and_hold_up_no_pod(way: Way) -> None:
    way.hook("script", RECORDING)
    scripts = [way.entry(name, name, group="script", outputs=["result"]) for name in ("charlie", "alpha", "bravo")]
    pod = way.entry("pod", heat.pod("pod"))
    way.deploy(*scripts, pod)
    way.node.wait_for((way.work / "order").exists, "the first hook")
    way.succeeds("pod")
    assert (way.work / "order").read_text() == "begin alpha\n"
    way.no_more_signals("alpha", "bravo", "charlie")
    (way.work / "go").touch()
    for name in ("alpha", "bravo", "charlie"):
        assert way.signal(name) == {
            "deploy_stdout": f"ran {name}",
            "deploy_stderr": "",
            "deploy_status_code": 0,
            "result": f"of {name}",
        }
    wanted = [f"{what} {name}" for name in ("alpha", "bravo", "charlie") for what in ("begin", "end")]
    assert (way.work / "order").read_text().splitlines() == wanted
    for entry in scripts:
        given = json.loads((way.work / f"{entry['name']}.stdin").read_text())
        assert given == entry
        assert (way.node.deployed / f"{entry['id']}.json").exists()
        assert json.loads((way.node.deployed / f"{entry['id']}.notify.json").read_text())["deploy_status_code"] == 0
    way.wait_until_idle()
    way.no_more_signals("alpha", "bravo", "charlie", "pod")


def test_a_hook_runs_again_for_the_next_action_and_not_for_the_same(way: Way) -> None:
    (way.work / "go").touch()
    way.hook("script", RECORDING)
    entry = way.entry("one", "one", group="script")
    way.deploy(entry)
    way.succeeds("one")
    way.deploy(entry, way.entry("pod", heat.pod("pod")))
    way.succeeds("pod")
    assert (way.work / "order").read_text().splitlines() == ["begin one", "end one"]
    way.deploy(heat.again(entry, "DELETE"))
    way.succeeds("one")
    assert (way.work / "order").read_text().splitlines() == ["begin one", "end one"] * 2
    way.no_more_signals("one")


def test_a_hook_that_fails_is_told_with_what_it_wrote(way: Way) -> None:
    way.hook("script", "cat > /dev/null; echo half done; echo no room >&2; exit 3")
    way.deploy(way.entry("one", "x", group="script"))
    told = way.signal("one")
    assert told == {"deploy_stdout": "half done\n", "deploy_stderr": "no room\n", "deploy_status_code": 3}


def test_a_mark_of_heat_agents_is_respected(way: Way) -> None:
    (way.work / "go").touch()
    way.hook("script", RECORDING)
    done, due = way.entry("done", "done", group="script"), way.entry("due", "due", group="script")
    (way.node.deployed / f"{done['id']}.json").write_text(json.dumps(done))
    way.deploy(done, due)
    way.succeeds("due")
    way.wait_until_settled(done)
    way.wait_until_idle()
    assert (way.work / "order").read_text().splitlines() == ["begin due", "end due"]
    way.no_more_signals("done", "due")


def test_an_unknown_group_fails_at_once_and_alone(way: Way) -> None:
    way.deploy(way.entry("one", "x", group="no-such-tool", error_outputs=["why"]), way.entry("pod", heat.pod("pod")))
    assert way.fails("one")["why"] == f"group no-such-tool: no executable no-such-tool in {way.node.hooks}"
    way.succeeds("pod")


def test_what_os_apply_config_applies_is_answered(way: Way) -> None:
    groups = ("os-apply-config", "Heat::Ungrouped")
    entries = [way.entry(f"config-{number}", {"a": 1}, group=group) for number, group in enumerate(groups)]
    way.deploy(*entries)
    for entry in entries:
        assert way.succeeds(entry["name"])["deploy_stdout"] == "CREATE: applied by os-apply-config"
        assert not (way.node.deployed / f"{entry['id']}.json").exists()


# --- heat-agents runs us


@dataclass(frozen=True)
class HeatAgents:
    """A node on which heat-agents' own scripts run the hooks, ours among them."""

    way: Way
    command: Path
    log: Path

    def start(self) -> None:
        """Start os-collect-config, which calls heat-agents' scripts."""
        self.way.node.collector.start({"os-collect-config": {"command": str(self.command)}})

    def deploy(self, *entries: Metadata) -> None:
        self.way.node.collector.set(heat.metadata(*entries))
        if not self.way.node.collector.running:
            self.start()


@pytest.fixture(scope="module")
def element(progress: Progress) -> Path:
    return heat_agents.get(progress)


@pytest.fixture
def agents(node: LabNode, element: Path) -> Iterator[HeatAgents]:
    with way_on(node) as way:
        node.configure(agent={"mode": "hook"})
        templates = way.work / "templates"
        rendered = Path("var/run/heat-config/heat-config")
        (templates / rendered).parent.mkdir(parents=True)
        shutil.copy(element / "os-apply-config" / rendered, templates / rendered)
        (templates / "etc").mkdir()
        shutil.copy(TEMPLATE, templates / "etc" / TEMPLATE.name)
        way.hook("kubelet", "exec heat-config-kubelet hook")
        command, log = way.work / "os-refresh-config", node.log / "heat-agents.log"
        command.write_text(
            f"""#!/bin/sh -e
            exec >> {log} 2>&1
            export HEAT_CONFIG_HOOKS={node.hooks} HEAT_CONFIG_DEPLOYED={node.deployed}
            export HEAT_SHELL_CONFIG={node.collector.root / rendered} HEAT_CONFIG_DEPLOYED_OLD={node.deployed}
            export HEAT_CONFIG_NOTIFY={element / "bin" / "heat-config-notify"}
            os-apply-config -t {templates} -o {node.collector.root}
            heat-config-kubelet record
            {element / "os-refresh-config" / "configure.d" / "55-heat-config"}
            """
        )
        for script in (command, element / "bin" / "heat-config-notify"):
            script.chmod(0o755)
        (element / "os-refresh-config" / "configure.d" / "55-heat-config").chmod(0o755)
        yield HeatAgents(way, command, log)


def test_heat_agents_brings_our_results(agents: HeatAgents) -> None:
    way = agents.way
    way.hook("script", 'cat > $work/stdin; printf \'{"deploy_stdout": "script", "deploy_status_code": 0}\'')
    bad = way.entry("bad", {**heat.pod("bad"), "spec": {}}, error_outputs=["why"])
    pod = way.entry("pod", heat.pod("pod"), outputs=["pods", "pod_ip"], transport="TEMP_URL_SIGNAL")
    script = way.entry("script", "x", group="script")
    agents.deploy(bad, pod, script)
    assert way.fails("bad")["why"] == "spec.containers: is required"
    told = way.succeeds("pod")
    assert told["deploy_stdout"].splitlines()[1].startswith("default/pod  1/1    Running")
    assert json.loads(told["pods"])[0]["uid"] == way.ready_pod("pod")["metadata"]["uid"]
    assert told["pod_ip"] == way.ready_pod("pod")["status"]["podIP"]
    assert way.signal("script") == {"deploy_stdout": "script", "deploy_status_code": 0}

    before = way.containers("pod")
    changed = heat.again(pod, config=heat.pod("pod", "exec sleep 7200"))
    agents.deploy(bad, changed, script)
    way.succeeds("pod")
    assert way.containers("pod") != before

    agents.deploy(bad, script)
    way.node.wait_for(lambda: not way.manifests() and not way.node.pods_left(), "the vanished pod to be gone")
    way.wait_until_idle()
    way.no_more_signals("bad", "pod", "script")


def test_a_deletion_and_a_suspension_through_heat_agents(agents: HeatAgents) -> None:
    way = agents.way
    entry = way.entry("pod", heat.pod("pod"))
    agents.deploy(entry)
    way.succeeds("pod")
    for action in ("SUSPEND", "RESUME", "DELETE"):
        entry = heat.again(entry, action)
        agents.deploy(entry)
        told = way.succeeds("pod")
        if action == "RESUME":
            way.ready_pod("pod")
        else:
            assert told["deploy_stdout"] == f"{action}: removed default/pod"
            assert not way.node.pods_left()
    way.wait_until_idle()
    way.no_more_signals("pod")


def test_all_pods_start_at_once_though_heat_agents_waits_for_one(agents: HeatAgents) -> None:
    way = agents.way
    slow = way.entry("a-slow", way.gated("a-slow"), options={"containers_timeout": 300})
    quick = way.entry("b-quick", heat.pod("b-quick"))
    agents.deploy(slow, quick)
    way.ready_pod("b-quick")
    way.no_more_signals("a-slow", "b-quick")
    way.open_gate("a-slow")
    way.succeeds("a-slow")
    way.succeeds("b-quick")


# --- both ways in on one node


def test_hook_is_refused_where_run_is_used(way: Way) -> None:
    way.deploy(way.entry("pod", heat.pod("pod")))
    way.succeeds("pod")
    before = way.containers("pod")
    other = way.entry("other", heat.pod("other"), error_outputs=["why"])
    done = way.node.agent("hook", stdin=json.dumps(other))
    assert done.returncode == 0  # so that heat-agents sends the answer
    answer: dict[str, Any] = json.loads(done.stdout)
    assert answer["deploy_status_code"] == 1
    assert answer["why"].startswith("`hook` was called on a node that uses `run` (take one of them away")
    refused = way.node.agent("record", files=[way.node.collector.cache / "lab.json"])
    assert refused.returncode == 1
    assert "`hook` was called on a node that uses `run`" in refused.stderr
    way.wait_until_idle()
    assert way.containers("pod") == before and list(way.manifests()) == ["pod"]


def test_run_is_refused_where_the_settings_say_hook(way: Way) -> None:
    way.node.configure(agent={"mode": "hook"})
    way.node.collector.set(heat.metadata(way.entry("pod", heat.pod("pod"))))
    file = way.work / "lab.json"
    file.write_text(json.dumps(heat.metadata(way.entry("pod", heat.pod("pod")))))
    done = way.node.agent("run", files=[file])
    assert done.returncode == 1
    assert "[agent] mode = hook, but `run` was called" in done.stderr
    assert not way.manifests() and not way.entries()


def test_the_answer_of_a_hook_without_record_before_it(way: Way) -> None:
    entry = way.entry("pod", heat.pod("pod"), outputs=["pod_ip"])
    done = way.node.agent("hook", stdin=json.dumps(entry))
    answer = json.loads(done.stdout)
    assert answer["deploy_status_code"] == 0
    assert answer["pod_ip"] == way.ready_pod("pod")["status"]["podIP"]
    removed = way.node.agent("hook", stdin=json.dumps(heat.again(entry, "DELETE")))
    assert json.loads(removed.stdout)["deploy_stdout"] == "DELETE: removed default/pod"
    assert not way.node.pods_left()
    way.wait_until_idle()
    way.no_more_signals("pod")
