"""Whole lives of stacks: every action, failures that are mended or rolled back, and what Heat says of them."""

from __future__ import annotations

from typing import Any

import pytest
from heatlab import templates
from heatlab.guest import Guest
from lab import deployments as heat

from .conftest import Site

PAIRS = [
    ("POLL_SERVER_CFN", "CFN_SIGNAL"),
    ("POLL_SERVER_HEAT", "HEAT_SIGNAL"),
    ("POLL_TEMP_URL", "TEMP_URL_SIGNAL"),
    ("ZAQAR_MESSAGE", "ZAQAR_SIGNAL"),
]
"""Each way to the node and each way back."""

SUSPENDABLE = [pair for pair in PAIRS if pair[0] != "POLL_TEMP_URL"]
"""With POLL_TEMP_URL Heat itself fails to suspend a server."""

FAILING = heat.pod(
    "web",
    "echo the reason of it >&2; exit 3",
    restartPolicy="Never",
    container={"readinessProbe": {"exec": {"command": ["/bin/false"]}, "periodSeconds": 1}},
)
"""A pod that ends at once, and is never ready before."""
SECONDS = 120


def web(transport: str, signal: str, pods: object, **fields: Any) -> dict[str, Any]:
    """Give a template of one server and one deployment on it, called web."""
    part = templates.deployment("web", pods, signal, error_outputs=["why"], **fields)
    told = {"told": {"get_attr": ["web", "deploy_stdout"]}, "errors": {"get_attr": ["web", "deploy_stderr"]}}
    return templates.template(templates.server(transport), part, outputs=told)


@pytest.mark.parametrize(("transport", "signal"), SUSPENDABLE)
def test_every_action_of_a_life(site: Site, transport: str, signal: str) -> None:
    actions = ["SUSPEND", "RESUME", "DELETE"]
    guest = site.guest()
    left, right = heat.pod("left"), heat.pod("right")
    stack = site.create(web(transport, signal, templates.several(left, right), actions=actions))
    guest.boot(stack)
    stack.wait_for("CREATE_COMPLETE", SECONDS)
    first = guest.containers()
    assert sorted(first) == ["left", "right"]

    right = heat.pod("right", "echo changed; exec sleep 3600")
    stack.update(web(transport, signal, templates.several(left, right), actions=actions))
    stack.wait_for("UPDATE_COMPLETE", SECONDS)
    second = guest.containers()
    assert second["left"] == first["left"]
    assert second["right"] != first["right"]

    stack.update(web(transport, signal, heat.pod("other"), actions=actions))
    stack.wait_for("UPDATE_COMPLETE", SECONDS)
    assert list(guest.containers()) == ["other"]
    assert "default/other" in stack.outputs()["told"]

    stack.suspend()
    stack.wait_for("SUSPEND_COMPLETE", SECONDS)
    assert nothing_left(guest)

    stack.resume()
    stack.wait_for("RESUME_COMPLETE", SECONDS)
    assert list(guest.containers()) == ["other"]

    stack.delete()
    stack.wait_for("DELETE_COMPLETE", SECONDS)
    assert nothing_left(guest)


@pytest.mark.parametrize(("transport", "signal"), PAIRS)
def test_a_failed_deployment_is_mended_by_an_update(site: Site, transport: str, signal: str) -> None:
    guest = site.guest()
    stack = site.create(web(transport, signal, FAILING))
    guest.boot(stack)
    stack.wait_for("CREATE_FAILED", SECONDS)
    reason = stack.reason()
    assert "Deployment exited with non-zero status code: 1" in reason
    assert 'why : default/web: container "c" exited with code 3' in reason
    assert "the reason of it" in stack.outputs()["errors"]

    stack.update(web(transport, signal, heat.pod("web")))
    guest.node.wait_for(lambda: guest.states() == ["failed", "succeeded"], "the new entry beside the old one")
    mended = guest.containers()
    assert list(mended) == ["web"]
    stack.wait_for("UPDATE_COMPLETE", SECONDS)
    guest.node.wait_for(lambda: guest.states() == ["succeeded"], "the old entry to be gone")
    guest.wait_until_idle()
    assert guest.containers() == mended
    assert "default/web  1/1    Running" in stack.outputs()["told"]


@pytest.mark.parametrize("signal", ["TEMP_URL_SIGNAL", "ZAQAR_SIGNAL"])
def test_a_failed_deployment_that_answers_its_deletion_is_mended(site: Site, signal: str) -> None:
    """With the other two Heat gives the signal to the successor, and waits for ever."""
    guest = site.guest()
    template = web("POLL_SERVER_HEAT", signal, FAILING, actions=["DELETE"])
    stack = site.create(template)
    guest.boot(stack)
    stack.wait_for("CREATE_FAILED", SECONDS)
    stack.update(web("POLL_SERVER_HEAT", signal, heat.pod("web"), actions=["DELETE"]))
    stack.wait_for("UPDATE_COMPLETE", SECONDS)
    guest.node.wait_for(lambda: guest.states() == ["succeeded"], "the old entry to be gone")
    guest.wait_until_idle()
    assert list(guest.containers()) == ["web"]


@pytest.mark.parametrize(("transport", "signal"), PAIRS)
def test_a_failed_update_is_rolled_back(site: Site, transport: str, signal: str) -> None:
    guest = site.guest()
    other = templates.deployment("other", heat.pod("other"), signal)
    good = web(transport, signal, heat.pod("web"))
    good["resources"].update(other)
    stack = site.create(good)
    guest.boot(stack)
    stack.wait_for("CREATE_COMPLETE", SECONDS)
    before = guest.containers()

    bad = web(transport, signal, FAILING)
    bad["resources"].update(other)
    stack.update(bad, disable_rollback=False)
    stack.wait_for("ROLLBACK_COMPLETE", SECONDS)
    guest.wait_until_idle()
    after = guest.containers()
    assert after["other"] == before["other"]
    assert sorted(after) == ["other", "web"]
    assert guest.command("web") == "exec sleep 3600"


def test_pods_go_with_the_stack_where_nobody_waits_for_it(site: Site) -> None:
    guest = site.guest()
    stack = site.create(web("POLL_SERVER_CFN", "NO_SIGNAL", heat.pod("web")))
    guest.boot(stack)
    stack.wait_for("CREATE_COMPLETE", SECONDS)
    guest.node.wait_for(lambda: "web" in guest.containers(), "the pod")
    stack.update(templates.template(templates.server("POLL_SERVER_CFN")))
    stack.wait_for("UPDATE_COMPLETE", SECONDS)
    guest.wait_until_only()


def nothing_left(guest: Guest) -> bool:
    """Whether no pod is left on a node, nor anything of one."""
    return not guest.node.pods() and not guest.node.pods_left()
