"""What must not be removed or signalled: entries that Heat replaces, and sources that say nothing."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Any

import pytest
from lab import deployments as heat
from lab.collector import write_private
from lab.deployments import Metadata
from lab.receiver import Fault, Receiver
from way import NEVER_READY, Way

BROKEN: Mapping[str, Any] = {**heat.pod("web"), "spec": {"containers": []}}
"""A config that is refused, so that its deployment fails at once."""
PATIENT = {"containers_timeout": 300}


def replaced(way: Way, old: Metadata, config: object, *, later: float = 2.0, **fields: Any) -> Metadata:
    """Give the entry that Heat puts beside a failed one: same identity, another id, a later creation_time."""
    name = old["name"]
    return way.entry(name, config, created=time.time() + later, **fields)


# --- replacement of a failed deployment


@pytest.mark.parametrize("transport", ["TEMP_URL_SIGNAL", "CFN_SIGNAL"])
def test_a_failed_deployment_is_mended_by_a_second_entry(way: Way, transport: str) -> None:
    old = way.entry("web", BROKEN, transport=transport)
    way.deploy(old)
    assert "spec.containers: is required" in way.fails("web")["deploy_stderr"]

    new = replaced(way, old, heat.pod("web"), transport=transport)
    way.deploy(old, new)
    way.succeeds("web")
    running = way.containers("web")

    removal = {**heat.again(old, "DELETE"), "creation_time": "2099-01-01T00:00:00Z"}
    way.deploy(removal, new)
    told = way.succeeds("web")
    assert told["deploy_stdout"] == f"DELETE: replaced by {new['id']}, whose pods these are now; nothing was changed"
    way.deploy(new)
    way.wait_until_gone(removal)
    way.wait_until_idle()
    assert way.containers("web") == running
    way.no_more_signals("web")


def test_a_replaced_deployments_pods_change_to_the_new_content_in_place(way: Way) -> None:
    old = way.entry("web", heat.pod("web", container=NEVER_READY), options={"containers_timeout": 0.5})
    way.deploy(old)
    way.fails("web")
    assert list(way.manifests()) == ["web"]  # a failed pod stays where a person can look at it
    failed = way.containers("web")
    way.deploy(old, new := replaced(way, old, heat.pod("web")))
    way.succeeds("web")
    assert way.containers("web") != failed
    way.deploy(new)
    way.wait_until_gone(old)
    way.wait_until_idle()
    assert list(way.manifests()) == ["web"]
    way.no_more_signals("web")


def test_the_older_content_returns_when_the_newer_entry_vanishes(way: Way) -> None:
    old = way.entry("web", heat.pod("web"))
    way.deploy(old)
    way.succeeds("web")
    new = replaced(way, old, heat.pod("web", "exec sleep 7200"))
    way.deploy(old, new)
    way.succeeds("web")
    assert command(way) == "exec sleep 7200"
    way.deploy(old)
    way.wait_until_gone(new)
    way.node.wait_for(lambda: command(way) == "exec sleep 3600", "the older content")
    way.ready_pod("web")
    way.wait_until_idle()
    way.no_more_signals("web")


@pytest.mark.parametrize("transport", ["CFN_SIGNAL", "HEAT_SIGNAL"])
def test_a_signal_that_names_the_resource_waits_for_the_successors(way: Way, transport: str) -> None:
    old = way.entry("web", BROKEN, transport=transport)
    new = replaced(way, old, way.gated("web"), transport=transport, options=PATIENT)
    removal = {**heat.again(old, "DELETE"), "creation_time": "2099-01-01T00:00:00Z"}
    way.deploy(removal, new)
    way.node.wait_for(lambda: decided(way, removal), "the removal to be decided")
    way.node.wait_for(lambda: way.node.pod("web"), "the successor's pod")
    way.no_more_signals("web")
    way.open_gate("web")
    assert "default/web" in way.succeeds("web")["deploy_stdout"]
    assert way.succeeds("web")["deploy_stdout"].startswith("DELETE: replaced by")


@pytest.mark.parametrize("transport", ["TEMP_URL_SIGNAL", "ZAQAR_SIGNAL"])
def test_a_signal_that_names_the_entry_does_not_wait(way: Way, transport: str) -> None:
    old = way.entry("web", BROKEN, transport=transport)
    new = replaced(way, old, way.gated("web"), transport=transport, options=PATIENT)
    removal = {**heat.again(old, "DELETE"), "creation_time": "2099-01-01T00:00:00Z"}
    way.deploy(removal, new)
    assert way.succeeds("web")["deploy_stdout"].startswith("DELETE: replaced by")
    way.open_gate("web")
    assert "default/web" in way.succeeds("web")["deploy_stdout"]


# --- superseded configurations


def test_a_superseded_configuration_is_never_signalled(way: Way) -> None:
    slow = way.entry("web", heat.pod("slow", container=NEVER_READY), options=PATIENT)
    way.deploy(slow)
    way.node.wait_for(lambda: way.node.pod("slow"), "the first pod")
    way.deploy(heat.again(slow, config=heat.pod("quick")))
    assert "default/quick" in way.succeeds("web")["deploy_stdout"]
    way.wait_until_idle()
    assert list(way.manifests()) == ["quick"]
    way.no_more_signals("web")


def test_a_result_that_heat_did_not_take_is_dropped_with_its_configuration(way: Way) -> None:
    first = way.entry("web", heat.pod("first"))
    way.receiver.fail("/resources/web", Fault(status=503))
    way.deploy(first)
    way.receiver.wait_for(lambda: next((r for r in way.receiver.requests if r.status == 503), None), "first attempt")
    second = heat.again(first, config=way.gated("second"))
    second["options"] = {**second["options"], **PATIENT}
    way.deploy(second)
    way.wait_until_known(second)
    way.receiver.mend()
    way.node.wait_for(lambda: way.node.pod("second"), "the second configuration's pod")
    way.open_gate("second")
    assert "default/second" in way.succeeds("web")["deploy_stdout"]
    way.wait_until_idle()
    way.no_more_signals("web")


# --- sources


def test_each_source_speaks_for_its_own_deployments_only(way: Way) -> None:
    one, two = way.entry("one", heat.pod("one")), way.entry("two", heat.pod("two"))
    way.deploy(one, source="first")
    way.deploy(two, source="second")
    way.succeeds("one")
    way.succeeds("two")
    before = way.containers("one", "two")
    way.deploy(source="second")
    way.wait_until_gone(two)
    way.wait_until_idle()
    assert list(way.manifests()) == ["one"]
    assert way.containers("one") == {"one/c": before["one/c"]}


def test_a_deployment_of_two_sources_goes_with_the_last_of_them(way: Way) -> None:
    entry, other = way.entry("web", heat.pod("web")), way.entry("other", heat.pod("other"))
    way.deploy(entry, source="first")
    way.deploy(entry, other, source="second")
    way.succeeds("web")
    way.succeeds("other")
    before = way.containers("web")
    way.deploy(source="second")
    way.wait_until_gone(other)
    way.wait_until_idle()
    assert way.containers("web") == before
    way.no_more_signals("web", "other")
    way.deploy(source="first")
    way.wait_until_empty()


def test_the_boot_copys_empty_list_removes_nothing_while_heat_is_silent(way: Way) -> None:
    collector = way.node.collector
    with Receiver() as source:
        entry = way.entry("web", heat.pod("web"))
        path = "/v1/AUTH_p/server/metadata"
        collector.metadata_url = source.put(path, heat.metadata(entry))
        collector.start({"deployments": []})
        way.succeeds("web")
        before = way.containers("web")

        source.refuse()
        new_boot = {**json.loads(collector.boot_file.read_text()), "changed": 1}
        write_private(collector.boot_file, new_boot)
        way.wait_for_pass()
        assert entry["id"] in way.entries()
        way.wait_until_idle()
        assert way.containers("web") == before

        time_out = time.time() + 1.1
        way.node.wait_for(lambda: time.time() > time_out, "a later Last-Modified, which counts whole seconds")
        source.put(path, heat.metadata())
        source.listen()
        way.wait_until_empty()
    way.no_more_signals("web")


def test_metadata_that_cannot_be_read_remove_nothing(way: Way) -> None:
    entry, other = way.entry("web", heat.pod("web")), way.entry("other", heat.pod("other"))
    way.deploy(entry, other)
    way.succeeds("web")
    way.succeeds("other")
    before = way.containers("web", "other")
    cache = way.node.collector.cache / "lab.json"
    way.node.collector.stop()
    unreadable: dict[str, str] = {
        "not JSON": '{"deployments": [',
        "no deployments": '{"os-collect-config": {}}',
        "a map": json.dumps({"deployments": {"web": entry}}),
        "an entry that is none": json.dumps({"deployments": [entry, {"id": "x", "inputs": 5}]}),
        "a list": "[]",
    }
    for text in unreadable.values():
        cache.write_text(text)
        done = way.node.agent("run", files=[cache])
        assert done.returncode == 0, done.stderr
        way.wait_until_idle()
        assert way.containers("web", "other") == before
        assert way.entries().keys() == {entry["id"], other["id"]}
    missing = way.node.agent("run", files=[way.node.collector.cache / "gone.json"])
    assert missing.returncode == 0
    way.wait_until_idle()
    assert way.containers("web", "other") == before
    way.no_more_signals("web", "other")


def test_a_source_that_falls_silent_removes_nothing(way: Way) -> None:
    entry = way.entry("web", heat.pod("web"))
    way.deploy(entry)
    way.succeeds("web")
    before = way.containers("web")
    local = way.node.collector.local / "lab"
    local.write_text("{ cut sho")  # os-collect-config leaves the whole source out
    write_private(
        way.node.collector.boot_file, {**json.loads(way.node.collector.boot_file.read_text()), "deployments": []}
    )
    way.wait_for_pass()
    way.wait_until_idle()
    assert way.entries().keys() == {entry["id"]}
    assert way.containers("web") == before


def command(way: Way) -> str:
    pod = way.node.pod("web")
    return str(pod["spec"]["containers"][0]["command"][-1]) if pod else ""


def decided(way: Way, entry: Metadata) -> bool:
    known = way.entries().get(entry["id"])
    return known is not None and known.result is not None
