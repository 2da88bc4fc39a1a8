"""Several servers of one stack, each with a node of its own, and groups that bring the same pods to all of them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from heatlab import templates
from heatlab.stacks import Stack
from lab import deployments as heat
from lab import images

from .conftest import Site

SERVERS = {"one": "POLL_SERVER_CFN", "two": "POLL_SERVER_HEAT", "three": "ZAQAR_MESSAGE"}
SECONDS = 120
STRUCTURED, SOFTWARE = "StructuredDeploymentGroup", "SoftwareDeploymentGroup"


def servers() -> list[templates.Resources]:
    return [templates.server(transport, name) for name, transport in SERVERS.items()]


def content(kind: str, pod: dict[str, Any]) -> object:
    """A pod as the config of a kind of group: a map or a text."""
    return pod if kind == STRUCTURED else json.dumps(pod)


def containers(site: Site, names: Iterable[str]) -> dict[str, dict[str, str]]:
    return {name: site.guest(name).containers() for name in names}


def boot(site: Site, stack: Stack) -> None:
    for name in SERVERS:
        site.guest(name).boot(stack, name)


def test_a_group_and_deployments_of_their_own(site: Site) -> None:
    own = [
        templates.deployment(f"own-{name}", heat.pod(f"own-{name}"), "TEMP_URL_SIGNAL", server=name, outputs=["pod_ip"])
        for name in SERVERS
    ]
    values = {name: {"get_attr": [f"own-{name}", "pod_ip"]} for name in SERVERS}
    values["group"] = {"get_attr": ["every", "deploy_stdouts"]}
    shared = templates.group("every", heat.pod("every"), "CFN_SIGNAL", SERVERS)
    stack = site.create(templates.template(*servers(), *own, shared, outputs=values))
    boot(site, stack)
    stack.wait_for("CREATE_COMPLETE", SECONDS)
    outputs = stack.outputs()
    before = containers(site, SERVERS)
    for name in SERVERS:
        pods = site.guest(name).running_pods()
        assert sorted(pods) == ["every", f"own-{name}"]
        assert outputs[name] == pods[f"own-{name}"]["status"]["podIP"]
        assert "default/every  1/1    Running" in outputs["group"][name]

    changed = templates.group("every", heat.pod("every", "echo changed; exec sleep 3600"), "CFN_SIGNAL", SERVERS)
    stack.update(templates.template(*servers(), *own, changed, outputs=values))
    stack.wait_for("UPDATE_COMPLETE", SECONDS)
    for name, after in containers(site, SERVERS).items():
        assert after[f"own-{name}"] == before[name][f"own-{name}"]
        assert after["every"] != before[name]["every"]

    stack.update(templates.template(*servers(), *own, outputs={name: values[name] for name in SERVERS}))
    stack.wait_for("UPDATE_COMPLETE", SECONDS)
    for name in SERVERS:
        guest = site.guest(name)
        guest.wait_until_only(f"own-{name}")
        assert guest.containers() == {f"own-{name}": before[name][f"own-{name}"]}


@pytest.mark.parametrize(("kind", "signal"), [(STRUCTURED, "CFN_SIGNAL"), (SOFTWARE, "ZAQAR_SIGNAL")])
def test_a_member_whose_image_is_missing_fails_alone(site: Site, kind: str, signal: str, tmp_path: Path) -> None:
    image = f"lab.local/{kind.lower()}:1"
    archive = images.write_image(tmp_path / "image.tar", image, ["/bin/sh"])
    pod = heat.pod("web", image=image, container={"imagePullPolicy": "Never"})
    group = templates.group("every", content(kind, pod), signal, SERVERS, error_outputs=["why"])
    whole = templates.template(*servers(), group)
    assert whole["resources"]["every"]["type"] == f"OS::Heat::{kind}"
    stack = site.create(whole)
    for name in ("one", "two"):
        site.guest(name).node.import_image(archive)
        site.guest(name).boot(stack, name)
        site.guest(name).wait_until_only("web")
    for name in ("one", "two"):
        stack.nested("every").wait_for_resource(name, "CREATE_COMPLETE", SECONDS)
    before = containers(site, ("one", "two"))

    site.guest("three").boot(stack, "three")
    stack.wait_for("CREATE_FAILED", SECONDS)
    members = {"one": "CREATE_COMPLETE", "two": "CREATE_COMPLETE", "three": "CREATE_FAILED"}
    assert stack.nested("every").resources() == members
    # Heat puts a space behind every colon that comes from a nested stack: ResourceFailure, heat/common/exception.py.
    reason = stack.reason().replace(": ", ":")
    assert "resources.every.resources.three:Deployment to server failed:deploy_status_code" in reason
    assert f'why:default/web:container "c":ErrImageNeverPull:Container image "{image}" is not present' in reason
    assert containers(site, ("one", "two")) == before

    site.guest("three").node.import_image(archive)
    stack.update(whole)
    stack.wait_for("UPDATE_COMPLETE", SECONDS)
    assert set(stack.nested("every").resources().values()) <= {"CREATE_COMPLETE", "UPDATE_COMPLETE"}
    assert list(site.guest("three").containers()) == ["web"]
    assert containers(site, ("one", "two")) == before


@pytest.mark.parametrize(("kind", "actions"), [(STRUCTURED, []), (SOFTWARE, ["DELETE"])])
def test_a_group_grows_and_shrinks(site: Site, kind: str, actions: list[str]) -> None:
    def over(*names: str) -> dict[str, Any]:
        pods = content(kind, heat.pod("web"))
        return templates.template(*servers(), templates.group("every", pods, "TEMP_URL_SIGNAL", names, actions=actions))

    stack = site.create(over("one", "two"))
    boot(site, stack)
    stack.wait_for("CREATE_COMPLETE", SECONDS)
    two = containers(site, SERVERS)
    assert [list(pods) for pods in two.values()] == [["web"], ["web"], []]

    stack.update(over("one", "two", "three"))
    stack.wait_for("UPDATE_COMPLETE", SECONDS)
    three = containers(site, SERVERS)
    assert list(three["three"]) == ["web"]
    assert three == {**two, "three": three["three"]}

    stack.update(over("one", "three"))
    stack.wait_for("UPDATE_COMPLETE", SECONDS)
    site.guest("two").wait_until_only()
    assert containers(site, SERVERS) == {**three, "two": {}}
