"""The real os-collect-config on a node: it collects, calls the agent, and takes its settings from the metadata."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from lab import deployments
from lab.node import LabNode
from lab.receiver import Receiver


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as found:
        yield found


def test_a_deployment_runs_and_is_signalled(node: LabNode, receiver: Receiver) -> None:
    one = deployments.deployment("one", deployments.pod("one"), receiver)
    two = deployments.deployment("two", deployments.pod("two"), receiver, transport="ZAQAR_SIGNAL")
    node.collector.set(deployments.metadata(one, two))
    node.collector.start()
    for name in ("one", "two"):
        assert receiver.wait_for_signal(name).signal["deploy_status_code"] == 0
    assert node.pod("one")
    node.collector.set(deployments.metadata())
    node.wait_for(lambda: not node.pods_left(), "both pods to be gone")


def test_metadata_come_from_a_url_too(node: LabNode, receiver: Receiver) -> None:
    entry = deployments.deployment("web", deployments.pod("web"), receiver, transport="TEMP_URL_SIGNAL")
    node.collector.metadata_url = receiver.put("/v1/AUTH_p/server/metadata", deployments.metadata(entry))
    try:
        node.collector.start()
        assert receiver.wait_for_signal("web").signal["deploy_status_code"] == 0
        assert (node.collector.cache / "request.json").exists()
    finally:
        node.collector.metadata_url = ""


def test_the_metadatas_polling_interval_comes_into_force(node: LabNode, receiver: Receiver) -> None:
    node.collector.set(deployments.metadata())
    node.collector.start()
    node.wait_for(lambda: (node.collector.cache / "lab.json.last").exists(), "the first pass")
    before = node.collector.config_file.read_text()
    assert "polling_interval = 1.0" in before
    entry = deployments.deployment("web", deployments.pod("web"), receiver)
    settings = {"polling_interval": 2, "min_polling_interval": 2}
    node.collector.set(deployments.metadata(entry, **{"os-collect-config": settings}))
    receiver.wait_for_signal("web")
    node.wait_for(lambda: node.collector.config_file.read_text() != before, "the new settings")
    assert "polling_interval = 2\n" in node.collector.config_file.read_text()
    # It executes itself anew and goes on.
    node.collector.set(deployments.metadata(deployments.again(entry), **{"os-collect-config": settings}))
    receiver.wait_for_signal("web", count=2)
    assert node.collector.running


def test_a_cache_cut_short_is_mended_before_it_starts(node: LabNode, receiver: Receiver) -> None:
    node.collector.set(deployments.metadata())
    node.collector.start()
    last = node.collector.cache / "lab.json.last"
    node.wait_for(last.exists, "the first pass")
    node.kill_agent()
    last.write_text(last.read_text()[:5])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(node.collector, "program", "os-collect-config")
        node.collector.resume()
        node.wait_for(lambda: not node.collector.running, "os-collect-config to end, as it does with such a cache")
    node.collector.set(deployments.metadata(deployments.deployment("web", deployments.pod("web"), receiver)))
    node.collector.resume()
    receiver.wait_for_signal("web")
    assert f"{last}: damaged, removed; its source will count as changed\n" in node.collector.log.read_text()
