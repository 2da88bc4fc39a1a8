"""Every way that Heat has to bring metadata to a node, with every way that a node has to answer."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from heatlab import templates
from heatlab.guest import Guest
from heatlab.lab import HeatLab
from heatlab.stacks import Stack
from lab import deployments as pods

from .conftest import SITE, Nodes, site_on

OUTPUTS = ["pod_ip", "pods"]
"""Declared by the configs; Heat has those below for every deployment."""
ATTRIBUTES = [*OUTPUTS, "deploy_status_code", "deploy_stdout"]


class Deployed:
    """A stack whose server has a deployment for each signal transport, and the node behind it."""

    def __init__(self, stack: Stack, guest: Guest) -> None:
        self.stack = stack
        self.guest = guest


@pytest.fixture(scope="module")
def deployed(request: pytest.FixtureRequest, heat_lab: HeatLab, nodes: Nodes) -> Iterator[Deployed]:
    """One stack for each server transport; pytest runs the tests that share one after the other."""
    transport: str = request.param
    with site_on(heat_lab, nodes) as site:
        request.node.stash[SITE] = site
        names = [name_of(signal) for signal in templates.SIGNAL_TRANSPORTS]
        # Heat (service_software_config.py) keeps messages of deployments that it makes at one time in no order.
        before = [[], *([name] for name in names)] if transport == "ZAQAR_MESSAGE" else [[]] * len(names)
        parts = [
            templates.deployment(name, pods.pod(name), signal, outputs=OUTPUTS, depends_on=others)
            for name, signal, others in zip(names, templates.SIGNAL_TRANSPORTS, before, strict=False)
        ]
        values = {name: {item: {"get_attr": [name, item]} for item in ATTRIBUTES} for name in names}
        stack = site.create(templates.template(templates.server(transport), *parts, outputs=values))
        guest = site.guest()
        guest.boot(stack)
        yield Deployed(stack, guest)


@pytest.mark.parametrize("deployed", templates.SERVER_TRANSPORTS, indirect=True)
@pytest.mark.parametrize("signal", templates.SIGNAL_TRANSPORTS)
def test_a_deployment_is_complete_and_heat_has_its_outputs(deployed: Deployed, signal: str) -> None:
    stack, guest, name = deployed.stack, deployed.guest, name_of(signal)
    stack.wait_for_resource(name, "CREATE_COMPLETE", timeout=120)
    pod = guest.node.wait_for(lambda: guest.running_pods().get(name), f"pod {name} to be ready")
    found = stack.outputs()[name]
    if signal == "NO_SIGNAL":
        assert found == dict.fromkeys(ATTRIBUTES)
        return
    assert found["pod_ip"] == pod["status"]["podIP"]
    assert [item["uid"] for item in json.loads(found["pods"])] == [pod["metadata"]["uid"]]
    assert found["deploy_status_code"] == 0
    assert f"default/{name}  1/1    Running" in found["deploy_stdout"]


def name_of(signal: str) -> str:
    """The name of the pod and of the deployment that answers by this transport."""
    return signal.partition("_SIGNAL")[0].lower().replace("_", "-")
