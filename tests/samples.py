"""Deployments, pods and their statuses for tests: made as Heat and the kubelet give them, with what differs named."""

from __future__ import annotations

from typing import Any

from heat_config_kubelet.deployments import read
from heat_config_kubelet.values import ContainerState, ContainerStatus, Deployment, Pod, PodKey, PodStatus

CFN_URL = (
    "http://heat.example:8000/v1/signal/arn%3Aopenstack%3Aheat%3A%3Aproj%3Astacks/st/uuid/resources/dep"
    "?SignatureMethod=HmacSHA256&SignatureVersion=2&AWSAccessKeyId=AKIDAKID0123"
    "&Timestamp=2026-11-22T10%3A00%3A00Z&Signature=PlantedSig%2Fnature%2B123%3D"
)
SIGNED_AT = 1795341600.0
"""The Timestamp of CFN_URL, in seconds since the epoch."""
TEMP_URL = (
    "http://swift.example:8080/v1/AUTH_proj/stack/object?temp_url_sig=PlantedTempSig0123&temp_url_expires=1795345200"
)
PASSWORD = "planted-Pass word/1"
TOKEN_INPUTS = {
    "deploy_auth_url": "http://keystone.example:5000/v3/",
    "deploy_username": "st-dep-user",
    "deploy_user_id": "user-id",
    "deploy_password": PASSWORD,
    "deploy_project_id": "project-id",
    "deploy_region_name": "RegionOne",
}


def signal_inputs(transport: str) -> dict[str, Any]:
    """The inputs with which Heat says how a deployment is signalled."""
    extra: dict[str, Any] = {
        "CFN_SIGNAL": {"deploy_signal_id": CFN_URL, "deploy_signal_verb": "POST"},
        "TEMP_URL_SIGNAL": {"deploy_signal_id": TEMP_URL, "deploy_signal_verb": "PUT"},
        "HEAT_SIGNAL": TOKEN_INPUTS,
        "ZAQAR_SIGNAL": {**TOKEN_INPUTS, "deploy_queue_id": "queue-id"},
    }.get(transport, {})
    return {"deploy_signal_transport": transport, **extra}


def deployment(
    transport: str = "CFN_SIGNAL",
    *,
    inputs: dict[str, Any] | None = None,
    outputs: tuple[str, ...] = (),
    error_outputs: tuple[str, ...] = (),
    **fields: Any,
) -> Deployment:
    """Read an entry as Heat sends it; `inputs` are added, or taken away where their value is None."""
    values = {
        "deploy_server_id": "server-id",
        "deploy_action": "CREATE",
        "deploy_stack_id": "st/uuid",
        "deploy_resource_name": "dep",
        **signal_inputs(transport),
        **(inputs or {}),
    }
    entry = {
        "id": "11111111-2222-3333-4444-555555555555",
        "name": "dep",
        "group": "kubelet",
        "creation_time": "2026-11-22T10:00:00Z",
        "config": {},
        "inputs": [{"name": n, "type": "String", "value": v} for n, v in values.items() if v is not None],
        "outputs": [{"name": n, "error_output": False} for n in outputs]
        + [{"name": n, "error_output": True} for n in error_outputs],
        "options": {},
        **fields,
    }
    return read(entry, "test")


def pod(name: str = "web", *, namespace: str = "default", images: tuple[str, ...] = ("nginx:1",), **spec: Any) -> Pod:
    """A checked pod with a container for each image."""
    containers = [{"name": f"c{number}", "image": image} for number, image in enumerate(images)]
    manifest = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"namespace": namespace, "name": name},
        "spec": {"containers": containers, **spec},
    }
    return Pod(PodKey(namespace, name), manifest, "0" * 64)


def container(
    name: str = "c0",
    *,
    state: ContainerState = ContainerState.RUNNING,
    ready: bool = True,
    reason: str = "",
    restarts: int = 0,
    exit_code: int | None = None,
    init: bool = False,
) -> ContainerStatus:
    """A container's status as the kubelet gives it."""
    return ContainerStatus(
        name=name,
        init=init,
        image="nginx:1",
        image_id="sha256:1",
        container_id="containerd://1",
        ready=ready,
        restart_count=restarts,
        state=state,
        reason=reason,
        exit_code=exit_code,
    )


def pod_status(
    name: str = "web",
    *containers: ContainerStatus,
    phase: str = "Running",
    reason: str = "",
    pod_ip: str = "10.0.0.5",
    host_ip: str = "192.0.2.1",
) -> PodStatus:
    """A pod's status as the kubelet gives it."""
    return PodStatus(
        uid="uid-1",
        namespace="default",
        name=f"{name}-node",
        annotations={},
        phase=phase,
        reason=reason,
        message="",
        ready=all(item.ready for item in containers),
        sandbox_ready=True,
        pod_ip=pod_ip,
        host_ip=host_ip,
        restart_policy="Always",
        containers=containers,
    )
