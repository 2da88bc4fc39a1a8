"""A stack with one deployment, called web, whose pod becomes ready when the test lets it: what happens until then."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from heatlab import templates
from heatlab.guest import Guest
from heatlab.stacks import Stack

from .conftest import Site

SECONDS = 120
PATIENT = {"containers_timeout": 300}


def template(guest: Guest, transport: str, signal: str, pod: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Give the stack's template, with the gated pod or another one."""
    part = templates.deployment("web", pod or guest.gated("web"), signal, options=PATIENT, outputs=["pod_ip"])
    values = {name: {"get_attr": ["web", name]} for name in ("pod_ip", "deploy_stdout")}
    return templates.template(templates.server(transport), part, outputs=values)


def waiting(site: Site, transport: str, signal: str) -> tuple[Stack, Guest]:
    """Give a stack whose node has its pod, which becomes ready when its gate is opened."""
    guest = site.guest()
    stack = site.create(template(guest, transport, signal))
    guest.boot(stack)
    guest.node.wait_for(lambda: container(guest), "the pod's container to run", SECONDS)
    return stack, guest


def container(guest: Guest, name: str = "web") -> str:
    """The id of a pod's container while that runs, ready or not."""
    pod = guest.node.pod(name) or {}
    running = [item for item in pod.get("status", {}).get("containerStatuses", []) if "running" in item["state"]]
    return str(running[0]["containerID"]) if running else ""


def row(guest: Guest) -> dict[str, Any]:
    """What `status` says of the one deployment."""
    (found,) = guest.deployments()
    return found


def signal_is(guest: Guest, state: str, answer: str = "") -> bool:
    """Whether the one deployment has succeeded, with its signal in this state after this answer."""
    found = row(guest)
    return found["state"] == "succeeded" and found["signal"] == state and answer in (found["signal_answer"] or "")


def is_complete_with_its_outputs(stack: Stack, guest: Guest, status: str = "CREATE_COMPLETE") -> bool:
    """Wait for the stack to be complete; whether Heat has what the node sent."""
    stack.wait_for(status, SECONDS)
    return bool(stack.outputs()["pod_ip"] == guest.running_pods()["web"]["status"]["podIP"])


def is_delivered(guest: Guest) -> bool:
    """Wait for the one signal to be delivered, after which nothing is left to do."""
    guest.node.wait_for(lambda: signal_is(guest, "delivered"), "the signal to be delivered", SECONDS)
    guest.wait_until_idle()
    return True
