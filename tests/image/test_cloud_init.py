"""Debian 12 with cloud-init, which reads Nova's metadata service: the first boot, and a boot in the middle."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from imagelab import images
from imagelab.booted import Booted, Cloud, deployment, first_boot, outputs, secret_pod
from imagelab.images import BOOKWORM, Image, Kind
from imagelab.node import gated, readable_by_all
from lab import deployments as pods

from .conftest import (
    BOOTED,
    Record,
    assert_a_person_finds_all_well,
    assert_first_deployment_is_complete,
    record_first_boot,
)

IMAGES = (BOOKWORM,)
SIGNAL = "HEAT_SIGNAL"


@pytest.fixture(scope="module")
def booted(request: pytest.FixtureRequest, built: dict[Kind, Image], site: Cloud) -> Iterator[Booted]:
    with first_boot(built[BOOKWORM], site, transport="POLL_SERVER_HEAT", signal=SIGNAL, config_drive=False) as found:
        request.node.stash[BOOTED] = found
        yield found


def test_the_first_boot_deploys(booted: Booted, record_property: Record) -> None:
    assert_first_deployment_is_complete(booted)
    record_first_boot(booted, record_property)
    assert booted.told_secrets() == []
    assert booted.node.machine.run("systemctl --failed --no-legend") == ""
    assert "done" in booted.node.machine.run("cloud-init status")


def test_a_person_finds_all_well(booted: Booted) -> None:
    assert_a_person_finds_all_well(booted)


def test_a_boot_in_the_middle(booted: Booted) -> None:
    node = booted.node
    booted.update(
        deployment("bystander", pods.pod("bystander"), SIGNAL),
        deployment("web", gated(secret_pod("echo changed; exec sleep 3600"), "web"), SIGNAL),
        outputs=outputs("web"),
    )
    booted.stack.wait_for_resource("bystander", "CREATE_COMPLETE", 900)
    node.wait_for(lambda: node.started("web"), "the container")
    before = {pod["metadata"]["name"]: pod["metadata"]["uid"] for pod in node.pods()}
    node.machine.reboot()
    node.wait_for(lambda: node.started("web") and "bystander" in node.ready_pods(), "the pods")
    assert booted.stack.show()["stack_status"] == "UPDATE_IN_PROGRESS"
    node.open_gate("web")
    node.wait_for_stack("UPDATE_COMPLETE")
    node.wait_until_only("bystander", "web")
    assert {pod["metadata"]["name"]: pod["metadata"]["uid"] for pod in node.pods()} == before
    assert node.store_is_sound()
    assert booted.told_secrets() == []


def test_nothing_secret_on_the_disk_is_for_everybody(booted: Booted, tmp_path: Path) -> None:
    booted.know_secrets()
    booted.node.machine.switch_off()
    disk = images.write_raw(booted.node.machine.disk, tmp_path / "disk.raw")
    with images.mounted(disk, tmp_path / "root") as root:
        assert readable_by_all(root, [secret.encode() for secret in booted.secrets]) == {}
    disk.unlink()
