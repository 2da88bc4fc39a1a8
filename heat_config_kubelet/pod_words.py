"""Says to a person what a pod's manifest asks for where that explains a failure: its probes and its host ports."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

PROBES = ("startupProbe", "readinessProbe", "livenessProbe")
_COMMAND_CHARACTERS = 100


def probe(container: Mapping[str, Any], *kinds: str) -> str:
    """Name the first of a container's probes of these kinds (livenessProbe…), as the manifest has it; "" for none."""
    for kind in kinds:
        wanted = container.get(kind)
        if wanted:
            return f"{kind.removesuffix('Probe')} probe, {_handler(wanted)}"
    return ""


def _handler(wanted: Mapping[str, Any]) -> str:
    if http := wanted.get("httpGet"):
        path = str(http.get("path") or "/")
        return f"httpGet {http.get('host') or ''}:{http.get('port')}{path if path.startswith('/') else f'/{path}'}"
    for name in ("tcpSocket", "grpc"):
        if wanted.get(name):
            return f"{name} {wanted[name].get('host') or ''}:{wanted[name].get('port')}"
    command = " ".join(str(word) for word in (wanted.get("exec") or {}).get("command") or ())
    return f"exec {command if len(command) <= _COMMAND_CHARACTERS else command[: _COMMAND_CHARACTERS - 1] + '…'}"


def host_ports(spec: Mapping[str, Any]) -> frozenset[str]:
    """Give the node's ports that a pod's spec claims, as "80/TCP"; an address that it names is left aside."""
    return frozenset(_host_ports(spec))


def _host_ports(spec: Mapping[str, Any]) -> Iterator[str]:
    for field in ("initContainers", "containers"):
        for container in spec.get(field) or ():
            for port in container.get("ports") or ():
                number = port.get("hostPort") or (spec.get("hostNetwork") and port.get("containerPort"))
                if number:
                    yield f"{number}/{port.get('protocol') or 'TCP'}"
