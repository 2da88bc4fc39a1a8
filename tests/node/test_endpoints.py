"""Endpoints of signals that fail in every way: each result arrives as soon as it can, and none holds up another."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import passes
import pytest
from lab import deployments as heat
from lab.deployments import Metadata
from lab.node import LabNode
from lab.receiver import HANG, LATE, RESET, Fault, Receiver
from way import Way

from heat_config_kubelet import pki
from heat_config_kubelet.store import DELIVERED, DROPPED, PENDING, REFUSED, Entry, Store

FORBIDDEN = Fault(403, {"Content-Type": "application/xml"}, b"<ErrorResponse><Message>denied</Message></ErrorResponse>")


def status(node: LabNode) -> dict[str, dict[str, Any]]:
    """What `status` says of each live deployment, by its resource name."""
    return {row["resource"]: row for row in json.loads(node.agent("status", "--json").stdout)}


def wait_for(way: Way, entry: Metadata, look: Callable[[Entry], bool], what: str) -> Entry:
    """Wait until the store has an entry like this, be it live or not."""
    file = way.node.state_dir / "store.sqlite"

    def found() -> Entry | None:
        if not file.exists():
            return None
        store = Store.open(file, create=False)
        try:
            every = {each.deployment.id: each for each in store.entries(vanished=True)}
        finally:
            store.close()
        return every[entry["id"]] if entry["id"] in every and look(every[entry["id"]]) else None

    return way.node.wait_for(found, what, 60)


def wait_for_attempt(way: Way, entry: Metadata, count: int = 1) -> Entry:
    """Wait until so many attempts to signal have failed."""
    return wait_for(way, entry, lambda each: each.signal == PENDING and each.attempts >= count, "a failed attempt")


def test_faults_that_pass(way: Way) -> None:
    """Each is tried again and arrives; one whose sender could not know that it had arrived comes twice."""
    faults = {
        "hangs": HANG,
        "resets": RESET,
        "late": LATE,
        "broken": Fault(500),
        "busy": Fault(503, {"Retry-After": "4"}),
        "many": Fault(429, {"Retry-After": "3"}),
    }
    way.node.configure(signals={"timeout": 1})
    for name, fault in faults.items():
        way.receiver.fail(f"/resources/{name}", fault, times=1)
    way.deploy(*(way.entry(name, heat.pod(name)) for name in faults))
    for name in faults:
        way.succeeds(name)
    way.wait_until_idle()
    twice = way.signal("late")
    assert twice["deploy_status_code"] == 0
    way.no_more_signals(*faults)
    times = {
        name: [item.at for item in way.receiver.requests if item.path.endswith(f"/resources/{name}")] for name in faults
    }
    assert {len(each) for each in times.values()} == {2}
    assert times["busy"][1] - times["busy"][0] >= 4
    assert times["many"][1] - times["many"][0] >= 3
    assert all(second - first >= 0.7 for first, second in times.values())
    assert {row["signal"] for row in status(way.node).values()} == {"delivered"}


def test_refused_connections(way: Way) -> None:
    """The outbox outlives the loop, and a boot takes it up."""
    entry = way.entry("web", heat.pod("web"))
    way.receiver.refuse()
    way.deploy(entry)
    waiting = wait_for_attempt(way, entry, 2)
    assert "Connection refused" in waiting.answer
    way.node.kill_agent()
    way.receiver.listen()
    assert way.node.agent("resume").returncode == 0
    way.succeeds("web")
    way.wait_until_idle()
    way.no_more_signals("web")
    assert status(way.node)["web"]["signal"] == DELIVERED


@pytest.mark.parametrize(("transport", "code"), [("CFN_SIGNAL", 403), ("HEAT_SIGNAL", 401), ("ZAQAR_SIGNAL", 403)])
def test_a_suspended_stack_that_resumes(way: Way, transport: str, code: int) -> None:
    """Heat disables the deployment's user while its stack is suspended."""
    part = {"CFN_SIGNAL": "/v1/signal/", "HEAT_SIGNAL": "/resources/web/signal", "ZAQAR_SIGNAL": "/zaqar/"}[transport]
    way.receiver.fail(part, Fault(code, body=b'{"error": {"message": "disabled"}}'))
    entry = way.entry("web", heat.pod("web"), transport=transport)
    way.deploy(entry)
    waiting = wait_for_attempt(way, entry)
    assert f"{code}" in waiting.answer
    assert "so it is while a stack is suspended" in waiting.answer
    way.receiver.mend()
    way.succeeds("web")
    way.wait_until_idle()
    way.no_more_signals("web")


def test_refusals_for_good_are_said_and_not_repeated(way: Way) -> None:
    """404: gone; 400: not to Heat's liking; 403 of a URL that has expired: it will never be taken."""
    way.receiver.fail("/resources/gone", Fault(404))
    way.receiver.fail("/resources/odd", Fault(400, body=b'{"error": {"message": "not JSON enough"}}'))
    way.receiver.fail("/resources/old", FORBIDDEN)
    way.deploy(
        way.entry("gone", heat.pod("gone")),
        way.entry("odd", heat.pod("odd")),
        way.entry("old", heat.pod("old"), signed=time.time() - 2000),
        way.entry("fine", heat.pod("fine")),
    )
    way.succeeds("fine")
    way.wait_until_idle()
    seen = status(way.node)
    assert {name: row["signal"] for name, row in seen.items()} == {
        "gone": REFUSED,
        "odd": REFUSED,
        "old": DROPPED,
        "fine": DELIVERED,
    }
    assert {row["state"] for row in seen.values()} == {"succeeded"}
    assert "404" in seen["gone"]["signal_answer"]
    assert "not JSON enough" in seen["odd"]["signal_answer"]
    assert "the pre-signed URL ended at" in seen["old"]["signal_answer"]
    assert "Keystone's [credential] auth_ttl" in seen["old"]["signal_answer"]
    assert "Signature" not in str(seen)
    assert len(way.receiver.requests) == 4


def test_keystone_is_down_at_first(way: Way) -> None:
    way.receiver.fail("/v3", Fault(503), times=3)
    entries = [way.entry(name, heat.pod(name), transport=f"{name.upper()}_SIGNAL") for name in ("heat", "zaqar")]
    way.deploy(*entries)
    for entry in entries:
        way.succeeds(entry["name"])
    way.wait_until_idle()
    way.no_more_signals("heat", "zaqar")
    assert [item.status for item in way.receiver.requests if item.path.startswith("/v3")].count(503) == 3


def test_endpoints_with_tls_by_a_private_ca(way: Way, tmp_path: Path) -> None:
    pki.renew_if_old(tmp_path / "wrong")
    wrong = pki.Pki(tmp_path / "wrong").ca
    with Receiver(tls=tmp_path / "tls") as receiver:
        entries = [
            heat.deployment(name, heat.pod(name), receiver, transport=f"{name.upper()}_SIGNAL", options=passes.QUICK)
            for name in ("cfn", "heat", "zaqar")
        ]
        passes.run_pass(way.node, *entries)
        for entry in entries:
            without = wait_for_attempt(way, entry)
            assert "set [signals] ca, which is not set, to the file of the CA that signed it" in without.answer
        for ca in (wrong, tmp_path / "absent", receiver.ca):
            way.node.kill_agent()
            way.node.configure(signals={"ca": ca})
            before = {entry["name"]: way.entries()[entry["id"]].attempts for entry in entries}
            assert way.node.agent("resume").returncode == 0
            for entry in entries if ca != receiver.ca else ():
                other = wait_for_attempt(way, entry, before[entry["name"]] + 1)
                assert f"set [signals] ca, which is {ca}, to the file of the CA" in other.answer
        for entry in entries:
            told = receiver.wait_for_signal(entry["name"])
            assert told.signal["deploy_status_code"] == 0
        passes.wait_until_idle(way.node)
        assert [len(receiver.signals(entry["name"])) for entry in entries] == [1, 1, 1]


def test_proxies_are_for_signals_only(way: Way) -> None:
    """The proxy of the environment is used to signal, and not for the kubelet on this node."""
    with Receiver() as proxy, Receiver() as nobody:
        nobody.refuse()
        closed = nobody.url("/")
        environment = {"http_proxy": proxy.url("/"), "https_proxy": closed, "HTTPS_PROXY": closed, "all_proxy": closed}
        entry = way.entry("web", heat.pod("web"))
        passes.run_pass(way.node, entry, environment=environment)
        assert proxy.wait_for_signal("web").signal["deploy_status_code"] == 0
        passes.wait_until_idle(way.node)
        assert way.receiver.requests == []

        passes.run_pass(
            way.node,
            heat.again(entry, config=heat.pod("other")),
            environment={**environment, "no_proxy": "127.0.0.1"},
        )
        way.succeeds("web")
        passes.wait_until_idle(way.node)
        assert len(proxy.requests) == 1


def test_endpoints_that_hang_hold_up_no_others(way: Way) -> None:
    hanging, others = ["hang-1", "hang-2", "hang-3"], [f"fine-{number}" for number in range(6)]
    way.receiver.fail("/resources/hang", HANG)
    entries = [way.entry(name, heat.pod(name)) for name in (*hanging, *others)]
    began = time.monotonic()
    way.deploy(*entries)
    for name in others:
        way.succeeds(name, timeout=25)
    assert time.monotonic() - began < 25, "the timeout of a signal is 30 s"
    seen = status(way.node)
    assert {seen[name]["signal"] for name in hanging} == {PENDING}
    assert {seen[name]["state"] for name in hanging} == {"succeeded"}

    # New work is done meanwhile, too.
    more = way.entry("more", heat.pod("more"))
    way.deploy(*entries, more)
    way.succeeds("more", timeout=25)


def test_a_result_that_is_superseded_is_never_sent(way: Way) -> None:
    way.receiver.fail("/v1/signal/", Fault(503))
    first = way.entry("web", heat.pod("web"))
    gone = way.entry("gone", heat.pod("gone"))
    way.deploy(first, gone)
    for entry in (first, gone):
        wait_for_attempt(way, entry)
    second = heat.again(first, config=heat.pod("new"))
    way.deploy(second)
    wait_for_attempt(way, second)
    assert "superseded" in wait_for(way, first, lambda each: each.signal == DROPPED, "the drop").answer
    assert "vanished" in wait_for(way, gone, lambda each: each.signal == DROPPED, "the drop").answer
    way.receiver.mend()
    told = way.succeeds("web")
    assert "default/new" in told["deploy_stdout"]
    way.wait_until_idle()
    way.no_more_signals("web", "gone")
