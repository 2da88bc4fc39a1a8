"""Templates of the tests' stacks: servers without Nova, and deployments of group kubelet."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

SERVER_TRANSPORTS = ("POLL_SERVER_CFN", "POLL_SERVER_HEAT", "POLL_TEMP_URL", "ZAQAR_MESSAGE")
SIGNAL_TRANSPORTS = ("CFN_SIGNAL", "TEMP_URL_SIGNAL", "HEAT_SIGNAL", "ZAQAR_SIGNAL", "NO_SIGNAL")

Resources = dict[str, Any]


def template(*parts: Resources, outputs: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Give a template of these resources; `outputs` are its outputs' values."""
    resources: Resources = {}
    for part in parts:
        resources.update(part)
    return {
        "heat_template_version": "2018-08-31",
        "resources": resources,
        "outputs": {name: {"value": value} for name, value in (outputs or {}).items()},
    }


def server(transport: str, name: str = "server", metadata: Mapping[str, Any] | None = None) -> Resources:
    """Give a server that is there already, polled by this software_config_transport."""
    properties = {"name": name, "software_config_transport": transport}
    return {name: {"type": "OS::Heat::DeployedServer", "properties": properties, "metadata": dict(metadata or {})}}


def deployment(
    name: str,
    pods: object,
    transport: str,
    *,
    kind: str = "",
    group: str = "kubelet",
    server: str = "server",
    actions: Iterable[str] = (),
    outputs: Iterable[str] = (),
    error_outputs: Iterable[str] = (),
    options: Mapping[str, Any] | None = None,
    inputs: Mapping[str, Any] | None = None,
    depends_on: Iterable[str] = (),
) -> Resources:
    """Give a deployment and its config; `actions` beside Heat's default, CREATE and UPDATE.

    `pods` is a map (StructuredConfig) or a text (SoftwareConfig), or a function of HOT that gives what `kind` says,
    "Structured" or "Software"; pods count as soon as they are ready.
    """
    kind = kind or ("Software" if isinstance(pods, str) else "Structured")
    described = [
        *({"name": item, "type": "String"} for item in outputs),
        *({"name": item, "type": "String", "error_output": True} for item in error_outputs),
    ]
    config = {
        "group": group,
        "config": pods,
        "outputs": described,
        "options": {"min_ready_seconds": 0, "poll_period": 0.2, **(options or {})},
    }
    properties: dict[str, Any] = {
        "name": name,
        "server": {"get_resource": server},
        "config": {"get_resource": f"{name}-config"},
        "signal_transport": transport,
        "actions": ["CREATE", "UPDATE", *actions],
        "input_values": dict(inputs or {}),
    }
    return {
        f"{name}-config": {"type": f"OS::Heat::{kind}Config", "properties": config},
        name: {
            "type": f"OS::Heat::{kind}Deployment",
            "properties": properties,
            "depends_on": list(depends_on),
        },
    }


def group(name: str, pods: object, transport: str, servers: Iterable[str], **fields: Any) -> Resources:
    """Give a deployment group of the same pods on several servers; `pods` and `fields` as in `deployment`."""
    single = deployment(name, pods, transport, **fields)
    kind = f"{single[name]['type']}Group"
    properties = single[name]["properties"]
    properties["servers"] = {server: {"get_resource": server} for server in servers}
    del properties["server"]
    return {**single, name: {"type": kind, "properties": properties}}


def several(*pods: Mapping[str, Any]) -> dict[str, Any]:
    """Give a List of pods, as a config."""
    return {"apiVersion": "v1", "kind": "List", "items": list(pods)}
