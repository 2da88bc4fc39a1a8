"""What the lab has from Debian: redis for Zaqar, and RabbitMQ and PostgreSQL for the shape of several processes."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Sequence
from pathlib import Path

from .plan import SEVERAL, Plan
from .processes import HeatLabError, Service

PACKAGES = ("openssl", "redis-server")
PACKAGES_OF_SEVERAL = ("postgresql", "rabbitmq-server", "util-linux")
_RABBIT_PROGRAM = "/usr/lib/rabbitmq/bin/rabbitmq-server"
"""Not the one on PATH, which changes the user."""


def services(plan: Plan) -> list[Service]:
    """Give the servers that all others need, in the order of their start. HeatLabError where there is no PostgreSQL."""
    found = [Service("redis", _redis(plan), plan.logs / "redis.log", keeper=True)]
    if plan.shape == SEVERAL:
        epmd = ["epmd", "-address", "127.0.0.1", "-port", str(plan.ports["epmd"])]
        rabbit = _rabbit_environment(plan)
        found += [
            Service("postgresql", _postgres(plan), plan.logs / "postgresql.log", keeper=True),
            Service("epmd", epmd, plan.logs / "epmd.log", keeper=True),
            Service("rabbitmq", [_RABBIT_PROGRAM], plan.logs / "rabbitmq.log", keeper=True, environment=rabbit),
        ]
    return found


def listens(plan: Plan, name: str) -> bool:
    """Whether a server of these takes connections."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", plan.ports[name])) == 0


def make_databases(plan: Plan, *names: str) -> None:
    """Make databases in PostgreSQL, which must listen."""
    for name in names:
        place = ["-h", "127.0.0.1", "-p", str(plan.ports["postgresql"]), "-U", "lab", name]
        _run(["createdb", *place], {"PGPASSWORD": plan.password})


def _redis(plan: Plan) -> list[str]:
    """A redis that keeps nothing on disk."""
    options = {
        "port": plan.ports["redis"],
        "bind": "127.0.0.1",
        "save": "",
        "appendonly": "no",
        "dir": plan.folder / "redis",
    }
    return ["redis-server", *(part for name, value in options.items() for part in (f"--{name}", str(value)))]


def _postgres(plan: Plan) -> list[str]:
    """A PostgreSQL that waits for no disk; its files are made here."""
    releases = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda path: int(path.parts[4]))
    if not releases:
        raise HeatLabError("/usr/lib/postgresql has no PostgreSQL, though its package is installed")
    program = releases[-1]
    folder = plan.folder / "postgresql"
    password = plan.folder / "postgresql-password"
    password.touch(mode=0o600)
    password.write_text(plan.password)
    make = [str(program.with_name("initdb")), "-D", str(folder), "-U", "lab", "--auth=scram-sha-256", "--no-sync"]
    _run([*_not_as_root(), *make, f"--pwfile={password}", "--encoding=UTF8", "--locale=C"], {})
    password.unlink()
    settings = {
        "listen_addresses": "127.0.0.1",
        "port": plan.ports["postgresql"],
        "unix_socket_directories": "",
        "max_connections": 300,
        "fsync": "off",
    }
    options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
    return [*_not_as_root(), str(program), "-D", str(folder), *options]


def _not_as_root() -> Sequence[str]:
    """PostgreSQL refuses to run as root: then it is in a user namespace where root's files belong to another user."""
    return ["unshare", "--user", "--map-user=1", "--map-group=1"] if os.geteuid() == 0 else []


def _rabbit_environment(plan: Plan) -> dict[str, str]:
    """A RabbitMQ with folders, ports and a port mapper of its own, and one user."""
    folder = plan.folder / "rabbitmq"
    folder.mkdir(exist_ok=True, mode=0o700)
    (folder / "rabbitmq.conf").write_text(f"default_user = lab\ndefault_pass = {plan.password}\n")
    (folder / "enabled_plugins").write_text("[].\n")
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "LC_ALL": "C.UTF-8",
        "ERL_EPMD_ADDRESS": "127.0.0.1",
        "ERL_EPMD_PORT": str(plan.ports["epmd"]),
        "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq.conf"),
        "RABBITMQ_CONF_ENV_FILE": str(folder / "none"),
        "RABBITMQ_DIST_PORT": str(plan.ports["rabbitmq-peers"]),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "enabled_plugins"),
        "RABBITMQ_LOGS": "-",
        "RABBITMQ_LOG_BASE": str(folder),
        "RABBITMQ_MNESIA_BASE": str(folder),
        "RABBITMQ_NODENAME": "lab@localhost",
        "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
        "RABBITMQ_NODE_PORT": str(plan.ports["rabbitmq"]),
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}",
        "RUNNING_UNDER_SYSTEMD": "true",  # its script becomes the server, and is no shell around it
    }


def _run(command: Sequence[str], environment: dict[str, str]) -> None:
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, cwd="/", env={**os.environ, "LC_ALL": "C", **environment}
    )
    if done.returncode:
        raise HeatLabError(f"{' '.join(command)}: exit status {done.returncode}\n{done.stdout}{done.stderr}")
