"""Debian 13 beside heat-agents' own elements: os-refresh-config calls 55-heat-config, and the agent is its hook."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from heatlab import templates
from imagelab.booted import Booted, Cloud, deployment, first_boot, outputs, secret_pod
from imagelab.images import BESIDE, Image, Kind

from .conftest import BOOTED, assert_a_person_finds_all_well, assert_first_deployment_is_complete

IMAGES = (BESIDE,)
SIGNAL = "TEMP_URL_SIGNAL"


@pytest.fixture(scope="module")
def booted(request: pytest.FixtureRequest, built: dict[Kind, Image], site: Cloud) -> Iterator[Booted]:
    with first_boot(built[BESIDE], site, transport="POLL_TEMP_URL", signal=SIGNAL, config_drive=True) as found:
        request.node.stash[BOOTED] = found
        yield found


def test_the_first_boot_deploys(booted: Booted) -> None:
    assert_first_deployment_is_complete(booted)
    run = booted.node.machine.run
    assert "\nmode = hook\n" in run("cat /etc/heat-config-kubelet/heat-config-kubelet.conf")
    settings = run("cat /etc/os-collect-config.conf")
    assert "command = os-refresh-config\n" in settings
    assert "polling_interval = 3\n" in settings, "the metadata's: heat-agents' own template would do that too"
    assert "ssl_certificate_validation = True\n" in settings, (
        "the image's, of which heat-agents' template knows nothing"
    )
    scripts = run("ls /usr/libexec/os-refresh-config/configure.d").split()
    assert scripts == ["20-os-apply-config", "50-heat-config-kubelet", "55-heat-config"]


def test_a_person_finds_all_well(booted: Booted) -> None:
    assert_a_person_finds_all_well(booted)


def test_its_hooks_and_ours_work_side_by_side(booted: Booted) -> None:
    node = booted.node
    before = node.container("web")
    script = templates.deployment("words", "#!/bin/sh\necho of a script\n", SIGNAL, group="script")
    booted.update(
        deployment("web", secret_pod("exec sleep 7200"), SIGNAL),
        script,
        outputs={**outputs("web"), "words": {"get_attr": ["words", "deploy_stdout"]}},
    )
    node.wait_for_stack("UPDATE_COMPLETE")
    assert node.container("web") != before
    told = booted.stack.outputs()
    assert told["words"] == "of a script\n"
    assert told["web"]["deploy_status_code"] == 0
    assert [item["namespace"] for item in json.loads(told["web"]["pods"])] == ["default"]


def test_a_failure_is_told(booted: Booted) -> None:
    failing = secret_pod("echo the reason of it >&2; exit 3", restartPolicy="Never")
    never = {"exec": {"command": ["/bin/false"]}, "periodSeconds": 1}
    failing["spec"]["containers"][0]["readinessProbe"] = never
    booted.begin(failing)
    booted.node.wait_for_stack("UPDATE_FAILED")
    assert 'default/web: container "c" exited with code 3' in booted.stack.outputs()["web"]["deploy_stderr"]
