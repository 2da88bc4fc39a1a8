"""Debian 13, without cloud-init, its metadata on a config drive: what a node does in its life, under real systemd."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from imagelab import images
from imagelab.booted import PLANTED, Booted, Cloud, deployment, first_boot, outputs, secret_pod
from imagelab.images import TRIXIE, Image, Kind
from imagelab.node import ImageNode, gated, readable_by_all
from lab import deployments as pods

from .conftest import (
    BOOTED,
    Record,
    assert_a_person_finds_all_well,
    assert_first_deployment_is_complete,
    record_first_boot,
)

IMAGES = (TRIXIE,)
SIGNAL = "TEMP_URL_SIGNAL"
GRACE = 2
STAMPS = "/var/lib/stamps"
"""A folder of the node where the pods of one test note times, in seconds since its boot."""
KUBELET, LOOP, COLLECTOR = "kubelet.service", "heat-config-kubelet.service", "os-collect-config.service"


@pytest.fixture(scope="module")
def booted(request: pytest.FixtureRequest, built: dict[Kind, Image], site: Cloud) -> Iterator[Booted]:
    with first_boot(built[TRIXIE], site, transport="POLL_TEMP_URL", signal=SIGNAL, config_drive=True) as found:
        request.node.stash[BOOTED] = found
        yield found


@pytest.fixture
def node(booted: Booted) -> Iterator[ImageNode]:
    """The node with nothing deployed; what a test has done is undone, on the node and in Heat."""
    saved = "empty"
    if not booted.saved:
        booted.empty()
        booted.node.machine.save(saved)
        booted.saved = True
    else:
        booted.node.machine.restore(saved)
    yield booted.node
    assert booted.told_secrets() == []
    booted.forget()


def test_the_first_boot_deploys(booted: Booted, record_property: Record) -> None:
    assert_first_deployment_is_complete(booted)
    record_first_boot(booted, record_property)
    assert booted.told_secrets() == []


def test_a_person_finds_all_well(booted: Booted) -> None:
    assert_a_person_finds_all_well(booted)


def test_nothing_but_ssh_listens_beyond_loopback(node: ImageNode) -> None:
    told = node.machine.run("ss --no-header --listening --tcp --udp --numeric").splitlines()
    places = {line.split()[4] for line in told}
    outside = {place for place in places if not place.startswith(("127.", "[::1]"))}
    dhcp = {place for place in outside if re.fullmatch(r"10\.0\.2\.15%\w+:68", place)}
    assert outside - dhcp == {"0.0.0.0:22", "[::]:22"}
    assert "127.0.0.1:10250" in places, "the kubelet's API"


def test_units_under_systemd(booted: Booted, node: ImageNode) -> None:
    assert node.machine.run("systemctl --failed --no-legend") == ""
    booted.deploy(secret_pod())
    assert node.machine.run("stat --file-system --format=%T /sys/fs/cgroup").strip() == "cgroup2fs"
    scope = f"cri-containerd-{node.container('web')}.scope"
    assert node.unit(scope)["ActiveState"] == "active", "the container is a unit of systemd's, by the systemd driver"
    assert node.unit(scope)["ControlGroup"].startswith("/kubepods.slice/kubepods-besteffort.slice/")

    node.wait_until_idle()
    loop = node.unit(LOOP)
    assert (loop["ActiveState"], loop["Result"], loop["TriggeredBy"]) == (
        "inactive",
        "success",
        "heat-config-kubelet.path",
    )
    node.machine.run("touch /var/lib/heat-config-kubelet/pending")
    node.wait_for(lambda: node.unit(LOOP)["InvocationID"] != loop["InvocationID"], "the path unit to start the loop")
    node.wait_until_idle()


def test_an_update_ends_the_old_pod_before_the_new_one_starts(
    booted: Booted, node: ImageNode, record_property: Record
) -> None:
    booted.deploy(stamping("old", GRACE))
    before = node.container("web")
    booted.deploy(stamping("new", GRACE))
    assert node.container("web") != before
    stamps = {name: read_stamps(node, name) for name in ("old", "old-asked", "new")}
    asked, first = stamps["old-asked"][0], stamps["new"][0]
    assert asked < stamps["old"][-1] < first
    record_property(
        f"update of a running pod, grace {GRACE} s: asked to end → the new one runs", f"{first - asked:.1f} s"
    )


def test_a_failure_is_told_and_mended(booted: Booted, node: ImageNode) -> None:
    never = {"readinessProbe": {"exec": {"command": ["/bin/false"]}, "periodSeconds": 1}}
    failing = pods.pod("web", "echo the reason of it >&2; exit 3", restartPolicy="Never", container=never)
    booted.begin(failing)
    node.wait_for_stack("UPDATE_FAILED")
    reason = booted.stack.reason()
    assert "Deployment exited with non-zero status code: 1" in reason
    assert 'why : default/web: container "c" exited with code 3' in reason
    assert "the reason of it" in booted.stack.outputs()["web"]["deploy_stderr"]
    booted.deploy(secret_pod())
    node.wait_until_only("web")


def test_what_is_killed_comes_back_and_goes_on(booted: Booted, node: ImageNode) -> None:
    booted.begin(gated(secret_pod(), "web"))
    container = node.wait_for(lambda: node.started("web"), "the container")
    for name in (LOOP, KUBELET, COLLECTOR):
        process = node.unit(name)["MainPID"]
        assert process != "0"
        node.machine.run(f"kill -KILL {process}")
        node.wait_for(
            lambda name=name, process=process: node.unit(name)["MainPID"] not in ("0", process),  # type: ignore[misc]
            f"{name} to run again",
        )
    assert booted.stack.show()["stack_status"] == "UPDATE_IN_PROGRESS"
    node.open_gate("web")
    node.wait_for_stack("UPDATE_COMPLETE")
    assert node.container("web") == container


def test_a_power_cut_in_the_middle_and_a_broken_cache(booted: Booted, node: ImageNode) -> None:
    booted.deploy(pods.pod("bystander"), "bystander")
    booted.update(
        deployment("bystander", pods.pod("bystander"), SIGNAL),
        deployment("web", gated(secret_pod(), "web"), SIGNAL),
        outputs=outputs("web"),
    )
    booted.know_secrets()
    node.wait_for(lambda: node.started("web"), "the container")
    before = {pod["metadata"]["name"]: pod["metadata"]["uid"] for pod in node.pods()}
    node.machine.run(f"systemctl kill --signal=STOP {COLLECTOR}")
    node.machine.run("echo '{\"half\": ' > /var/lib/os-collect-config/request.json; sync")
    node.machine.cut_power()

    node.boot()
    node.wait_for(lambda: node.started("web") and "bystander" in node.ready_pods(), "the pods")
    assert booted.stack.show()["stack_status"] == "UPDATE_IN_PROGRESS"
    node.open_gate("web")
    node.wait_for_stack("UPDATE_COMPLETE")
    node.wait_until_only("bystander", "web")
    assert {pod["metadata"]["name"]: pod["metadata"]["uid"] for pod in node.pods()} == before
    node.wait_until_idle()
    assert node.store_is_sound()
    assert node.states() == {"bystander": "succeeded", "web": "succeeded"}
    assert node.machine.run("systemctl --failed --no-legend") == ""
    assert node.unit(COLLECTOR)["NRestarts"] == "0"
    told = node.machine.run(f"journalctl --boot --no-pager --unit={COLLECTOR} | grep 'damaged, removed' || true")
    assert "/var/lib/os-collect-config/request.json: damaged, removed" in told


def test_nothing_secret_on_the_disk_is_for_everybody(booted: Booted, tmp_path: Path) -> None:
    booted.empty()
    booted.deploy(secret_pod())
    booted.node.machine.switch_off()
    disk = images.write_raw(booted.node.machine.disk, tmp_path / "disk.raw")
    with images.mounted(disk, tmp_path / "root") as root:
        secrets = [secret.encode() for secret in booted.secrets]
        assert PLANTED.encode() in secrets
        assert len(list(root.glob("etc/kubernetes/manifests/heat-web-*.json"))) == 1
        assert readable_by_all(root, secrets) == {}
        logs = b"".join(path.read_bytes() for path in root.glob("var/log/**/*") if path.is_file())
        assert not [secret for secret in secrets if secret in logs]
    disk.unlink()


def stamping(name: str, grace: int) -> dict[str, Any]:
    """Give the pod web, which notes the time ten times a second until it is killed, and when it was asked to end."""
    note = f"cat /proc/uptime >> /stamps/{name}"
    command = f"trap '{note}-asked' TERM; while :; do {note}; sleep 0.1; done"
    volume = {"name": "stamps", "hostPath": {"path": STAMPS, "type": "DirectoryOrCreate"}}
    found = secret_pod(command, terminationGracePeriodSeconds=grace, volumes=[volume])
    found["spec"]["containers"][0]["volumeMounts"] = [{"name": "stamps", "mountPath": "/stamps"}]
    return found


def read_stamps(node: ImageNode, name: str) -> list[float]:
    return [float(line.split()[0]) for line in node.machine.run(f"cat {STAMPS}/{name}").splitlines()]
