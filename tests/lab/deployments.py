"""Makes metadata as Heat sends it, for a `Receiver` to be signalled.

The shape is that of metadata taken from a running Heat 27.0.1: an entry for every live deployment, sorted by name,
its id new with every action, and the inputs that Heat adds for each signal transport.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import quote

from . import receiver as services
from .images import BUSYBOX
from .receiver import Receiver

STACK = "lab/77e64420-07e8-4166-a26c-91f0a679010e"
SERVER = "4111fc1d-348d-4e75-adf0-1f38519dea86"
TRANSPORTS = ("CFN_SIGNAL", "TEMP_URL_SIGNAL", "HEAT_SIGNAL", "ZAQAR_SIGNAL", "NO_SIGNAL")

Metadata = dict[str, Any]


def metadata(*deployments: Metadata, **others: Any) -> Metadata:
    """Give a server's metadata: these deployments, sorted as Heat sorts them, and other top-level keys."""
    return {"deployments": sorted(deployments, key=lambda item: str(item["name"])), **others}


def deployment(
    name: str,
    config: object,
    receiver: Receiver | None = None,
    *,
    action: str = "CREATE",
    transport: str = "CFN_SIGNAL",
    group: str = "kubelet",
    stack: str = STACK,
    id: str | None = None,
    created: float | None = None,
    signed: float | None = None,
    inputs: Mapping[str, Any] | None = None,
    outputs: Iterable[str] = (),
    error_outputs: Iterable[str] = (),
    options: Mapping[str, Any] | None = None,
) -> Metadata:
    """Give an entry of `deployments`; without a receiver its transport is NO_SIGNAL.

    `name` is the deployment's resource name too. `created` and `signed` (of a CFN URL) are seconds since the epoch,
    by default now. The id is a new one.
    """
    created = time.time() if created is None else created
    own = {
        "deploy_server_id": SERVER,
        "deploy_action": action,
        "deploy_stack_id": stack,
        "deploy_resource_name": name,
        **(_signal(transport, receiver, name, stack, created if signed is None else signed) if receiver else _SILENT),
    }
    values = [{"name": item, "type": "String", "value": value} for item, value in (inputs or {}).items()]
    values += [{"name": item, "description": item, "type": "String", "value": own[item]} for item in own]
    return {
        "id": id or str(uuid.uuid4()),
        "name": name,
        "group": group,
        "creation_time": _iso(created),
        "config": config,
        "inputs": values,
        "outputs": [
            *({"name": item, "type": "String", "error_output": False} for item in outputs),
            *({"name": item, "type": "String", "error_output": True} for item in error_outputs),
        ],
        "options": dict(options or {}),
    }


def again(entry: Metadata, action: str = "UPDATE", config: object = None) -> Metadata:
    """Give the same deployment's entry for its next action: a new id, and the new config if there is one."""
    values = [{**item, "value": action} if item["name"] == "deploy_action" else dict(item) for item in entry["inputs"]]
    changed = {"id": str(uuid.uuid4()), "creation_time": _iso(time.time()), "inputs": values}
    return {**entry, **changed, **({} if config is None else {"config": config})}


def pod(
    name: str,
    command: str = "exec sleep 3600",
    *,
    image: str = BUSYBOX,
    container: Mapping[str, Any] | None = None,
    labels: Mapping[str, str] | None = None,
    **spec: Any,
) -> Metadata:
    """Give a v1 Pod of one container that runs `command` by the shell and ends within a second.

    `container` are further fields of the container, `spec` further fields of the pod's spec.
    """
    first = {"name": "c", "image": image, "command": ["/bin/sh", "-c", command], **(container or {})}
    about: Metadata = {"name": name, **({"labels": dict(labels)} if labels else {})}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": about,
        "spec": {"terminationGracePeriodSeconds": 1, "containers": [first], **spec},
    }


_SILENT = {"deploy_signal_transport": "NO_SIGNAL"}


def _signal(transport: str, receiver: Receiver, name: str, stack: str, signed: float) -> dict[str, str]:
    """The inputs that go with a signal transport (heat/engine/resources/signal_responder.py)."""
    chosen = {"deploy_signal_transport": transport}
    token = {
        "deploy_auth_url": receiver.auth_url,
        "deploy_username": f"lab-{name}",
        "deploy_user_id": services.USER,
        "deploy_password": services.PASSWORD,
        "deploy_project_id": services.PROJECT,
        "deploy_region_name": services.REGION,
    }
    if transport == "CFN_SIGNAL":
        arn = quote(f"arn:openstack:heat::{services.PROJECT}:stacks", safe="")
        query = (
            "SignatureMethod=HmacSHA256&SignatureVersion=2&AWSAccessKeyId=3c52bd98c7b24d3ab1e5f2d0a6d0f2bb"
            f"&Timestamp={quote(_iso(signed), safe='')}&Signature=bGFiLXNpZ25hdHVyZQ%3D%3D"
        )
        url = receiver.url(f"/v1/signal/{arn}/{stack}/resources/{quote(name, safe='')}?{query}")
        return {**chosen, "deploy_signal_id": url, "deploy_signal_verb": "POST"}
    if transport == "TEMP_URL_SIGNAL":
        path = f"/v1/AUTH_{services.PROJECT}/{quote(name, safe='')}--{uuid.uuid4()}/{uuid.uuid4()}"
        url = receiver.url(f"{path}?temp_url_sig=0f1e2d3c&temp_url_expires={int(time.time()) + 10**9}")
        return {**chosen, "deploy_signal_id": url, "deploy_signal_verb": "PUT"}
    if transport == "HEAT_SIGNAL":
        return {**chosen, **token}
    if transport == "ZAQAR_SIGNAL":
        return {**chosen, **token, "deploy_queue_id": f"{name}--{uuid.uuid4().hex}"}
    return chosen


def _iso(moment: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(moment))
