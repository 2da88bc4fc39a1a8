"""Every fault that the author of a template can make, and what `openstack stack failures list` says of it to mend it.

All are deployments of one stack, for one node, which begins to work when Heat has made all of them: so all of them fail
side by side, and none is cancelled for another's failure before the node has seen it.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from heatlab import templates
from heatlab.client import Client
from heatlab.lab import HeatLab
from heatlab.stacks import Stack
from lab import deployments as heat
from lab import images
from lab.node import free_ports
from lab.progress import Progress
from lab.receiver import Receiver

from heat_config_kubelet.validation.files import Given, judge_files

from .conftest import SITE, Nodes, site_on

SECONDS = 240
"""All is over by then, on a busy machine too; the stack's own timeout is 10 minutes."""
NEVER_READY = {"readinessProbe": {"httpGet": {"path": "/health", "port": 8080}, "periodSeconds": 1}}
LIVENESS = {"livenessProbe": {"tcpSocket": {"port": 8080}, "periodSeconds": 1, "failureThreshold": 1}}

CHECKED = {
    "tab": r"config, line 6, column 1: a tab; YAML is indented with spaces",
    "no-pod": r"the config: must be a map with a Pod, not a text",
    "empty": r"the config has no pod",
    "two-keys": r'config, line 6, column 25: the key "image" is there twice, first in line 6',
    "cluster": r"kind: must be Pod, .* not Deployment; take its spec\.template and write it as a v1 Pod",
    "old": r'containers\[0\]\.args: what v1 calls "args" is "command" here, and "command" is "entrypoint"',
    "field": r'spec\.containers\[0\]\.imagee: unknown field; did you mean "image"\?',
    "type": r'spec\.containers\[0\]\.ports\[0\]\.containerPort: must be a whole number, not the text "http"',
    "no-value": r"spec\.containers\[0\]\.image: is required, and has no value here \(a get_input that is not given\?\)",
    "image-name": r'spec\.containers\[0\]\.image: must be .*, the name in lower case, not the text "lab\.local/App:1"',
    "pull-secrets": r"spec\.imagePullSecrets: static pods may not refer to secrets; give the registry's credentials .*",
    "runtime-class": r"spec\.runtimeClassName: .*; remove it",
    "account": r"spec\.serviceAccountName: static pods may not use service accounts .*; remove it, .*",
    "secret": r"spec\.volumes\[0\]\.secret: static pods may not refer to secrets; put the file on the node .* hostPath",
    "claim": r"spec\.volumes\[0\]\.persistentVolumeClaim: static pods may not use .*; mount the disk on the node .*",
    "mount": r'spec\.containers\[0\]\.volumeMounts\[0\]\.name: spec\.volumes has no "data"',
    "twins": r"metadata\.name: two pods of the config have the name default/twin; give them different names",
    "taken": r"pod default/holder: deployment lab-\d+/holder has a pod of that name; give one of them another .*name",
    "option": r"options\.images_timeout: 'soon': must be a number of seconds, 0 or more",
    "group": r'group kubelett: no executable kubelett in .*; did you mean the group "kubelet"\?',
}
"""What the agent finds before it writes anything."""

TRIED = {
    "host-port": r"the pod failed: NodePorts: .*free ports for the requested pod ports \(\d+/TCP\); "
    r"deployment lab-\d+/holder has \d+/TCP for its pod default/holder",
    "memory": r"the pod failed: .*: the node has too little for what the pod requests \(memory: [\d.]+ TiB missing\)",
    "selector": r"the pod failed: NodeAffinity: .*didn't match Pod's node affinity/selector",
    "never-pull": r'container "c": ErrImageNeverPull: .*"lab\.local/none:1" is not present with pull policy of Never',
    "not-found": r'container "c": image \S+/absent:1 cannot be pulled \(\w+, 2 times\): .*not found',
    "denied": r'container "c": image \S+/private/app:1 cannot be pulled \(\w+, 2 times\): .*authoriz.*',
    "unreachable": r'images_timeout of 25 s has run out: container "c": image 127\.0\.0\.1:1/absent:1 cannot be pulled '
    r"\(.*\): .*connection refused",
    "exit": r'container "c" exited with code 3',
    "crash": r'container "c" exited with code 7, 3 times',
    "start": r'container "c": \w+ \(exit code 128\), 3 times: exec: "/no/such/program": .*no such file or directory',
    "init": r'init container "prepare" exited with code 4, 3 times',
    "memory-limit": r'container "c" exited with code 137 \(OOMKilled\), 3 times',
    "never-ready": r'containers_timeout of 20 s has run out: container "c" runs, but is not ready '
    r"\(its readiness probe, httpGet :8080/health\); its last failed readiness probe: "
    r'Get "http://.*:8080/health": .* connection refused',
    "liveness": r'container "c" exited with code 137 .*, 3 times; perhaps the kubelet ended it for its liveness probe, '
    r"tcpSocket :8080; its last failed liveness probe: .*connection refused",
    "host-path": r'containers_timeout of 20 s has run out: MountVolume\.SetUp failed for volume "data": .*'
    r'"?/no/such/folder"? (does not exist|is not a directory).*',
}
"""What only the kubelet, the runtime or the pod itself can tell, of the pod that has the deployment's name."""

LAST_WORDS = ("crash", "exit", "init")
"""Their containers say "no disk left" before they end."""


def container(name: str, command: str) -> dict[str, Any]:
    return {"name": name, "image": images.BUSYBOX, "command": ["/bin/sh", "-c", command]}


def mounted(name: str, source: Mapping[str, Any] | None) -> dict[str, Any]:
    """Give a pod that mounts a volume called data, which it has where there is a source for it."""
    mount = {"volumeMounts": [{"name": "data", "mountPath": "/data"}]}
    volumes: dict[str, Any] = {"volumes": [{"name": "data", **source}]} if source else {}
    return heat.pod(name, container=mount, **volumes)


def configs(port: int, registry: Receiver) -> dict[str, Any]:
    """Give the config of each fault; `port` is one of the host's that another pod has."""
    text = "apiVersion: v1\nkind: Pod\nmetadata: {name: web}\nspec:\n  containers:\n"
    last_word = "echo no disk left; exit"
    return {
        "tab": text + "\t- name: c",
        "no-pod": "nginx:1.27",
        "empty": "",
        "two-keys": text + "  - {name: c, image: i, image: j}\n",
        "cluster": {"apiVersion": "apps/v1", "kind": "Deployment", "spec": {"template": heat.pod("cluster")}},
        "old": {"version": "v1beta1", "id": "old", "containers": [{"name": "c", "image": "i", "args": ["a"]}]},
        "field": heat.pod("field", container={"imagee": "x"}),
        "type": heat.pod("type", container={"ports": [{"containerPort": "http"}]}),
        "no-value": heat.pod("no-value", container={"image": {"get_input": "image"}}),
        "image-name": heat.pod("image-name", image="lab.local/App:1"),
        "pull-secrets": heat.pod("pull-secrets", imagePullSecrets=[{"name": "registry"}]),
        "runtime-class": heat.pod("runtime-class", runtimeClassName="gvisor"),
        "account": heat.pod("account", serviceAccountName="web"),
        "secret": mounted("secret", {"secret": {"secretName": "key"}}),
        "claim": mounted("claim", {"persistentVolumeClaim": {"claimName": "data"}}),
        "mount": mounted("mount", None),
        "twins": templates.several(heat.pod("twin"), heat.pod("twin")),
        "taken": heat.pod("holder"),
        "option": heat.pod("option"),
        "group": heat.pod("group"),
        "host-port": heat.pod("host-port", container={"ports": [{"containerPort": 80, "hostPort": port}]}),
        "memory": heat.pod("memory", container={"resources": {"requests": {"memory": "900Ti"}}}),
        "selector": heat.pod("selector", nodeSelector={"disk": "ssd"}),
        "never-pull": heat.pod("never-pull", image="lab.local/none:1", container={"imagePullPolicy": "Never"}),
        "not-found": heat.pod("not-found", image=registry.absent_image),
        "denied": heat.pod("denied", image=registry.private_image),
        "unreachable": heat.pod("unreachable", image=images.ABSENT),
        "exit": heat.pod("exit", f"{last_word} 3", restartPolicy="Never"),
        "crash": heat.pod("crash", f"seq 30; {last_word} 7"),
        "start": heat.pod("start", container={"command": ["/no/such/program"]}),
        "init": heat.pod("init", initContainers=[container("prepare", f"{last_word} 4")]),
        "memory-limit": heat.pod(
            "memory-limit", "tail /dev/zero", container={"resources": {"limits": {"memory": "16Mi"}}}
        ),
        "never-ready": heat.pod("never-ready", container=NEVER_READY),
        "liveness": heat.pod("liveness", container=LIVENESS),
        "host-path": mounted("host-path", {"hostPath": {"path": "/no/such/folder", "type": "Directory"}}),
    }


OPTIONS: dict[str, dict[str, Any]] = {
    "option": {"images_timeout": "soon"},
    "unreachable": {"images_timeout": 25},
    "never-ready": {"containers_timeout": 20},
    "host-path": {"containers_timeout": 20},
}
NONE_LASTS = {"min_ready_seconds": 60}
"""A busy node's kubelet is slow to see that a container has ended."""


class Failures:
    """What the command printed, by the name of the deployment."""

    def __init__(self, printed: str, statuses: Mapping[str, str]) -> None:
        self.statuses = statuses
        parts = re.split(r"^(lab-\d+)\.([\w-]+):$", printed, flags=re.MULTILINE)
        self._sections = dict(zip(parts[2::3], parts[3::3], strict=True))

    def of(self, name: str) -> str:
        """What is said of one deployment, the whole of it."""
        return self._sections[name]

    def reason(self, name: str) -> str:
        """The last line of its deploy_stderr: the one that decides."""
        lines = self._sections[name].partition("deploy_stderr: |\n")[2].rstrip("\n").splitlines()
        return [line.strip() for line in lines if "view all with --long" not in line][-1]


@pytest.fixture(scope="module")
def failures(
    heat_lab: HeatLab, nodes: Nodes, progress: Progress, request: pytest.FixtureRequest, tmp_path_factory: Any
) -> Iterator[Failures]:
    """One stack with all faults, failed; its server is of a stack with a good deployment, which some collide with."""
    (port,) = free_ports(1)
    with site_on(heat_lab, nodes) as site, Receiver() as registry:
        request.node.stash[SITE] = site
        holder = heat.pod("holder", container={"ports": [{"containerPort": 80, "hostPort": port}]})
        base = site.create(
            templates.template(
                templates.server("POLL_SERVER_HEAT"), templates.deployment("holder", holder, "CFN_SIGNAL")
            )
        )
        guest = site.guest()
        guest.boot(base)
        base.wait_for("CREATE_COMPLETE")
        guest.node.collector.stop()
        every = configs(port, registry)
        server = base.resource("server")["physical_resource_id"]
        stack = site.create(template_of(every, server))
        wait_until_none(stack, "INIT_COMPLETE", 2 * len(every))
        guest.node.collector.resume()
        guest.node.wait_for(lambda: len(guest.states()) == len(every) + 1, "the node to know all", SECONDS)
        guest.wait_until_idle(SECONDS)
        wait_until_none(stack, "CREATE_IN_PROGRESS", 2 * len(every))
        stack.wait_for("CREATE_FAILED", 10)
        told = Client(site.lab.plan, progress, tmp_path_factory.mktemp("client")).run(
            "stack", "failures", "list", stack.name
        )
        assert told.returncode == 0, told.stderr
        yield Failures(told.stdout, stack.resources())
        assert sorted(guest.containers()) == ["holder"], "the good one is as it was"


def wait_until_none(stack: Stack, status: str, count: int) -> None:
    """Wait until a stack has so many resources, none of them in this status."""
    end = time.monotonic() + SECONDS
    while len(statuses := stack.resources().values()) < count or status in statuses:
        assert time.monotonic() < end, stack.story()
        time.sleep(1)  # to list them all costs Heat most of that


def template_of(every: Mapping[str, Any], server: str) -> dict[str, Any]:
    """Give the template of all of them, for a server of another stack."""
    parts = []
    for name, config in every.items():
        part = templates.deployment(name, config, "CFN_SIGNAL", options={**NONE_LASTS, **OPTIONS.get(name, {})})
        part[name]["properties"]["server"] = server
        if name == "group":
            part["group-config"]["properties"]["group"] = "kubelett"
        parts.append(part)
    return templates.template(*parts)


@pytest.mark.parametrize("name", CHECKED)
def test_what_is_found_by_reading_names_the_field_and_the_mend(failures: Failures, name: str) -> None:
    assert failures.statuses[name] == "CREATE_FAILED"
    assert re.fullmatch(CHECKED[name], failures.reason(name)), failures.of(name)


def test_validate_finds_the_same_in_the_template_before() -> None:
    """But for what another stack has taken; the group's name, which may be another hook's, is warned of."""
    with Receiver() as registry:
        text = json.dumps(template_of(configs(80, registry), "server"))
    (report,) = judge_files([Given("template.json", Path("template.json"), text)], {}, "node")
    found: dict[str, list[str]] = {}
    for each in report.findings:
        if each.severity == "error":
            message = re.sub(r" \(line \d+ of the text\)$", "", each.message)
            found.setdefault(each.resource.removesuffix("-config"), []).append(message)
    assert found.keys() == CHECKED.keys() - {"taken", "group"}
    for name, messages in found.items():
        assert any(re.fullmatch(CHECKED[name], message) for message in messages), (name, messages)
    (warning,) = (each.message for each in report.findings if each.field == "group")
    assert 'did you mean "kubelet"?' in warning


@pytest.mark.parametrize("name", TRIED)
def test_what_is_found_by_trying_names_pod_container_and_cause(failures: Failures, name: str) -> None:
    assert failures.statuses[name] == "CREATE_FAILED"
    assert re.fullmatch(f"default/{name}: {TRIED[name]}", failures.reason(name)), failures.of(name)
    assert re.search(rf"^    default/{name} +0/1 ", failures.of(name), re.MULTILINE), "the table of pods"


@pytest.mark.parametrize("name", LAST_WORDS)
def test_the_last_words_of_a_container_are_shown(failures: Failures, name: str) -> None:
    assert "    no disk left\n" in failures.of(name)


def test_nothing_else_failed(failures: Failures) -> None:
    failed = {name for name, status in failures.statuses.items() if status.endswith("_FAILED")}
    assert failed == {*CHECKED, *TRIED}
