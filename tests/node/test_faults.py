"""Every way in which a deployment can fail, through the whole agent to what Heat is told, and when."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pytest
from lab import deployments as heat
from lab import images
from lab.deployments import Metadata
from lab.node import LabNode, free_ports
from lab.receiver import Request
from way import NEVER_READY, Way, way_on

from heat_config_kubelet import pki
from heat_config_kubelet.store import Entry

SECRETS = {"env": "planted-env-5a7b", "input": "planted-input-91c3", "config": "planted-config-20d8"}


@dataclass(frozen=True)
class Told:
    """What became of one deployment."""

    request: Request
    entry: Entry

    @property
    def signal(self) -> Mapping[str, Any]:
        return self.request.signal

    @property
    def waited(self) -> float:
        """Seconds from the beginning of the work on it to the result."""
        assert self.entry.decided_at is not None
        return self.entry.decided_at - (self.entry.started_at or self.entry.seen_at)


def rows(way: Way, port: int) -> dict[str, Metadata]:
    """Give a deployment for each fault, by name."""
    pods: dict[str, tuple[Metadata | str, dict[str, Any]]] = {
        # what we see ourselves
        "unknown-field": (heat.pod("unknown-field", container={"imagee": "x"}), {}),
        "several-faults": (heat.pod("several-faults", restartPolicy="Sometimes", container={"ports": [{}]}), {}),
        "no-yaml": ("apiVersion: v1\nkind: Pod\n\tmetadata: {}", {}),
        "bad-option": (heat.pod("bad-option"), {"images_timeout": "soon", "log_lines": -1}),
        "name-taken": (heat.pod("holder"), {}),
        "name-of-a-foreign-pod": (heat.pod("foreign"), {}),
        # what the kubelet refuses
        "host-port": (heat.pod("host-port", container={"ports": [{"containerPort": 80, "hostPort": port}]}), {}),
        "memory": (heat.pod("memory", container={"resources": {"requests": {"memory": "900Ti"}}}), {}),
        "selector": (heat.pod("selector", nodeSelector={"no": "such"}), {}),
        "never-pull": (heat.pod("never-pull", image="lab.local/none:1", container={"imagePullPolicy": "Never"}), {}),
        "image-name": (heat.pod("image-name", image="lab.local/app:1@sha256:12"), {}),
        "exit": (heat.pod("exit", "echo the reason; exit 3", restartPolicy="Never"), {}),
        # what is certain the second or third time
        "not-found": (heat.pod("not-found", image=way.receiver.absent_image), {}),
        "denied": (heat.pod("denied", image=way.receiver.private_image), {}),
        "crash": (heat.pod("crash", "(seq 30; echo the last word) >&2; exit 7"), {"log_lines": 3}),
        "crash-untold": (heat.pod("crash-untold", "echo the last word; exit 7"), {"log_lines": 0}),
        "start": (heat.pod("start", container={"command": ["/no/such/program"]}), {}),
        "init": (
            heat.pod("init", initContainers=[_container("prepare", "echo no room; exit 4")]),
            {},
        ),
        # what runs into a limit
        "unreachable": (heat.pod("unreachable", image=images.ABSENT), {"images_timeout": 30}),
        "never-ready": (heat.pod("never-ready", container=NEVER_READY), {"containers_timeout": 2}),
        "host-path": (
            heat.pod(
                "host-path",
                container={"volumeMounts": [{"name": "data", "mountPath": "/data"}]},
                volumes=[{"name": "data", "hostPath": {"path": "/no/such/folder", "type": "Directory"}}],
            ),
            {"containers_timeout": 4, "images_timeout": 300},
        ),
        "patient-image": (
            heat.pod("patient-image", image="lab.local/none:1", container={"imagePullPolicy": "Never"}),
            {"images_timeout": 30, "fail_fast": False},
        ),
        "patient-exit": (
            heat.pod("patient-exit", "exit 5", restartPolicy="Never"),
            {"containers_timeout": 4, "fail_fast": False},
        ),
        # what goes on beside them
        "fine": (heat.pod("fine"), {}),
        "also-fine": (heat.pod("also-fine", "exit 0", restartPolicy="Never"), {"min_ready_seconds": 60}),
    }
    return {
        name: way.entry(
            name, config, options={"min_ready_seconds": 3, **options}, outputs=["pods"], error_outputs=["why"]
        )
        for name, (config, options) in pods.items()
    }


def _container(name: str, command: str) -> dict[str, Any]:
    return {"name": name, "image": images.BUSYBOX, "command": ["/bin/sh", "-c", command]}


@dataclass(frozen=True)
class Batch:
    """What became of all of them, and what the node had at the end."""

    told: Mapping[str, Told]
    manifests: Mapping[str, Any]
    before: Mapping[str, str]
    after: Mapping[str, str]
    """The containers of what ran before, by pod and container, before and after."""


@pytest.fixture(scope="class")
def batch(shared_node: LabNode) -> Iterator[Batch]:
    """All of the faults on one node in one pass, each signalled."""
    (port,) = free_ports(1)
    with way_on(shared_node) as way:
        ports = {"ports": [{"containerPort": 80, "hostPort": port}]}
        holder = way.entry("holder", heat.pod("holder", container=ports))
        foreign = shared_node.folder / "foreign.json"
        foreign.write_text(json.dumps(heat.pod("foreign")))
        foreign.rename(shared_node.manifests / "foreign.json")
        way.deploy(holder)
        way.succeeds("holder")
        way.ready_pod("foreign")
        before = way.containers("holder", "foreign")
        entries = rows(way, port)
        way.deploy(holder, *entries.values())
        requests = {name: way.request(name, timeout=180) for name in entries}
        way.wait_until_settled(*entries.values())
        known = way.entries()
        told = {name: Told(requests[name], known[entry["id"]]) for name, entry in entries.items()}
        yield Batch(told, way.manifests(), before, way.containers("holder", "foreign"))
        way.no_more_signals("holder", *entries)
    shared_node.empty()


OURS = {
    "unknown-field": r'spec\.containers\[0\]\.imagee: unknown field; did you mean "image"\?',
    "several-faults": r".*spec\.containers\[0\]\.ports\[0\]\.containerPort: is required.*",
    "no-yaml": r"config, line 3, column 1: a tab; YAML is indented with spaces",
    "bad-option": r".*options\.images_timeout: 'soon': must be a number of seconds, 0 or more.*",
    "name-taken": r"pod default/holder: deployment lab/holder has a pod of that name; .* another metadata\.name",
    "name-of-a-foreign-pod": r"pod default/foreign: the manifest foreign\.json, which is not ours, has that name",
    "image-name": r'spec\.containers\[0\]\.image: must be .* not the text "lab\.local/app:1@sha256:12"',
}
"""What is found before anything is written."""

AT_ONCE = {
    "host-port": r"the pod failed: NodePorts: .*didn't have free ports for the requested pod ports \(\d+/TCP\); "
    r"deployment lab/holder has \d+/TCP for its pod default/holder",
    "memory": r"the pod failed: UnexpectedAdmissionError: the node has too little .* \(memory: [\d.]+ TiB missing\)",
    "selector": r"the pod failed: NodeAffinity: .*didn't match Pod's node affinity/selector",
    "never-pull": r'container "c": ErrImageNeverPull: .*"lab\.local/none:1" is not present with pull policy of Never',
    "exit": r'container "c" exited with code 3',
}
SECOND_TIME = {
    "not-found": r'container "c": image \S+/absent:1 cannot be pulled \(\w+, 2 times\): .*not found',
    "denied": r'container "c": image \S+/private/app:1 cannot be pulled \(\w+, 2 times\): .*authoriz.*',
}
THIRD_TIME = {
    "crash": r'container "c" exited with code 7, 3 times',
    "crash-untold": r'container "c" exited with code 7, 3 times',
    "start": r'container "c": \w+ \(exit code 128\), 3 times: exec: "/no/such/program": .*no such file or directory',
    "init": r'init container "prepare" exited with code 4, 3 times',
}
AT_THE_LIMIT = {
    "unreachable": r'images_timeout of 30 s has run out: container "c": image 127\.0\.0\.1:1/absent:1 cannot be pulled '
    r"\(\w+, \w+( times)?\): .*connection refused",
    "never-ready": r'containers_timeout of 2 s has run out: container "c" runs, but is not ready \(its readiness .*\)',
    "host-path": r'containers_timeout of 4 s has run out: MountVolume\.SetUp failed for volume "data": hostPath type '
    r"check failed.*/no/such/folder.* (does not exist|is not a directory)",
    "patient-image": r'images_timeout of 30 s has run out: container "c": ErrImageNeverPull: .*"lab\.local/none:1".*',
    "patient-exit": r'containers_timeout of 4 s has run out: container "c" exited with code 5',
}


class TestEachFault:
    @pytest.mark.parametrize("name", OURS)
    def test_what_we_find_ourselves_is_told_before_anything_is_written(self, batch: Batch, name: str) -> None:
        told = batch.told[name]
        assert re.fullmatch(OURS[name], told.signal["why"]), told.signal
        assert told.signal["deploy_stdout"] == "" and told.signal["deploy_status_code"] == 1
        assert told.signal["pods"] == "[]"
        assert name not in batch.manifests
        assert told.request.at < batch.told["fine"].request.at

    def test_every_fault_of_a_config_is_told_at_once(self, batch: Batch) -> None:
        assert set(batch.told["several-faults"].signal["deploy_stderr"].splitlines()) == {
            "spec.containers[0].ports[0].containerPort: is required",
            'spec.restartPolicy: must be one of Always, OnFailure, Never, not the text "Sometimes"',
        }
        assert set(batch.told["bad-option"].signal["deploy_stderr"].splitlines()) == {
            "options.images_timeout: 'soon': must be a number of seconds, 0 or more",
            "options.log_lines: -1: must be a number of lines, 0 or more",
        }

    @pytest.mark.parametrize("name", AT_ONCE)
    def test_what_can_only_fail_fails_at_once(self, batch: Batch, name: str) -> None:
        told = self._failed(batch, name, AT_ONCE[name])
        assert told.request.at < min(batch.told[other].request.at for other in (*SECOND_TIME, *THIRD_TIME))

    @pytest.mark.parametrize("name", SECOND_TIME)
    def test_what_a_registry_refuses_fails_the_second_time(self, batch: Batch, name: str) -> None:
        self._failed(batch, name, SECOND_TIME[name])

    @pytest.mark.parametrize("name", THIRD_TIME)
    def test_what_ends_or_does_not_start_fails_the_third_time(self, batch: Batch, name: str) -> None:
        told = self._failed(batch, name, THIRD_TIME[name])
        assert json.loads(told.signal["pods"])[0]["restarts"] == 2

    @pytest.mark.parametrize("name", AT_THE_LIMIT)
    def test_what_may_still_come_fails_at_its_limit(self, batch: Batch, name: str) -> None:
        told = self._failed(batch, name, AT_THE_LIMIT[name])
        limit = re.search(r"timeout of (\d+) s", told.signal["why"])
        assert limit and told.waited >= float(limit[1])

    def _failed(self, batch: Batch, name: str, why: str) -> Told:
        told = batch.told[name]
        reason = f"default/{name}: "
        assert re.fullmatch(re.escape(reason) + why, told.signal["why"]), told.signal
        assert told.signal["deploy_stderr"].splitlines()[-1] == told.signal["why"]
        assert told.signal["deploy_status_code"] == 1
        assert f"default/{name}" in told.signal["deploy_stdout"]
        assert json.loads(told.signal["pods"])[0]["name"] == name
        assert name in batch.manifests  # where a person can look at it
        return told

    def test_the_last_lines_of_a_containers_log_are_told(self, batch: Batch) -> None:
        lines = batch.told["crash"].signal["deploy_stderr"].splitlines()
        assert lines[:-1] == ["--- last lines of container c in default/crash-shared:", "29", "30", "the last word"]
        assert "no room" in batch.told["init"].signal["deploy_stderr"].splitlines()
        assert "the reason" in batch.told["exit"].signal["deploy_stderr"].splitlines()

    def test_log_lines_0_keeps_logs_out_of_signals(self, batch: Batch) -> None:
        told = batch.told["crash-untold"].signal
        assert told["deploy_stderr"] == told["why"]
        assert "the last word" not in json.dumps(told)

    def test_the_others_go_on(self, batch: Batch) -> None:
        for name in ("fine", "also-fine"):
            told = batch.told[name].signal
            assert told["deploy_status_code"] == 0 and "why" not in told
        assert batch.after == batch.before
        slow = min(batch.told[name].request.at for name in THIRD_TIME)
        assert batch.told["fine"].request.at < slow


# --- the kubelet itself


def test_a_manifest_that_only_the_kubelet_can_refuse(way: Way) -> None:
    way.node.configure(kubelet={"node_name": "n"})  # so that the name does not look too long
    options = {"fail_fast": False, "images_timeout": 3}
    fast, slow = way.entry("fast", heat.pod("x" * 250)), way.entry("slow", heat.pod("y" * 250), options=options)
    way.deploy(fast, slow)
    reason = r"the kubelet refuses the manifest: invalid pod: .*metadata\.name: .* no more than 253 (bytes|characters)"
    told = way.fails("fast")
    assert re.search(rf"^default/x+: {reason}$", told["deploy_stderr"]), told
    told = way.fails("slow")
    assert re.search(rf"^default/y+: images_timeout of 3 s has run out: {reason}$", told["deploy_stderr"]), told


def test_a_kubelet_that_refuses_us_fails_at_once_and_names_the_setting(way: Way) -> None:
    foreign = pki.Pki(way.work / "pki")
    pki.renew_if_old(foreign.directory)
    way.node.configure(kubelet={"client_cert": foreign.client, "client_key": foreign.client})
    try:
        way.deploy(way.entry("web", heat.pod("web")))
        told = way.fails("web")
    finally:
        way.node.configure()
    assert "does not know our certificate (401" in told["deploy_stderr"]
    assert "clientCAFile must have signed [kubelet] client_cert" in told["deploy_stderr"]


def test_a_kubelet_that_nobody_can_start(way: Way) -> None:
    way.node.stop_kubelet()
    way.node.configure(kubelet={"start_timeout": 2})
    way.deploy(way.entry("web", heat.pod("web"), error_outputs=["why"]))
    why = "the kubelet does not run, and nothing says how to start it (set [kubelet] command)"
    try:
        assert way.fails("web")["why"] == why
    finally:
        way.node.configure()


def test_a_kubelet_that_does_not_come_up_is_told_with_its_last_words(way: Way) -> None:
    way.node.stop_kubelet()
    command = f"{way.node.binaries.kubelet} --config=/no/such/kubelet.json"
    way.node.configure(kubelet={"command": command, "start_timeout": 2})
    way.deploy(way.entry("web", heat.pod("web")))
    told = way.fails("web")
    assert re.search(
        r"^the kubelet is not healthy \d+ s after its start \(\[kubelet\] command\): .*/no/such/kubelet\.json",
        told["deploy_stderr"],
    ), told


# --- secrets


def test_nothing_secret_is_told_or_logged(way: Way) -> None:
    env = [{"name": "DB_PASSWORD", "value": SECRETS["env"]}, {"name": "PLAIN", "value": "plain-value"}]
    echo = f"echo $DB_PASSWORD $PLAIN {SECRETS['input']}; exit 1"
    pod = heat.pod("loud", echo, restartPolicy="Never", container={"env": env})
    broken = heat.pod("broken", container={"env": [{"name": "api_token", "value": SECRETS["config"], "vaule": 1}]})
    way.hook("script", "cat >&2; echo $0; exit 2")
    inputs = {"admin_password": SECRETS["input"], "plain": "plain-input"}
    entries = [
        way.entry(f"{name}-{transport.partition('_')[0].lower()}", config, group=group, transport=transport, **fields)
        for transport in ("CFN_SIGNAL", "HEAT_SIGNAL", "TEMP_URL_SIGNAL")
        for name, config, group, fields in (
            ("loud", _renamed(pod, transport), "kubelet", {"inputs": inputs, "options": {"min_ready_seconds": 3}}),
            ("broken", json.dumps(broken), "kubelet", {"inputs": inputs}),
            ("hook", "echo", "script", {"inputs": inputs}),
        )
    ]
    way.deploy(*entries)
    requests = {entry["name"]: way.request(entry["name"]) for entry in entries}
    way.wait_until_idle()
    assert "*** plain-value ***" in requests["loud-cfn"].signal["deploy_stderr"]
    assert "env[0].vaule: unknown field" in requests["broken-cfn"].signal["deploy_stderr"]
    assert "plain-input" in requests["hook-cfn"].signal["deploy_stderr"]
    secret = {
        *SECRETS.values(),
        *("lab-password-$ecret", "bGFiLXNpZ25hdHVyZQ", "0f1e2d3c"),  # those that Heat gives for its signals
    }
    status = way.node.agent("status", "--json").stdout
    logs = [(way.node.state_dir / "loop.log").read_text(), way.node.collector.log.read_text(), status]
    bodies = [request.raw.decode() for request in requests.values()]
    for text in (*bodies, *logs):
        assert not [word for word in secret if word in text], text
    assert {row["resource"] for row in json.loads(status)} == requests.keys()


def _renamed(pod: Metadata, transport: str) -> Metadata:
    return {**pod, "metadata": {"name": f"loud-{transport.partition('_')[0].lower()}"}}
