"""The loop and `run`, killed at each of their changes: whatever was cut short is taken up to the right end."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import passes
import pytest
from lab import deployments
from lab.kills import kill_at
from lab.node import LabNode
from lab.receiver import Receiver

ACTIONS = ("CREATE", "UPDATE", "DELETE")
MOST = 60
"""More changes than any command makes; a safeguard of the loops below."""


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as found:
        yield found


class Killed:
    """A command of the agent that dies at its change of this number, unless it makes fewer."""

    def __init__(self, node: LabNode, receiver: Receiver, number: int, command: str, *entries: passes.Entry) -> None:
        file = node.folder / "journal"
        file.unlink(missing_ok=True)
        done = node.agent(
            command,
            files=[passes.write_source(node, *entries)],
            environment=kill_at(number, command, file, port=receiver.port),
        )
        self.here = done.returncode == -signal.SIGKILL
        assert self.here or done.returncode == 0, done.stderr
        self.changes = file.read_text().splitlines()[: -2 if self.here else None]
        """Those that it made."""
        self.last = file.read_text().splitlines()[-2] if self.here else ""
        """The one that it did not make any more."""

    def __repr__(self) -> str:
        return f"made {self.changes}, killed before {self.last}" if self.here else f"not killed, made {self.changes}"


def resume(node: LabNode) -> None:
    """What a boot does."""
    assert node.agent("resume").returncode == 0
    passes.wait_until_idle(node)
    assert not passes.is_pending(node)


def check_signals(receiver: Receiver, name: str, killed: Killed) -> None:
    """One signal; a second, equal one only where the loop died before it could note that the first was taken."""
    signals = receiver.signals(name)
    again = killed.changes[-1:] == ["connect"] and killed.last == "commit"
    assert len(signals) == 2 if again else 1, killed
    assert signals[0].signal["deploy_status_code"] == 0
    assert {each.raw for each in signals} == {signals[0].raw}


def web(action: str) -> passes.Entry:
    """A pod whose content is an action's."""
    return deployments.pod("web", passes.STAYS, container={"env": [{"name": "ACTION", "value": action}]})


class Life:
    """A pod's CREATE, UPDATE and DELETE, and what must be there after each."""

    def __init__(self, node: LabNode, receiver: Receiver) -> None:
        self.node = node
        self.receiver = receiver
        self.uids: set[str] = set()
        passes.put_foreign(node, "other", "other.yaml")
        (node.manifests / ".heat-web.json.swp").write_text("not ours")
        (node.manifests / "folder").mkdir()
        (node.manifests / "folder" / "heat-web.json").write_text(json.dumps(web("NONE")))
        self.foreign = passes.snapshot(node.manifests)
        self.containers = passes.container_ids(node)

    def entries(self) -> Iterator[passes.Entry]:
        """Give the entry of each action; the receiver begins anew with each."""
        entry = deployments.deployment("web", {}, self.receiver, options=passes.QUICK)
        for action in ACTIONS:
            self.receiver.forget()
            entry = deployments.again(entry, action, web(action))
            yield entry

    def uid_for(self, entry: passes.Entry) -> str:
        """The UID of the pod whose manifest has an entry's content; empty where it is not written yet."""
        manifest = passes.our_manifests(self.node).get("web")
        there = manifest and manifest["spec"]["containers"] == entry["config"]["spec"]["containers"]
        return str(manifest["metadata"]["uid"]) if manifest and there else ""

    def check(self, entry: passes.Entry, killed: Killed) -> None:
        """What an action has led to, however often its loop was killed."""
        assert passes.states(self.node) == {"web": ("succeeded", "delivered")}, killed
        action = next(item["value"] for item in entry["inputs"] if item["name"] == "deploy_action")
        if action == "DELETE":
            assert passes.our_manifests(self.node) == {}, killed
            assert len(self.node.pods_left()) == 1, killed
            return
        manifest = passes.our_manifests(self.node)["web"]
        assert manifest["spec"]["containers"][0]["env"][0]["value"] == action, killed
        assert passes.is_ready(self.node, "web"), killed
        assert len(self.node.pods_left()) == 2, killed
        assert manifest["metadata"]["uid"] not in self.uids, killed
        self.uids.add(manifest["metadata"]["uid"])

    def check_foreign(self) -> None:
        """What is not ours is as it was."""
        now = passes.snapshot(self.node.manifests)
        assert {name: now[name] for name in self.foreign} == self.foreign
        assert passes.container_ids(self.node) == self.containers


def test_loop_killed_once_at_each_change(node: LabNode, receiver: Receiver) -> None:
    node.configure(agent={"os_apply_config": ""})
    life = Life(node, receiver)
    seen: set[str] = set()
    for number in range(1, MOST):
        kills = 0
        for entry in life.entries():
            passes.record(node, entry)
            killed = Killed(node, receiver, number, "loop")
            if killed.here:
                kills += 1
                seen.add(killed.last.replace(str(node.folder), ""))
                written = life.uid_for(entry)
                resume(node)
                assert written in ("", life.uid_for(entry)), killed
            life.check(entry, killed)
            check_signals(receiver, "web", killed)
        if not kills:
            break
    assert not kills
    kinds = {change.split()[0] for change in seen}
    assert kinds >= {"commit", "make", "rename", "remove", "connect"}, seen
    life.check_foreign()


def test_loop_killed_again_and_again(node: LabNode, receiver: Receiver) -> None:
    """Each loop may make one change more than the one before, until one is let live."""
    node.configure(agent={"os_apply_config": ""})
    life = Life(node, receiver)
    for entry in life.entries():
        passes.record(node, entry)
        for number in range(1, MOST):
            killed = Killed(node, receiver, number, "loop")
            if not killed.here:
                break
            assert passes.is_pending(node)
        assert not killed.here
        life.check(entry, killed)
        signals = receiver.signals("web")
        assert signals
        assert {each.raw for each in signals} == {signals[0].raw}
    life.check_foreign()


def test_loop_killed_at_each_change_of_a_hook(node: LabNode, receiver: Receiver) -> None:
    """A hook is never run twice; one that may have been cut short is told as failed."""
    node.configure(agent={"os_apply_config": ""})
    hook = node.hooks / "script"
    answer = json.dumps({"deploy_stdout": "well done", "deploy_stderr": "", "deploy_status_code": 0})
    hook.write_text(f"#!/bin/sh\necho ran >> {node.folder}/ran\necho '{answer}'\n")
    hook.chmod(0o755)
    ran = node.folder / "ran"
    outcomes = set()
    for number in range(1, MOST):
        receiver.forget()
        ran.write_text("")
        entry = deployments.deployment("task", "echo", receiver, group="script")
        passes.record(node, entry)
        killed = Killed(node, receiver, number, "loop")
        if killed.here:
            resume(node)
        check = [each for each in killed.changes if each.endswith((f"{entry['id']}.json", "notify.json"))]
        assert ran.read_text().count("ran") <= 1, killed
        signals = receiver.signals("task")
        told = signals[0].signal
        assert {each.raw for each in signals} == {signals[0].raw}, killed
        outcomes.add(told["deploy_status_code"])
        if told["deploy_status_code"]:
            assert "cut short by a restart" in told["deploy_stderr"], told
            assert not any(each.endswith("notify.json") for each in check), killed
        else:
            assert told["deploy_stdout"] == "well done"
            assert ran.read_text() == "ran\n", killed
        if not killed.here:
            break
    assert not killed.here
    assert outcomes == {0, 1}


def test_run_killed_at_each_change(node: LabNode, receiver: Receiver) -> None:
    """os-collect-config calls a `run` that failed again; nothing is lost and nothing done twice.

    Each `run` has to start os-apply-config, so all of them make the same changes.
    """
    kinds = set()
    for number in range(1, MOST):
        entry = deployments.deployment(
            f"web-{number}", deployments.pod("web", passes.STAYS), receiver, options=passes.QUICK
        )
        (node.state_dir / "rendered").unlink(missing_ok=True)
        killed = Killed(node, receiver, number, "run", entry)
        kinds.add(killed.last.split()[0] if killed.here else "")
        if killed.here:
            passes.wait_until_idle(node)
            done = passes.run_pass(node, entry)
            assert done.returncode == 0, done.stderr
        passes.wait_until_idle(node)
        assert not passes.is_pending(node), killed
        assert passes.states(node) == {f"web-{number}": ("succeeded", "delivered")}, killed
        assert len(receiver.signals(f"web-{number}")) == 1, killed
        assert [passes.is_ready(node, name) for name in passes.our_manifests(node)] == [True], killed
        if not killed.here:
            break
    assert not killed.here
    assert kinds >= {"commit", "make", "start"}, kinds


def test_many_runs_and_loops_at_once(node: LabNode, receiver: Receiver) -> None:
    """No wake-up is lost and one loop works at a time, however many are started."""
    node.configure(agent={"os_apply_config": ""})
    hook = node.hooks / "script"
    hook.write_text(
        f"#!/bin/sh\ncd {node.folder}\nmkdir busy || echo twice >> overlap\nsleep 0.05\nrmdir busy\n"
        "echo '{\"deploy_status_code\": 0}'\n"
    )
    hook.chmod(0o755)
    names = [f"task-{number}" for number in range(16)]
    entries = {name: deployments.deployment(name, "", receiver, group="script") for name in names}

    def run(name: str) -> int:
        return node.agent("run", files=[passes.write_source(node, entries[name], name=name)]).returncode

    def loop(_number: int) -> int:
        return node.agent("loop").returncode

    with ThreadPoolExecutor(8) as pool:
        ended = [*pool.map(lambda name: (run(name), loop(0)), names)]
    assert ended == [(0, 0)] * len(names)
    passes.wait_until_idle(node)
    assert not passes.is_pending(node)
    assert passes.states(node) == dict.fromkeys(names, ("succeeded", "delivered"))
    assert [len(receiver.signals(name)) for name in names] == [1] * len(names)
    assert not Path(node.folder, "overlap").exists()


def test_second_loop_ends_at_once(node: LabNode, receiver: Receiver) -> None:
    never = {"readinessProbe": {"exec": {"command": ["/bin/false"]}, "periodSeconds": 1}}
    entry = deployments.deployment("web", deployments.pod("web", passes.STAYS, container=never), receiver)
    passes.run_pass(node, entry)
    node.wait_for(lambda: passes.our_manifests(node), "the manifest")
    node.wait_for(lambda: len(node.slot.cgroup.processes("agent")) == 1, "one loop")
    first = node.slot.cgroup.processes("agent")
    program = str(Path(sys.executable).parent / "heat-config-kubelet")
    joining = node.slot.cgroup.joining("agent")
    seconds = [
        subprocess.Popen([*joining, program, "loop"], env=node.environment, stderr=subprocess.PIPE) for _ in range(3)
    ]
    assert [second.communicate(timeout=30)[1] for second in seconds] == [b""] * 3
    assert [second.returncode for second in seconds] == [0] * 3
    assert node.slot.cgroup.processes("agent") == first
