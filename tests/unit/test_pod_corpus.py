from __future__ import annotations

import re

import pytest
from corpus import FOLDER, Case, cases

from heat_config_kubelet.errors import PodError
from heat_config_kubelet.pods import pods_of
from heat_config_kubelet.values import Identity

IDENTITY = Identity("stack/11111111-2222-3333-4444-555555555555", "web_server")


def named(case: Case) -> str:
    return case.name


def test_there_is_a_corpus() -> None:
    assert len(cases("good")) >= 40
    assert len(cases("bad")) >= 80


@pytest.mark.parametrize("case", cases("good"), ids=named)
def test_good_config_gives_pods(case: Case) -> None:
    pods = pods_of(case.text, identity=IDENTITY, node_name="node")
    assert pods
    for pod in pods:
        assert pod.manifest["kind"] == "Pod"
        assert pod.manifest["metadata"]["name"] == pod.key.name
        assert pod.manifest["metadata"]["namespace"] == pod.key.namespace
        assert "status" not in pod.manifest


@pytest.mark.parametrize("case", cases("bad"), ids=named)
def test_bad_config_is_refused_with_the_expected_fault(case: Case) -> None:
    assert case.fault
    with pytest.raises(PodError) as caught:
        pods_of(case.text, identity=IDENTITY, node_name="node")
    assert any(case.fault in fault for fault in caught.value.faults), caught.value.faults


@pytest.mark.parametrize("case", cases("bad"), ids=named)
def test_each_bad_file_has_one_fault(case: Case) -> None:
    with pytest.raises(PodError) as caught:
        pods_of(case.text, identity=IDENTITY)
    assert len(caught.value.faults) == 1, caught.value.faults


def test_every_stricter_file_is_documented_and_no_other() -> None:
    text = (FOLDER.parents[1] / "docs" / "pods.md").read_text(encoding="utf-8")
    table = text.split("## Where this is stricter than the kubelet")[1]
    rows = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    documented = re.findall(r"`([^`]+)`", " ".join(rows))
    assert sorted(documented) == sorted(case.name for case in cases("bad") if case.stricter)


def test_every_stricter_file_says_why() -> None:
    reasons = {case.name: case.stricter for case in cases("bad") if "# stricter" in case.text}
    assert reasons
    assert all(reasons.values())
