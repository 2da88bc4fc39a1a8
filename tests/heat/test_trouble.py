"""Trouble that has to end in the right state of the stack; where Heat leaves no way, the node says so at once."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from heatlab import plan, templates
from heatlab.client import Client
from heatlab.guest import Guest
from heatlab.lab import HeatLab
from heatlab.stacks import Stack
from lab import deployments as pods
from lab.progress import Progress

from heat_config_kubelet.store import DROPPED, Store

from . import gated
from .conftest import SITE, Nodes, Site, site_on
from .gated import SECONDS

AWAY_SECONDS = 60
SIGNALS = {
    "cfn": ("CFN_SIGNAL", "heat-api-cfn", "POST"),
    "heat": ("HEAT_SIGNAL", "heat-api", "POST"),
    "temp-url": ("TEMP_URL_SIGNAL", "swift", "PUT"),
    "zaqar": ("ZAQAR_SIGNAL", "zaqar", "POST"),
}
"""By the name of a deployment: its signal transport, and who takes the signal by which method."""
FAILING = pods.pod(
    "web", "exit 3", restartPolicy="Never", container={"readinessProbe": {"exec": {"command": ["false"]}}}
)


@pytest.fixture(scope="module")
def large_lab(progress: Progress) -> Iterator[HeatLab]:
    """Each service in a process of its own that can be killed, behind a proxy that can lose what it answers."""
    folder = Path(tempfile.mkdtemp(prefix="heat-lab-large-", dir="/tmp"))
    try:
        with HeatLab(folder, progress, shape=plan.SEVERAL, tls=True) as lab:
            yield lab
    finally:
        shutil.rmtree(folder)


@pytest.fixture
def large_site(large_lab: HeatLab, nodes: Nodes, request: pytest.FixtureRequest) -> Iterator[Site]:
    with site_on(large_lab, nodes) as found:
        request.node.stash[SITE] = found
        found.guest().node.configure(signals={"ca": large_lab.plan.ca})
        yield found


def stack_of(site: Site, transport: str, names: list[str]) -> tuple[Stack, Guest]:
    """Give a stack with a deployment for each of these names of `SIGNALS`, whose pods run and are not ready yet."""
    guest = site.guest()
    parts = [
        templates.deployment(name, guest.gated(name), SIGNALS[name][0], options=gated.PATIENT, outputs=["pod_ip"])
        for name in names
    ]
    values = {name: {"get_attr": [name, "pod_ip"]} for name in names}
    stack = site.create(templates.template(templates.server(transport), *parts, outputs=values))
    guest.boot(stack)
    guest.node.wait_for(lambda: all(gated.container(guest, name) for name in names), "the containers to run", SECONDS)
    return stack, guest


def signals(guest: Guest) -> dict[str, tuple[str, str]]:
    """The state of each decided deployment's signal, and the last answer to it."""
    return {
        row["resource"]: (row["signal"], row["signal_answer"])
        for row in guest.deployments()
        if row["state"] in ("succeeded", "failed")
    }


def failed_attempts(guest: Guest) -> set[str]:
    """The deployments whose signal has been tried in vain, and waits."""
    return {row["resource"] for row in guest.deployments() if row["signal"] == "pending" and row["attempts"]}


def told(guest: Guest, *words: str) -> bool:
    """Whether `status` and the log of the agent both have all these words."""
    texts = (guest.node.agent("status").stdout, (guest.node.state_dir / "loop.log").read_text())
    return all(word in text for text in texts for word in words)


def signal_events(stack: Stack, name: str) -> list[str]:
    """What Heat made of the signals that it got for a resource."""
    return [
        event["resource_status"]
        for event in stack.events()
        if event["resource_name"] == name and event["resource_status"].startswith("SIGNAL_")
    ]


# --- Heat away, and answers that are lost


def test_heat_is_killed_with_signals_in_its_hands_and_is_away_for_a_minute(large_site: Site) -> None:
    """Meanwhile another source of metadata changes: what Heat's brought stays."""
    lab = large_site.lab
    guest = large_site.guest()
    node = guest.node
    node.collector.set(pods.metadata(pods.deployment("first", pods.pod("first"))), "other")
    stack, _ = stack_of(large_site, "POLL_SERVER_HEAT", ["cfn", "heat"])
    node.wait_for(lambda: "first" in guest.containers(), "the pod of the other source", SECONDS)
    before = {name: gated.container(guest, name) for name in ("cfn", "heat")}
    manifests = {path: path.stat().st_mtime_ns for path in node.manifests.glob("heat-*") if "first" not in path.name}
    under_way = lab.connections("heat-api-cfn")
    with lab.hanging("heat-api-cfn"), lab.hanging("heat-api"):
        for name in before:
            guest.open_gate(name)
        node.wait_for(
            lambda: set(signals(guest)) > set(before) and lab.connections("heat-api-cfn") > under_way,
            "the signals to be under way",
            SECONDS,
        )
        assert not failed_attempts(guest)
        with lab.killed("heat-api-cfn"), lab.killed("heat-api"):
            away_since = time.monotonic()
            node.wait_for(lambda: failed_attempts(guest) == set(before), "attempts that fail", SECONDS)
            assert not any("certificate" in answer for _, answer in signals(guest).values())
            assert told(guest, lab.plan.url("heat-api-cfn"), lab.plan.url("heat-api"))
            node.collector.set(pods.metadata(pods.deployment("second", pods.pod("second"))), "other")
            node.wait_for(
                lambda: sorted(guest.containers()) == ["cfn", "heat", "second"], "the other's change", SECONDS
            )
            node.wait_for(
                lambda: time.monotonic() > away_since + AWAY_SECONDS, "the minute to be over", 2 * AWAY_SECONDS
            )
            assert failed_attempts(guest) == set(before)
            assert {name: gated.container(guest, name) for name in before} == before
            assert {path: path.stat().st_mtime_ns for path in manifests} == manifests
    stack.wait_for("CREATE_COMPLETE", SECONDS)
    guest.wait_until_idle(SECONDS)
    assert {name: signals(guest)[name][0] for name in before} == dict.fromkeys(before, "delivered")
    ready = guest.running_pods()
    assert stack.outputs() == {name: ready[name]["status"]["podIP"] for name in before}
    assert {name: gated.container(guest, name) for name in before} == before


def test_answers_are_lost_after_heat_has_taken_the_signals(large_site: Site) -> None:
    """All come a second time, which does no harm."""
    lab = large_site.lab
    stack, guest = stack_of(large_site, "POLL_SERVER_HEAT", list(SIGNALS))
    cuts = [lab.losing_answers(service, method) for _, service, method in SIGNALS.values()]
    with cuts[0], cuts[1], cuts[2], cuts[3]:
        for name in SIGNALS:
            guest.open_gate(name)
        guest.node.wait_for(lambda: failed_attempts(guest) == set(SIGNALS), "attempts that fail", SECONDS)
        assert not any("certificate" in answer for _, answer in signals(guest).values())
        stack.wait_for("CREATE_COMPLETE", SECONDS)
        assert {state for state, _ in signals(guest).values()} == {"pending"}
    guest.wait_until_idle(SECONDS)
    assert {state for state, _ in signals(guest).values()} == {"delivered"}
    ready = guest.running_pods()
    assert stack.outputs() == {name: ready[name]["status"]["podIP"] for name in SIGNALS}
    assert stack.show()["stack_status"] == "CREATE_COMPLETE"
    for name in ("cfn", "heat"):  # the others are only read until there is one
        assert len(signal_events(stack, name)) >= 2


def test_a_signal_is_answered_500_by_what_stands_before_heat(large_site: Site) -> None:
    lab = large_site.lab
    stack, guest = stack_of(large_site, "POLL_SERVER_HEAT", list(SIGNALS))
    faults = [lab.failing(service, method) for _, service, method in SIGNALS.values()]
    with faults[0], faults[1], faults[2], faults[3]:
        for name in SIGNALS:
            guest.open_gate(name)
        guest.node.wait_for(lambda: failed_attempts(guest) == set(SIGNALS), "attempts that fail", SECONDS)
        assert all(": 500 Internal Server Error" in answer for _, answer in signals(guest).values())
        assert {stack.resources()[name] for name in SIGNALS} == {"CREATE_IN_PROGRESS"}
    stack.wait_for("CREATE_COMPLETE", SECONDS)
    guest.wait_until_idle(SECONDS)
    assert {state for state, _ in signals(guest).values()} == {"delivered"}


@pytest.mark.parametrize("name", ["cfn", "heat"])
def test_a_superseded_configuration_is_not_signalled_once_the_newer_one_is_seen(large_site: Site, name: str) -> None:
    """Heat has taken the signal and the node does not know it, when an update comes."""
    signal, service, method = SIGNALS[name]
    stack, guest = gated.waiting(large_site, "POLL_TEMP_URL", signal)
    (old,) = guest.deployments()
    with large_site.lab.losing_answers(service, method):
        guest.open_gate("web")
        guest.node.wait_for(lambda: gated.signal_is(guest, "pending", "https://"), "an attempt that fails", SECONDS)
        stack.wait_for("CREATE_COMPLETE", SECONDS)
    with large_site.lab.failing(service, method):
        stack_update(stack, gated.template(guest, "POLL_TEMP_URL", signal, guest.gated("next")))
        guest.node.wait_for(lambda: gated.container(guest, "next"), "the new pod to run", SECONDS)
        assert signal_of(guest, old["id"])[0] == DROPPED
    before = len(signal_events(stack, "web"))
    guest.node.wait_for(polls(guest, 3), "three polls", SECONDS)
    assert stack.show()["stack_status"] == "UPDATE_IN_PROGRESS"
    assert len(signal_events(stack, "web")) == before
    guest.open_gate("next")
    stack.wait_for("UPDATE_COMPLETE", SECONDS)
    assert "default/next" in stack.outputs()["deploy_stdout"]
    assert gated.is_delivered(guest)
    assert "superseded" in signal_of(guest, old["id"])[1]
    assert len(signal_events(stack, "web")) == before + 1


def stack_update(stack: Stack, template: dict[str, Any]) -> None:
    """Update a stack, and wait until its deployment is what is updated."""
    stack.update(template)
    stack.wait_for_resource("web", "UPDATE_IN_PROGRESS", SECONDS)


def signal_of(guest: Guest, entry: str) -> tuple[str, str]:
    """The state of an entry's signal and the last answer, also where the metadata does not have it any more."""
    store = Store.open(guest.node.state_dir / "store.sqlite", create=False)
    try:
        (found,) = (each for each in store.entries(vanished=True) if each.deployment.id == entry)
        return found.signal, found.answer
    finally:
        store.close()


def polls(guest: Guest, count: int) -> Any:
    """Give what becomes true when os-collect-config has polled so often."""
    seen: set[int] = set()
    cache = guest.node.collector.cache

    def look() -> bool:
        seen.add((cache / "request.json").stat().st_mtime_ns)
        return len(seen) > count

    return look


# --- the node away


@pytest.mark.parametrize(
    ("transport", "signal"), [("POLL_SERVER_CFN", "HEAT_SIGNAL"), ("ZAQAR_MESSAGE", "ZAQAR_SIGNAL")]
)
def test_the_node_is_rebooted_while_its_pod_starts(site: Site, transport: str, signal: str) -> None:
    """What Zaqar's message said is in the store alone."""
    stack, guest = gated.waiting(site, transport, signal)
    before = gated.container(guest)
    guest.node.kill_all()
    come_up(guest)
    guest.open_gate("web")
    assert gated.is_complete_with_its_outputs(stack, guest)
    assert gated.is_delivered(guest)
    assert gated.container(guest) != before


def come_up(guest: Guest) -> None:
    """Come up as a node's units do it."""
    guest.node.start()
    guest.node.collector.resume()
    assert guest.node.agent("resume").returncode == 0


@pytest.mark.parametrize("signal", ["HEAT_SIGNAL", "TEMP_URL_SIGNAL"])
def test_a_stack_whose_deletion_is_waited_for_is_deleted_while_the_node_is_down(site: Site, signal: str) -> None:
    guest = site.guest()
    part = templates.deployment("web", pods.pod("web"), signal, actions=["DELETE"])
    stack = site.create(templates.template(templates.server("POLL_SERVER_HEAT"), part))
    guest.boot(stack)
    stack.wait_for("CREATE_COMPLETE", SECONDS)
    guest.node.kill_all()
    stack.delete()
    stack.wait_for_resource("web", "DELETE_IN_PROGRESS", SECONDS)
    come_up(guest)
    stack.wait_for("DELETE_COMPLETE", SECONDS)
    assert not guest.node.pods() and not guest.node.pods_left()


def test_a_stack_is_deleted_while_the_node_is_down_and_its_server_stays(site: Site) -> None:
    """The deployments are of another stack than the server: the node hears that they are gone."""
    guest = site.guest()
    servers = site.create(templates.template(templates.server("POLL_SERVER_HEAT")))
    guest.boot(servers)
    stack = site.create(for_server(templates.deployment("web", pods.pod("web"), "CFN_SIGNAL"), servers))
    stack.wait_for("CREATE_COMPLETE", SECONDS)
    guest.node.kill_all()
    stack.delete()
    stack.wait_for("DELETE_COMPLETE", SECONDS)
    come_up(guest)
    guest.node.wait_for(lambda: guest.deployments() == [], "the node to hear of it", SECONDS)
    guest.wait_until_only(timeout=SECONDS)
    guest.wait_until_idle()


def for_server(deployment: templates.Resources, servers: Stack) -> dict[str, Any]:
    """Give the template of a deployment for the server of another stack."""
    deployment["web"]["properties"]["server"] = servers.resource("server")["physical_resource_id"]
    return templates.template(deployment)


@pytest.mark.parametrize(
    ("signal", "state", "answer"),
    [("TEMP_URL_SIGNAL", "refused", ": 404 Not Found"), ("HEAT_SIGNAL", "pending", "and when it is gone")],
)
def test_a_stack_is_deleted_with_its_server_while_the_node_is_down(
    site: Site, signal: str, state: str, answer: str
) -> None:
    """Nobody says any more what is wanted, so the pod runs on; what became of the signal is told."""
    stack, guest = gated.waiting(site, "POLL_SERVER_HEAT", signal)
    guest.node.kill_all()
    stack.delete()
    stack.wait_for("DELETE_COMPLETE", SECONDS)
    come_up(guest)
    guest.open_gate("web")
    guest.node.wait_for(lambda: gated.signal_is(guest, state, answer), "the signal to be refused", SECONDS)
    assert told(guest, answer)
    assert list(guest.containers()) == ["web"]


# --- where Heat leaves no way


def test_a_signal_whose_url_has_expired_is_said_to_be_lost(
    nodes: Nodes, progress: Progress, request: pytest.FixtureRequest
) -> None:
    """The stack waits on, until a person answers in the node's place. Keystone takes a URL for no time at all here."""
    folder = Path(tempfile.mkdtemp(prefix="heat-lab-expiring-", dir="/tmp"))
    try:
        with HeatLab(folder, progress, auth_ttl=0) as lab, site_on(lab, nodes) as site:
            request.node.stash[SITE] = site
            stack, guest = gated.waiting(site, "POLL_SERVER_HEAT", "CFN_SIGNAL")
            guest.open_gate("web")
            wrong = (
                "[signals] cfn_url_lifetime says: after Keystone's [credential] auth_ttl (minutes), here taken for 900"
            )
            guest.node.wait_for(lambda: gated.signal_is(guest, "pending", wrong), "an attempt that is refused", SECONDS)
            assert told(guest, wrong)

            guest.node.configure(signals={"cfn_url_lifetime": 1})
            guest.node.kill_agent()
            guest.node.collector.resume()
            assert guest.node.agent("resume").returncode == 0
            guest.node.wait_for(lambda: gated.signal_is(guest, "dropped"), "the signal to be given up", SECONDS)
            assert told(guest, "the pre-signed URL ended at", "[credential] auth_ttl", "signal_transport HEAT_SIGNAL")
            guest.wait_until_idle()
            before = gated.container(guest)
            assert stack.show()["stack_status"] == "CREATE_IN_PROGRESS"

            answer = ("stack", "resource", "signal", stack.name, "web", "--data", '{"deploy_status_code": 0}')
            assert Client(lab.plan, progress, folder).run(*answer).returncode == 0
            stack.wait_for("CREATE_COMPLETE", SECONDS)
            assert gated.container(guest) == before
    finally:
        shutil.rmtree(folder)


@pytest.mark.parametrize("signal", ["CFN_SIGNAL", "HEAT_SIGNAL"])
def test_the_deletion_of_a_replaced_deployment_that_heat_never_sees_answered_is_told(site: Site, signal: str) -> None:
    """Heat gives the signal to the successor, and waits on. The pods are right."""
    guest = site.guest()
    server = templates.server("POLL_SERVER_HEAT")
    stack = site.create(templates.template(server, templates.deployment("web", FAILING, signal, actions=["DELETE"])))
    guest.boot(stack)
    stack.wait_for("CREATE_FAILED", SECONDS)
    mended = templates.deployment("web", pods.pod("web"), signal, actions=["DELETE"])
    stack.update(templates.template(server, mended))
    guest.node.wait_for(
        lambda: (
            {(row["action"], row["signal"]) for row in guest.deployments()}
            == {("CREATE", "delivered"), ("DELETE", "doubtful")}
        ),
        "the old one's DELETE to be answered",
        SECONDS,
    )
    guest.wait_until_idle()
    assert told(guest, f"{signal} names the resource", "needs signal_transport TEMP_URL_SIGNAL or ZAQAR_SIGNAL")
    assert list(guest.containers()) == ["web"]
    assert stack.show()["stack_status"] == "UPDATE_IN_PROGRESS"
    # A server that Nova does not know is not waited for: the way out for whoever has such a stack.
    site.lab.nova.gone.add(stack.resource("server")["physical_resource_id"])
