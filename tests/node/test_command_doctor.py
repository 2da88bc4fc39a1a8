"""`doctor` on a real node: with nothing broken it finds nothing; each thing that it checks is broken and named."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from dataclasses import dataclass

import pytest
from faults import drawing
from faults.catalogue import FAULTS, Fault, failed
from faults.sick_node import SickNode
from lab import every_command, expected, nobody
from lab.receiver import PASSWORD

from heat_config_kubelet.commands.doctor import node_of
from heat_config_kubelet.doctor.finding import Finding
from heat_config_kubelet.doctor.table import examined

SECRETS = (PASSWORD, "lab-signature", "bGFiLXNpZ25hdHVyZ")
"""What the deployments are given to signal with."""
TEMPLATES = {name: fault for name, fault in FAULTS.items() if fault.entry}
OTHERS = {name: fault for name, fault in FAULTS.items() if not fault.entry}


def found(sick: SickNode, *checks: str) -> list[Finding]:
    """What doctor finds; nothing may be left unseen."""
    report = examined(node_of(sick.node.settings_file, sick.node.environment), checks)
    assert report.unseen == ()
    assert not any(secret in str(report) for secret in SECRETS)
    return list(report.findings)


def listed(findings: list[Finding]) -> str:
    return "\n".join(map(str, findings))


def names_it(fault: Fault, finding: Finding) -> bool:
    right = (finding.check, finding.level) == (fault.check, fault.level)
    return right and bool(re.search(fault.cause, finding.what) and re.search(fault.mend, finding.mend))


@dataclass(frozen=True)
class Failures:
    """What was said while every fault of a template's author was there."""

    findings: list[Finding]
    told: list[every_command.Answer]

    def shown(self, name: str) -> str:
        """What `show` said of a deployment."""
        return next(answer.out for answer in self.told if answer.arguments == ["show", f"lab/{name}"])


@pytest.fixture(scope="module")
def failures(sick: SickNode) -> Failures:
    with failed(sick, *(fault.entry(sick) for fault in TEMPLATES.values() if fault.entry)):
        looks = [(command, f"lab/{name}") for name in TEMPLATES for command in ("show", "logs", "timeline", "diff")]
        told = every_command.answers(sick.node.environment, ("status",), ("pods",), *looks)
        return Failures(found(sick, "deployments"), told)


def test_with_nothing_broken_it_finds_nothing(sick: SickNode) -> None:
    assert found(sick) == []
    done = sick.node.agent("doctor")
    assert (done.returncode, done.stderr) == (0, "")
    expected.check("doctor/well", done.stdout)


@pytest.mark.parametrize("name", OTHERS)
def test_each_fault_is_named_and_once_mended_nothing_is_found(sick: SickNode, name: str) -> None:
    fault = FAULTS[name]
    seen: list[Finding] = []

    def is_named() -> bool:
        seen[:] = found(sick, fault.check)
        return any(names_it(fault, finding) for finding in seen)

    def is_gone() -> bool:
        seen[:] = found(sick, fault.check)
        return not seen

    with fault.put(sick):
        assert eventually(is_named), f"{fault}\nis not named by\n{listed(seen)}"
        told = every_command.answers(sick.node.environment, *every_command.LOOKS, *every_command.CHANGES)
    assert not [each for each in told if any(secret in str(each) for secret in SECRETS)]
    assert eventually(is_gone), listed(seen)


def eventually(look: Callable[[], bool], seconds: float = 20.0) -> bool:
    """Whether something comes true in time; daemons of the node may have ended meanwhile."""
    deadline = time.monotonic() + seconds
    while not look():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


@pytest.mark.parametrize("name", TEMPLATES)
def test_each_deployment_that_fails_is_named_with_what_mends_it(failures: Failures, name: str) -> None:
    fault, findings = TEMPLATES[name], failures.findings
    assert any(names_it(fault, finding) for finding in findings), f"{fault}\nis not named by\n{listed(findings)}"
    assert f"lab/{name} CREATE failed" in failures.shown(name)
    assert not [each for each in failures.told if any(secret in str(each) for secret in SECRETS)]


def test_after_all_of_them_nothing_is_found(sick: SickNode) -> None:
    assert eventually(lambda: not found(sick)), listed(found(sick))


def test_the_table_of_faults(sick: SickNode) -> None:
    fault = FAULTS["collector-stopped"]
    with fault.put(sick):
        told = drawing.look(sick, fault)
    expected.check("doctor/table", drawing.table([told]))


def test_what_it_shows_a_person(sick: SickNode) -> None:
    with FAULTS["kubelet-stopped"].put(sick), FAULTS["wrong-ca"].put(sick), FAULTS["read-only-port"].put(sick):
        done = sick.node.agent("doctor", "endpoints", "kubelet", "kubelet-config")
    assert (done.returncode, done.stderr) == (1, "")
    expected.check("doctor/broken", done.stdout, also={r"; the last errors of its log: .*": "; LOG"})


def test_list(sick: SickNode) -> None:
    expected.check("doctor/list", sick.node.agent("doctor", "--list").stdout)


def test_without_root_it_says_what_it_could_not_see(sick: SickNode) -> None:
    done = nobody.agent(sick.node.environment, "doctor", "--offline", "-o", "json")
    assert done.stderr == ""
    report = json.loads(done.stdout)
    unseen = {each["check"]: each["why"] for each in report["unseen"]}
    assert {"store", "loop", "collect-config", "kubelet-config", "runtime", "deployments"} <= unseen.keys()
    assert all("needs root" in why for name, why in unseen.items() if name in ("store", "loop", "collect-config"))
    assert done.returncode in (0, 2), report["findings"]


def test_a_check_that_there_is_not(sick: SickNode) -> None:
    done = sick.node.agent("doctor", "weather")
    assert done.returncode == 2
    assert done.stderr == "heat-config-kubelet: there is no check weather\n  hint: doctor --list shows them\n"
