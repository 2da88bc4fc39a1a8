"""Built images, real OpenStack, and virtual machines for the tests of this folder.

A test that cannot run here fails; it is never skipped. Needs root, and brings what is missing.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from heatlab import debian, services_environment
from imagelab import apart, images
from imagelab import container as containers
from imagelab.booted import Booted, Cloud, cloud
from imagelab.container import Container
from imagelab.images import Image, Kind
from lab import packages
from lab.folders import temporary_folder
from lab.progress import Progress
from lab.spread import Spread

Record = Callable[[str, object], None]
"""pytest's fixture record_property."""


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Spread:
    return Spread(config, log)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Show what was measured on the way; nothing is asserted of it."""
    reports = [report for kind in ("passed", "failed") for report in terminalreporter.getreports(kind)]
    measured = [(name, value) for report in reports if report.when == "call" for name, value in report.user_properties]
    if measured:
        terminalreporter.section("measured")
        for name, value in measured:
            terminalreporter.write_line(f"{name}: {value}")


@pytest.fixture(scope="session")
def progress() -> Progress:
    return Progress()


@pytest.fixture(scope="session")
def container(progress: Progress) -> Container:
    """The agent's container image."""
    packages.install([*packages.NODE, *packages.CONTAINER], progress)
    return containers.get(progress)


@pytest.fixture(scope="session")
def built(request: pytest.FixtureRequest, progress: Progress) -> dict[Kind, Image]:
    """The images of servers that a module of this run names in IMAGES.

    What comes after it is without a network to the outside: so the container's image is made first, where it is needed.
    """
    if any("container" in getattr(item, "fixturenames", ()) for item in request.session.items):
        request.getfixturevalue("container")
    packages.install([*packages.IMAGE, *debian.PACKAGES], progress)
    services_environment.folder(progress)
    modules = {item.getparent(pytest.Module) for item in request.session.items}
    kinds = dict.fromkeys(kind for module in modules if module for kind in getattr(module.obj, "IMAGES", ()))
    found = images.get(list(kinds), progress)
    apart.enter()
    return found


@pytest.fixture(scope="session")
def folder(built: dict[Kind, Image]) -> Iterator[Path]:
    """For what the tests make."""
    with temporary_folder("image-") as found:
        yield found


@pytest.fixture(scope="session")
def site(folder: Path, progress: Progress) -> Iterator[Cloud]:
    """OpenStack for all tests."""
    with cloud(folder, progress) as found:
        yield found


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
    report = yield
    if report.failed:
        for part in item.listchain():
            if BOOTED in part.stash:
                booted = part.stash[BOOTED]
                told = f"{booted.stack.story()}\n{booted.node.machine.story()}"
                report.sections.append(("stack and node", told))
    return report


BOOTED = pytest.StashKey[Booted]()
"""Where a module keeps the node that is shown where a test fails."""


def assert_first_deployment_is_complete(booted: Booted) -> None:
    assert list(booted.pods) == ["web"]
    pod, told = booted.pods["web"], booted.outputs["web"]
    assert told["pod_ip"] == pod["status"]["podIP"]
    assert [item["uid"] for item in json.loads(told["pods"])] == [pod["metadata"]["uid"]]
    assert told["deploy_status_code"] == 0
    assert "default/web  1/1    Running" in told["deploy_stdout"]


def assert_a_person_finds_all_well(booted: Booted) -> None:
    """Neither doctor nor status has anything to say, and both saw all there is to see."""
    node = booted.node
    node.wait_until_idle()

    def look() -> bool:
        told = json.loads(node.machine.run("heat-config-kubelet doctor -o json", check=False))
        assert told["unseen"] == []
        slow = [each for each in told["findings"] if "no answer within" in each["what"]]
        assert told["findings"] == slow, "emulated, an endpoint may take longer than doctor waits: then again"
        return not slow

    node.wait_for(look, "every endpoint to answer")
    rows = json.loads(node.machine.run("heat-config-kubelet status -o json", check=False))
    assert {row["health"] for row in rows} == {"well"}


def record_first_boot(booted: Booted, record: Record) -> None:
    name = booted.node.machine.name
    record(f"{name}: power switch → stack CREATE_COMPLETE", f"{booted.seconds:.0f} s")
    for unit in ("kubelet.service", "os-collect-config.service", "heat-config-kubelet.service"):
        began = int(booted.node.journal(unit)[0]["__MONOTONIC_TIMESTAMP"]) / 1e6
        record(f"{name}: kernel → {unit} begins", f"{began:.0f} s")
