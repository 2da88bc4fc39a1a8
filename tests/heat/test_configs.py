"""Every kind of config that Heat has, as authors write them: what comes to the node runs, and Heat says COMPLETE."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

import pytest
from heatlab import templates
from heatlab.guest import Guest
from lab import deployments as heat
from lab import heat_agents, images
from lab.progress import Progress
from lab.registry import Registry

from .conftest import Site

EXAMPLE = Path(__file__).parent / "templates" / "example-kubelet-template.yaml"
SECONDS = 120

TEXT = f"""\
# A comment, and a text that would be a number without its quotes.
apiVersion: v1
kind: Pod
metadata: {{name: text}}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: c
    image: {images.BUSYBOX}
    command: [/bin/sh, -c, exec sleep 3600]
    env:
    - {{name: NUMBER, value: '0x1000'}}
"""
DOCUMENTS = f"---\n{TEXT.replace('text', 'first')}---\n{TEXT.replace('text', 'second')}---\n"

ENVIRONMENT = [{"name": "COLOUR", "value": "blue"}, {"name": "SIZE", "value": "7"}]
WITH_INPUTS = heat.pod("inputs", container={"env": {"get_input": "environment"}})
WITH_INPUTS["metadata"]["labels"] = {"release": {"get_input": "release"}, "tier": {"get_input": "tier"}}
INPUTS = [{"name": "environment", "type": "Json"}, {"name": "tier", "type": "String", "default": "web"}]
"""Declared ones; `release` is not."""


def test_every_way_to_write_a_config(site: Site) -> None:
    def whole(release: str) -> dict[str, Any]:
        inputs = templates.deployment(
            "inputs", WITH_INPUTS, "CFN_SIGNAL", inputs={"environment": ENVIRONMENT, "release": release}
        )
        inputs["inputs-config"]["properties"]["inputs"] = INPUTS
        return templates.template(
            templates.server("POLL_SERVER_HEAT"),
            templates.deployment("text", TEXT, "HEAT_SIGNAL"),
            templates.deployment("documents", {"get_file": "pods.yaml"}, "TEMP_URL_SIGNAL", kind="Software"),
            templates.deployment("json", {"get_file": "pod.json"}, "ZAQAR_SIGNAL", kind="Software"),
            inputs,
        )

    files = {"pods.yaml": DOCUMENTS, "pod.json": json.dumps(heat.pod("json"), indent=4)}
    guest = site.guest()
    stack = site.create(whole("1"), files=files)
    guest.boot(stack)
    stack.wait_for("CREATE_COMPLETE", SECONDS)
    pods = guest.running_pods()
    assert sorted(pods) == ["first", "inputs", "json", "second", "text"]
    for name in ("first", "second", "text"):
        assert pods[name]["spec"]["containers"][0]["env"] == [{"name": "NUMBER", "value": "0x1000"}]
    assert pods["inputs"]["spec"]["containers"][0]["env"] == ENVIRONMENT
    assert pods["inputs"]["metadata"]["labels"] == {"release": "1", "tier": "web"}
    before = guest.containers()

    files["pods.yaml"] = DOCUMENTS.replace("0x1000", "0x2000", 1)
    stack.update(whole("2"), files=files)
    stack.wait_for("UPDATE_COMPLETE", SECONDS)
    after = guest.containers()
    assert {name for name in before if after[name] == before[name]} == {"json", "second", "text"}
    assert guest.running_pods()["inputs"]["metadata"]["labels"]["release"] == "2"


def test_a_component_with_a_config_for_each_action(site: Site, script_hook: Path) -> None:
    guest = site.guest()
    put_hook(guest, script_hook)
    left = guest.node.folder / "left"
    configs = [
        {"actions": ["CREATE", "RESUME"], "tool": "kubelet", "config": json.dumps(heat.pod("web"))},
        {"actions": ["UPDATE"], "tool": "kubelet", "config": json.dumps(heat.pod("web", "echo new; exec sleep 3600"))},
        {"actions": ["SUSPEND"], "tool": "kubelet"},
        {"actions": ["DELETE"], "tool": "script", "config": f'#!/bin/sh\necho "$deploy_action $release" > {left}\n'},
    ]

    def whole(release: str) -> dict[str, Any]:
        part = templates.deployment("web", {}, "ZAQAR_SIGNAL", kind="Software", inputs={"release": release})
        config = part["web-config"]
        config["type"] = "OS::Heat::SoftwareComponent"
        config["properties"] = {"configs": configs, "options": config["properties"]["options"]}
        return templates.template(templates.server("POLL_SERVER_HEAT"), part)

    stack = site.create(whole("1"))
    guest.boot(stack)
    stack.wait_for("CREATE_COMPLETE", SECONDS)
    assert guest.command("web") == "exec sleep 3600"

    stack.update(whole("2"))
    stack.wait_for("UPDATE_COMPLETE", SECONDS)
    assert guest.command("web") == "echo new; exec sleep 3600"

    stack.suspend()
    stack.wait_for("SUSPEND_COMPLETE", SECONDS)
    assert not guest.node.pods() and not guest.node.pods_left()

    stack.resume()
    stack.wait_for("RESUME_COMPLETE", SECONDS)
    assert guest.command("web") == "exec sleep 3600"

    stack.delete()
    stack.wait_for("DELETE_COMPLETE", SECONDS)
    assert left.read_text() == "DELETE 2\n"
    assert not guest.node.pods() and not guest.node.pods_left()


def test_a_script_beside_a_pod_that_needs_what_it_made(site: Site, script_hook: Path) -> None:
    guest = site.guest()
    put_hook(guest, script_hook)
    page = guest.node.folder / "page"
    script = f"""#!/bin/sh -e
mkdir -p {page}
echo "$text" > {page}/index
echo written
printf %s {page} > "$heat_outputs_path.folder"
"""
    mount = {"volumeMounts": [{"name": "page", "mountPath": "/page"}]}
    volume = {"name": "page", "hostPath": {"path": {"get_input": "folder"}, "type": "Directory"}}
    pod = heat.pod("web", "cat /page/index; exec sleep 3600", container=mount, volumes=[volume])
    write = templates.deployment(
        "write", script, "CFN_SIGNAL", group="script", inputs={"text": "of the script"}, outputs=["folder"]
    )
    web = templates.deployment("web", pod, "HEAT_SIGNAL", inputs={"folder": {"get_attr": ["write", "folder"]}})
    told = {"script": {"get_attr": ["write", "deploy_stdout"]}, "pod": {"get_attr": ["web", "deploy_stdout"]}}
    stack = site.create(templates.template(templates.server("POLL_SERVER_CFN"), write, web, outputs=told))
    guest.boot(stack)
    stack.wait_for("CREATE_COMPLETE", SECONDS)
    assert stack.outputs()["script"] == "written\n"
    assert "default/web  1/1    Running" in stack.outputs()["pod"]
    full = guest.running_pods()["web"]["metadata"]["name"]
    assert guest.node.get(f"/containerLogs/default/{full}/c") == b"of the script\n"


def test_the_config_of_heats_own_example(site: Site, progress: Progress, tmp_path: Path) -> None:
    guest = site.guest()
    with Registry(tmp_path / "registry", progress) as registry:
        archive = images.write_image(
            tmp_path / "busybox.tar", "docker.io/library/busybox:latest", entrypoint=[], command=["sh"]
        )
        digest = registry.push(archive)
        registry.stand_for("docker.io", guest.node)
        stack = site.create(EXAMPLE)
        guest.boot(stack)
        stack.wait_for("CREATE_COMPLETE", SECONDS)
    (pod,) = guest.running_pods().values()
    assert pod["metadata"]["name"].startswith("kubelet-deployment-")
    assert pod["spec"]["containers"][0]["imagePullPolicy"] == "Always"
    assert pod["status"]["containerStatuses"][0]["imageID"] == f"docker.io/library/busybox@{digest}"
    with socket.create_connection((pod["status"]["podIP"], 8080), timeout=10) as connection:
        assert connection.makefile().read() == "hello world!\n"
    outputs = stack.outputs()
    assert (outputs["status_code_deployment"], outputs["stderr"]) == (0, "")
    assert "1/1    Running" in outputs["stdout"]


@pytest.fixture(scope="module")
def script_hook(progress: Progress) -> Path:
    """The hook of group script that heat-agents have."""
    return heat_agents.get(progress).parent / "heat-config-script" / "install.d" / "hook-script.py"


def put_hook(guest: Guest, program: Path) -> None:
    """Give a node the hook of group script; it keeps its files in the node's folder."""
    work = guest.node.folder / "scripts"
    file = guest.node.hooks / "script"
    file.write_text(
        f"#!/bin/sh\nHEAT_SCRIPT_WORKING={work}/work HEAT_SCRIPT_OUTPUTS={work}/outputs exec python3 {program}\n"
    )
    file.chmod(0o755)
