"""Services that are away, or die with a signal in their hands, while a deployment is to be signalled."""

from __future__ import annotations

import pytest
from heatlab import templates
from heatlab.guest import Guest
from heatlab.stacks import Stack

from .conftest import Site

SECONDS = 120
PATIENT = {"containers_timeout": 300}


def waiting(site: Site, transport: str, signal: str) -> tuple[Stack, Guest]:
    """Give a stack whose node has its pod, which becomes ready when its gate is opened."""
    guest = site.guest()
    part = templates.deployment("web", guest.gated("web"), signal, options=PATIENT, outputs=["pod_ip"])
    values = {"pod_ip": {"get_attr": ["web", "pod_ip"]}}
    stack = site.create(templates.template(templates.server(transport), part, outputs=values))
    guest.boot(stack)
    guest.node.wait_for(lambda: container(guest), "the pod's container to run")
    return stack, guest


def container(guest: Guest) -> str:
    """The id of the pod's container while that runs, ready or not."""
    pod = guest.node.pod("web") or {}
    running = [item for item in pod.get("status", {}).get("containerStatuses", []) if "running" in item["state"]]
    return str(running[0]["containerID"]) if running else ""


def signal_is(guest: Guest, state: str, answer: str) -> bool:
    """Whether the one deployment has succeeded, with its signal in this state after this answer."""
    (row,) = guest.deployments()
    return row["state"] == "succeeded" and row["signal"] == state and answer in (row["signal_answer"] or "")


def is_complete_with_its_outputs(stack: Stack, guest: Guest) -> bool:
    """Wait for the stack to be complete; whether Heat has what the node sent."""
    stack.wait_for("CREATE_COMPLETE", SECONDS)
    return bool(stack.outputs()["pod_ip"] == guest.running_pods()["web"]["status"]["podIP"])


@pytest.mark.parametrize(
    ("transport", "signal", "service"),
    [
        ("POLL_SERVER_CFN", "CFN_SIGNAL", "heat-api-cfn"),
        ("POLL_SERVER_HEAT", "HEAT_SIGNAL", "heat-api"),
        ("POLL_TEMP_URL", "TEMP_URL_SIGNAL", "swift"),
        ("POLL_SERVER_HEAT", "HEAT_SIGNAL", "keystone"),
        ("ZAQAR_MESSAGE", "ZAQAR_SIGNAL", "keystone"),
    ],
)
def test_a_signal_comes_when_the_service_is_back(site: Site, transport: str, signal: str, service: str) -> None:
    """Not with Zaqar away: Heat, which polls it too, then fails the deployment by itself."""
    stack, guest = waiting(site, transport, signal)
    before = container(guest)
    with site.lab.without(service):
        guest.open_gate("web")
        guest.node.wait_for(lambda: signal_is(guest, "pending", "refused"), "an attempt that is refused")
    assert is_complete_with_its_outputs(stack, guest)
    guest.node.wait_for(lambda: signal_is(guest, "delivered", ""), "the signal to be delivered")
    assert container(guest) == before


def test_a_signal_is_sent_again_when_its_answer_is_lost(site: Site) -> None:
    """The API hangs as Keystone does, and its connections are cut: Heat may have got the signal or not."""
    stack, guest = waiting(site, "POLL_TEMP_URL", "CFN_SIGNAL")
    before = site.lab.connections("heat-api-cfn")
    with site.lab.hanging("keystone"):
        guest.open_gate("web")
        guest.node.wait_for(lambda: site.lab.connections("heat-api-cfn") > before, "the signal to be under way")
        with site.lab.without("heat-api-cfn"):
            guest.node.wait_for(lambda: signal_is(guest, "pending", "127.0.0.1"), "the attempt to have failed")
    assert is_complete_with_its_outputs(stack, guest)
    guest.node.wait_for(lambda: signal_is(guest, "delivered", ""), "the signal to be delivered")


def test_keystone_is_killed_with_the_request_for_a_token_in_its_hands(site: Site) -> None:
    stack, guest = waiting(site, "POLL_TEMP_URL", "HEAT_SIGNAL")
    with site.lab.hanging("keystone"):
        before = site.lab.connections("keystone")
        guest.open_gate("web")
        guest.node.wait_for(lambda: site.lab.connections("keystone") > before, "the request to be under way")
        with site.lab.killed("keystone"):
            guest.node.wait_for(lambda: signal_is(guest, "pending", "refused"), "an attempt that is refused")
    assert is_complete_with_its_outputs(stack, guest)
    guest.node.wait_for(lambda: signal_is(guest, "delivered", ""), "the signal to be delivered")
