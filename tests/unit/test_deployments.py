"""One entry of the metadata: as Heat sends it, as a person writes it, and as it must not be."""

from __future__ import annotations

from typing import Any

import pytest
from support import identity, raw_entry

from heat_config_kubelet.deployments import read
from heat_config_kubelet.errors import MetadataError
from heat_config_kubelet.values import Identity, Output


def test_an_entry_of_heats_is_read_whole() -> None:
    raw = raw_entry(
        "e1",
        action="UPDATE",
        outputs=({"name": "pods"}, {"name": "why", "error_output": True}),
        options={"poll_period": 2},
        inputs={"port": 80},
    )
    found = read(raw, "heat: deployments[0]")
    assert (found.id, found.group, found.action, found.transport) == ("e1", "kubelet", "UPDATE", "CFN_SIGNAL")
    assert found.identity == identity() and str(found.identity) == "shop/deploy"
    assert found.inputs["port"] == 80 and found.input_names[:2] == ("deploy_server_id", "deploy_action")
    assert found.outputs == (Output("pods"), Output("why", error_output=True))
    assert found.options == {"poll_period": 2} and found.raw is raw and not found.removes


def test_the_identity_is_stack_and_resource_and_not_the_configs_id() -> None:
    """The id is new for every action; a deployment in another stack, or another of a group, is another one."""
    assert read(raw_entry("a"), "x").identity == read(raw_entry("b", action="DELETE"), "x").identity
    assert read(raw_entry("a"), "x").identity != read(raw_entry("a", stack="shop/other"), "x").identity
    assert read(raw_entry("a", resource="0"), "x").identity != read(raw_entry("a", resource="1"), "x").identity


@pytest.mark.parametrize(
    ("action", "removes"), [("DELETE", True), ("SUSPEND", True), ("RESUME", False), ("create", False)]
)
def test_delete_and_suspend_remove(action: str, removes: bool) -> None:
    assert read(raw_entry("a", action=action), "x").removes is removes


def test_metadata_written_by_hand_needs_a_name_only() -> None:
    found = read({"name": "mine", "group": "kubelet", "config": {"kind": "Pod"}}, "local: deployments[0]")
    assert (found.identity, found.action, found.transport) == (Identity("", "mine"), "CREATE", "NO_SIGNAL")
    assert found.id.startswith("local-") and str(found.identity) == "mine"
    assert read({"config": {"kind": "Pod"}, "group": "kubelet", "name": "mine"}, "x").id == found.id
    assert read({"name": "mine", "group": "kubelet", "config": {"kind": "List"}}, "x").id != found.id


def test_no_group_is_heats_ungrouped() -> None:
    assert read({"name": "a"}, "x").group == "Heat::Ungrouped"


def test_error_outputs_are_read_as_heat_reads_them() -> None:
    """Heat sends booleans, and takes texts."""
    raw = raw_entry("a")
    raw["outputs"] = [{"name": "a", "error_output": "True"}, {"name": "b", "error_output": None}, {"name": "c"}]
    assert [each.error_output for each in read(raw, "x").outputs] == [True, False, False]


def component(action: str, *configs: Any) -> dict[str, Any]:
    return raw_entry("a", action=action, group="component", config={"configs": list(configs)})


RUN_PODS = {"actions": ["CREATE", "UPDATE"], "config": {"kind": "Pod"}, "tool": "kubelet"}
RUN_SCRIPT = {"actions": ["DELETE"], "config": "#!/bin/sh", "tool": "script"}


def test_a_component_picks_its_config_by_the_action() -> None:
    created = read(component("CREATE", RUN_PODS, RUN_SCRIPT), "x")
    assert (created.group, created.config, created.component) == ("kubelet", {"kind": "Pod"}, True)
    deleted = read(component("DELETE", RUN_PODS, RUN_SCRIPT), "x")
    assert (deleted.group, deleted.config, deleted.tool_missing) == ("script", "#!/bin/sh", False)


def test_a_component_without_a_config_for_the_action_says_so() -> None:
    found = read(component("SUSPEND", RUN_PODS, RUN_SCRIPT), "x")
    assert found.tool_missing and found.component and found.config is None


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"id": 7}, "id: is int, not text"),
        ({"name": ["x"]}, "name: is list, not text"),
        ({"group": 1}, "group: is int"),
        ({"creation_time": 5}, "creation_time: is int"),
        ({"inputs": {"a": 1}}, "inputs: is dict, not a list"),
        ({"inputs": ["a"]}, "inputs: each needs a name"),
        ({"outputs": "o"}, "outputs: is str, not a list"),
        ({"outputs": [{"type": "String"}]}, "outputs: each needs a name"),
        ({"options": []}, "options: is list, not a map"),
        ({"group": "component", "config": "text"}, "config.configs: a component needs a list"),
        ({"group": "component", "config": {"configs": [{"tool": "x"}]}}, "each needs actions, config and tool"),
        ({"id": "\ud800"}, "id: is not text"),
        ({"name": "a\udfff", "inputs": []}, "name: is not text"),
    ],
)
def test_an_entry_that_heat_does_not_send_is_told_with_its_place(change: dict[str, Any], told: str) -> None:
    with pytest.raises(MetadataError, match=r"^heat: deployments\[3\]: ") as caught:
        read({**raw_entry("a"), **change}, "heat: deployments[3]")
    assert told in str(caught.value)


def test_an_entry_without_any_name_is_told() -> None:
    with pytest.raises(MetadataError, match="neither name nor deploy_resource_name"):
        read({"config": {}}, "x")
    with pytest.raises(MetadataError, match="is str, not a map"):
        read("text", "x")


def test_a_stack_id_that_no_file_can_hold_is_told() -> None:
    with pytest.raises(MetadataError, match="deploy_stack_id"):
        read(raw_entry("a", stack="shop\ud800/1"), "x")
