"""`show`, `timeline` and `logs` on a real node: a deployment that is well, one that waits, one that crashed, one that
has vanished; and all of it while the kubelet is down."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from lab import deployments as heat
from lab import expected, images
from lab.deployments import Metadata
from lab.node import LabNode
from way import Way, way_on

LONG = 20_000
"""Characters of a line that the runtime writes in parts: it cuts at 16 KiB."""
VARIES = {"[█░▏]+": "BAR", r"(Failed +no +)\S+": r"\1ADDRESS", r"(0/1 +Error +0 +)\S+": r"\1ADDRESS"}
"""The length of bars, and whether a pod that has ended still has an address."""


@dataclass(frozen=True)
class Stage:
    """A node with deployments in each state."""

    way: Way
    entries: dict[str, Metadata]
    """By name: fine, crash, slow, gone."""

    @property
    def node(self) -> LabNode:
        return self.way.node

    def run(self, *arguments: str, status: int = 0) -> str:
        """What a command writes; its exit status must be this one."""
        done = self.node.agent(*arguments)
        assert done.returncode == status, done.stderr or done.stdout
        assert "Traceback" not in done.stderr
        return done.stdout if status == 0 else done.stderr

    def shown(self, name: str) -> dict[str, Any]:
        """What `show` gives to machines."""
        return dict(json.loads(self.run("show", name, "-o", "json")))

    def check(self, name: str, *arguments: str) -> None:
        """Compare what a command writes with its file."""
        expected.check(f"{arguments[0]}/node-{name}", self.run(*arguments), node=self.node.name, also=VARIES)


def fine(way: Way) -> Metadata:
    """A pod of two containers that write something, one of them a long line."""
    other = {"name": "d", "image": images.BUSYBOX, "command": ["/bin/sh", "-c", "echo hello of d >&2; exec sleep 3600"]}
    command = f"head -c {LONG} /dev/zero | tr '\\000' x; echo; echo hello of c; exec sleep 3600"
    pod = heat.pod("fine", command)
    pod["spec"]["containers"].append(other)
    return way.entry("fine", pod)


@pytest.fixture(scope="class")
def stage(shared_node: LabNode) -> Iterator[Stage]:
    with way_on(shared_node) as way:
        talking = (
            "if [ ! -e /gate/ran ]; then touch /gate/ran; echo first run; exit 7; fi; echo waiting;"
            " until [ -e /gate/say ]; do sleep 0.1; done; echo said; exec sleep 3600"
        )
        crash = heat.pod("crash", "echo about to end; sleep 3; exit 7", restartPolicy="Never")
        entries = {
            "fine": fine(way),
            "crash": way.entry("crash", crash, options={"min_ready_seconds": 60}),
            "slow": way.entry("slow", way.gated("slow", command=talking), options={"containers_timeout": 600}),
            "gone": way.entry("gone", heat.pod("gone")),
        }
        way.deploy(*entries.values())
        way.succeeds("fine")
        way.succeeds("gone")
        way.deploy(*(entries[name] for name in ("fine", "crash", "slow")))
        way.wait_until_gone(entries["gone"])
        way.fails("crash")
        way.wait_until_settled(entries["fine"], entries["crash"])
        shared_node.wait_for(lambda: not shared_node.pod("gone"), "the pod of what has vanished to be gone")
        shared_node.wait_for(lambda: runs_again(shared_node.pod("slow")), "the pod that waits to run again")
        yield Stage(way, entries)
    shared_node.empty()


def runs_again(pod: Metadata | None) -> bool:
    """Whether a pod's container runs, and has run before."""
    status = pod["status"]["containerStatuses"][0] if pod else {}
    return "running" in status.get("state", {}) and status["restartCount"] == 1


def seconds(text: str) -> float:
    """An RFC 3339 time in seconds since the epoch."""
    return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


def taken(found: dict[str, Any], pod: str = "") -> dict[str, float]:
    """The steps of a timeline that are over, of a pod or of the deployment, with their times."""
    steps = found["timeline"]["steps"] if "timeline" in found else found["steps"]
    return {each["step"]: seconds(each["at"]) for each in steps if each["pod"] == pod and each["at"]}


class TestLook:
    def test_one_that_is_well(self, stage: Stage) -> None:
        stage.check("healthy", "show", "fine")
        found = stage.shown("fine")
        status = stage.node.pod("fine")
        assert status
        (pod,) = found["pods"]
        assert (pod["wanted"], pod["ready"], pod["uid"], pod["why"]) == (True, True, status["metadata"]["uid"], "")
        told = {each["name"]: each for each in pod["containers"]}
        for each in status["status"]["containerStatuses"]:
            assert told[each["name"]]["image_id"] == each["imageID"]
            assert told[each["name"]]["container_id"] == each["containerID"]
            assert seconds(told[each["name"]]["started_at"]) == seconds(each["state"]["running"]["startedAt"])
        (attempt,) = found["signal"]["attempts"]
        assert attempt["state"] == "delivered" and re.fullmatch(r"POST http://[^?]*: 200", attempt["answer"])
        assert "?***" in stage.run("show", "fine") and "Signature=" not in json.dumps(found)

    def test_its_steps_are_in_their_order_and_have_the_kubelets_times(self, stage: Stage) -> None:
        """The kubelet tells whole seconds, cut off: what it says was in that second is told to have been in it."""
        stage.check("healthy", "timeline", "fine")
        found = json.loads(stage.run("timeline", "fine", "-o", "json"))
        steps = taken(found, "default/fine")
        assert list(steps) == ["written", "sandbox", "image", "started", "ready"]
        assert list(steps.values()) == sorted(steps.values())
        whole = taken(found)
        assert list(whole) == ["collected", "validated", "begun", "succeeded", "signal delivered"]
        assert whole["begun"] <= steps["written"] and steps["ready"] <= whole["succeeded"]
        pod = stage.node.pod("fine")
        assert pod
        conditions = {each["type"]: seconds(each["lastTransitionTime"]) for each in pod["status"]["conditions"]}
        starts = [seconds(each["state"]["running"]["startedAt"]) for each in pod["status"]["containerStatuses"]]
        for step, second in (
            ("sandbox", conditions["PodReadyToStartContainers"]),
            ("started", max(starts)),
            ("ready", conditions["Ready"]),
        ):
            assert second <= steps[step] <= second + 1.001, step

    def test_one_that_waits(self, stage: Stage) -> None:
        stage.check("pending", "show", "slow")
        last = stage.shown("slow")["timeline"]["steps"][-1]
        assert (last["step"], last["pod"], last["at"]) == ("ready", "default/slow", None)

    def test_one_that_crashed(self, stage: Stage) -> None:
        stage.check("crashed", "show", "crash")
        container = stage.shown("crash")["pods"][0]["containers"][0]
        assert (container["exit_code"], container["reason"], container["state"]) == (7, "Error", "terminated")
        assert seconds(container["ended_at"]) >= seconds(container["started_at"])
        told = json.loads(stage.run("timeline", "crash", "-o", "json"))
        assert told["outcome"] == "failed" and "started" in taken(told, "default/crash")

    def test_one_that_has_vanished(self, stage: Stage) -> None:
        entry_id = str(stage.entries["gone"]["id"])
        stage.check("vanished", "show", entry_id)
        found = stage.shown("gone")
        assert found["status"]["id"] == entry_id and found["vanished_at"] and found["pods"] == []
        assert "vanished" in taken(found)

    def test_what_happened_last_of_all(self, stage: Stage) -> None:
        found = json.loads(stage.run("timeline", "--last", "200", "-o", "json"))
        assert {each["resource"] for each in found} == set(stage.entries)
        assert [each["at"] for each in found] == sorted(each["at"] for each in found)

    # --- logs

    def test_logs_of_all_containers_of_a_deployment(self, stage: Stage) -> None:
        lines = stage.run("logs", "lab/fine").splitlines()
        assert lines == [
            f"default/fine/c | {'x' * LONG}",
            "default/fine/c | hello of c",
            "default/fine/d | hello of d",
        ]

    def test_logs_of_one_container_and_of_its_last_lines(self, stage: Stage) -> None:
        assert stage.run("logs", "default/fine", "-c", "d") == "hello of d\n"
        assert stage.run("logs", "fine", "-c", "c", "--tail", "1") == "hello of c\n"
        assert "there are c, d" in stage.run("logs", "fine", "-c", "e", status=1)

    def test_logs_of_one_that_crashed(self, stage: Stage) -> None:
        assert stage.run("logs", "crash") == "about to end\n"
        assert stage.run("logs", "slow", "--previous") == "first run\n"
        assert "default/fine/c" in stage.run("logs", "fine", "--previous", status=1)

    def test_following_shows_what_is_written_and_ctrl_c_ends_it(self, stage: Stage) -> None:
        with following(stage.node, "slow", "-f") as process:
            assert process.stdout and process.stdout.readline() == "waiting\n"
            (stage.way.work / "gate-slow" / "say").touch()
            assert process.stdout.readline() == "said\n"
            end(process)

    # --- the kubelet is down; the last ones, as the kubelet starts again

    def test_without_the_kubelet_the_rest_is_told(self, stage: Stage) -> None:
        stage.node.stop_kubelet()
        try:
            stage.check("kubelet-down", "show", "fine")
            done = stage.node.agent("logs", "fine")
            assert done.stdout.splitlines()[0] == f"default/fine/c | {'x' * LONG}" and done.returncode == 0
            assert "does not answer" in done.stderr and str(stage.node.log / "pods") in done.stderr
            assert stage.run("logs", "slow", "--previous") == "first run\n"
            with following(stage.node, "slow", "--tail", "1", "--follow") as process:
                assert process.stdout and process.stdout.readline() == "said\n"
                end(process)
        finally:
            stage.node.start_kubelet()


@contextmanager
def following(node: LabNode, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Run `logs` with these arguments, for as long as it takes."""
    program = str(Path(sys.executable).parent / "heat-config-kubelet")
    process = subprocess.Popen(
        [*node.slot.cgroup.joining("agent"), program, "logs", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=node.environment,
        start_new_session=True,
    )
    with process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()


def end(process: subprocess.Popen[str]) -> None:
    """Press Ctrl-C: the command ends with its status, and without complaint."""
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(timeout=20) == 130
    assert process.stderr
    said = process.stderr.read()
    assert "Traceback" not in said and "KeyboardInterrupt" not in said
