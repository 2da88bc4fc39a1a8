"""What one lab is: its folder, its shape, the ports and secrets of its services, and where they are called.

A pure value: it is stored in the folder for `tools/heat-lab`, and everything else is derived from it.
"""

from __future__ import annotations

import dataclasses
import json
import os
import secrets
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FEW, SEVERAL = "few", "several"
SHAPES = (FEW, SEVERAL)
"""FEW: heat-engine and its APIs in one process, SQLite. SEVERAL: each in its own, RabbitMQ and PostgreSQL."""

REGION = "RegionOne"
USER = PROJECT = "demo"
"""The ordinary user whose stacks the tests make, and its project."""
STACK_DOMAIN = "heat"

LOOPBACK = "127.0.0.1"

AUTH_TTL = 15
"""Keystone's own default."""

PUBLIC = ("keystone", "heat-api", "heat-api-cfn", "zaqar", "swift", "nova")
"""The services that are called from outside; with TLS each has a second port for it."""
INTERNAL = (
    "redis",
    "swift-account",
    "swift-container",
    "swift-object",
    "rabbitmq",
    "rabbitmq-peers",
    "epmd",
    "postgresql",
)

_PORTS = range(20000, 32000)
"""Below those that the kernel gives to outgoing connections, so that a service that was stopped finds its own free."""
_SERIES, _STEP = 400, 61
"""Series of ports, each enough for a lab; processes with ids close to each other have different ones."""


@dataclass(frozen=True)
class Plan:
    """A lab, as it is to be."""

    folder: Path
    shape: str
    tls: bool
    convergence: bool
    cache: bool
    engine_workers: int
    auth_ttl: int
    """Minutes for which Keystone takes a pre-signed URL (CFN_SIGNAL)."""
    address: str
    """Of this machine: where the public services listen; all others do on 127.0.0.1."""
    ports: dict[str, int]
    password: str
    """Of every user, and part of every other secret."""

    @property
    def scheme(self) -> str:
        """What the public URLs begin with."""
        return "https" if self.tls else "http"

    @property
    def file(self) -> Path:
        """Where the plan is stored."""
        return self.folder / "plan.json"

    @property
    def logs(self) -> Path:
        """The folder of the services' logs, one each."""
        return self.folder / "log"

    @property
    def ca(self) -> Path | None:
        """The certificate of the private CA, with TLS."""
        return self.folder / "tls" / "ca.crt" if self.tls else None

    def url(self, service: str) -> str:
        """The public address of a service, without a path."""
        return f"{self.scheme}://{self.place(f'{service}-tls' if self.tls else service)}"

    def local_url(self, service: str) -> str:
        """The address that a service itself listens on; never TLS."""
        return f"http://{self.place(service)}"

    def place(self, service: str) -> str:
        """Address and port of a public service, or of the TLS before it."""
        return f"{self.address}:{self.ports[service]}"

    def secret(self, purpose: str) -> str:
        """32 characters for a key that a service needs."""
        return f"{purpose}-{self.password}"[:32].ljust(32, "x")

    def store(self) -> None:
        """Write it to its folder, for this user alone."""
        content = {**dataclasses.asdict(self), "folder": str(self.folder)}
        self.folder.mkdir(parents=True, exist_ok=True)
        self.file.touch(mode=0o600)
        self.file.write_text(json.dumps(content, indent=1))


def make(
    folder: Path,
    *,
    shape: str = FEW,
    tls: bool = False,
    convergence: bool = True,
    cache: bool = True,
    engine_workers: int = 1,
    auth_ttl: int = AUTH_TTL,
    address: str = LOOPBACK,
) -> Plan:
    """Choose ports and a password for a new lab."""
    if shape not in SHAPES:
        raise ValueError(f"no such shape: {shape}; there are {', '.join(SHAPES)}")
    names = [*PUBLIC, *(f"{name}-tls" for name in PUBLIC if tls), *INTERNAL]
    ports = dict(zip(names, _free_ports(address, len(names)), strict=True))
    return Plan(folder, shape, tls, convergence, cache, engine_workers, auth_ttl, address, ports, secrets.token_hex(12))


def load(folder: Path) -> Plan | None:
    """Read the plan of a folder, None where there is none."""
    try:
        content: dict[str, Any] = json.loads((folder / "plan.json").read_text())
    except FileNotFoundError:
        return None
    return Plan(**{**content, "folder": folder})


def _free_ports(address: str, count: int) -> list[int]:
    found: list[int] = []
    for port in _in_order():
        try:
            for each in {address, LOOPBACK}:
                with socket.socket() as probe:
                    probe.bind((each, port))
        except OSError:
            continue
        found.append(port)
        if len(found) == count:
            break
    return found


def _in_order() -> Iterator[int]:
    """Every port once, in an order of this process's own: several, such as workers of tests, choose at one time."""
    first = os.getpid() % _SERIES
    for step in range(_SERIES):
        yield from _PORTS[(first + step * _STEP) % _SERIES :: _SERIES]
