"""Reads the entries of a source as `Deployment`s; which of them owns an identity's pods is said in `plan.py`.

The wire format is `format_software_config` in heat/engine/api.py; the derived inputs `deploy_*` are those of
heat/engine/resources/openstack/heat/software_deployment.py.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from .errors import MetadataError
from .values import Deployment, Identity, Output

UNGROUPED = "Heat::Ungrouped"
COMPONENT = "component"
DEFAULT_ACTION = "CREATE"


def read(entry: object, where: str) -> Deployment:
    """Read one entry of `deployments`.

    `where` names source and place for errors. Metadata that is not Heat's may leave out `id` and the
    `deploy_*` inputs: then the id is a hash of the entry and the identity is its name alone.
    Raises MetadataError naming the field.
    """
    if not isinstance(entry, Mapping):
        raise MetadataError(f"{where}: is {type(entry).__name__}, not a map")
    inputs = _inputs(entry.get("inputs"), where)
    given = _identity_input(inputs, "deploy_resource_name", where)
    name = _text(entry, "name", where) or given
    resource = given or name
    if not resource:
        raise MetadataError(f"{where}: has neither name nor deploy_resource_name")
    deployment = Deployment(
        id=_text(entry, "id", where) or _content_id(entry),
        name=name,
        group=_text(entry, "group", where) or UNGROUPED,
        identity=Identity(_identity_input(inputs, "deploy_stack_id", where), resource),
        action=str(inputs.get("deploy_action") or DEFAULT_ACTION).upper(),
        creation_time=_text(entry, "creation_time", where),
        config=entry.get("config"),
        inputs=inputs,
        input_names=tuple(inputs),
        outputs=_outputs(entry.get("outputs"), where),
        options=_map(entry, "options", where),
        raw=entry,
    )
    return _component(deployment, where) if deployment.group == COMPONENT else deployment


def _component(deployment: Deployment, where: str) -> Deployment:
    """Put the group and config of the action's tool in place (heat: SoftwareComponent's `configs`)."""
    configs = deployment.config.get("configs") if isinstance(deployment.config, Mapping) else None
    if not isinstance(configs, list):
        raise MetadataError(f"{where}: config.configs: a component needs a list of {{actions, config, tool}}")
    for part in configs:
        if not isinstance(part, Mapping) or not isinstance(part.get("actions"), list):
            raise MetadataError(f"{where}: config.configs: each needs actions, config and tool")
        if deployment.action in part["actions"]:
            return replace(
                deployment, group=str(part.get("tool") or UNGROUPED), config=part.get("config"), component=True
            )
    return replace(deployment, component=True, tool_missing=True, config=None)


def _inputs(value: object, where: str) -> dict[str, Any]:
    inputs: dict[str, Any] = {}
    for item in _list(value, "inputs", where):
        if not isinstance(item, Mapping) or not isinstance(item.get("name"), str):
            raise MetadataError(f"{where}: inputs: each needs a name")
        inputs[item["name"]] = item.get("value")
    return inputs


def _outputs(value: object, where: str) -> tuple[Output, ...]:
    outputs = []
    for item in _list(value, "outputs", where):
        if not isinstance(item, Mapping) or not isinstance(item.get("name"), str):
            raise MetadataError(f"{where}: outputs: each needs a name")
        outputs.append(Output(item["name"], str(item.get("error_output", False)).lower() == "true"))
    return tuple(outputs)


def _list(value: object, field: str, where: str) -> list[Any]:
    if value is None:
        return []
    if not isinstance(value, list):
        raise MetadataError(f"{where}: {field}: is {type(value).__name__}, not a list")
    return value


def _map(entry: Mapping[str, Any], field: str, where: str) -> Mapping[str, Any]:
    value = entry.get(field)
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise MetadataError(f"{where}: {field}: is {type(value).__name__}, not a map")
    return value


def _text(entry: Mapping[str, Any], field: str, where: str) -> str:
    value = entry.get(field)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise MetadataError(f"{where}: {field}: is {type(value).__name__}, not text")
    return _storable(value, field, where)


def _identity_input(inputs: Mapping[str, Any], name: str, where: str) -> str:
    return _storable(str(inputs.get(name) or ""), name, where)


def _storable(text: str, field: str, where: str) -> str:
    """Refuse half a surrogate pair, which JSON can say and neither the store nor a file name can hold."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise MetadataError(f"{where}: {field}: is not text") from None
    return text


def _content_id(entry: Mapping[str, Any]) -> str:
    return "local-" + hashlib.sha256(json.dumps(entry, sort_keys=True).encode()).hexdigest()[:32]
