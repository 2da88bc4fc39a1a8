"""What the lab has from Debian: redis for Zaqar, and RabbitMQ and PostgreSQL for the shape of several processes."""

from __future__ import annotations

from .plan import Plan

PACKAGES = ("postgresql", "rabbitmq-server")
KEPT = ("redis",)
"""Processes that do not say when they are ready."""


def redis_command(plan: Plan) -> list[str]:
    """A redis that keeps nothing on disk."""
    options = {
        "port": plan.ports["redis"],
        "bind": "127.0.0.1",
        "save": "",
        "appendonly": "no",
        "dir": plan.folder / "redis",
    }
    return ["redis-server", *(part for name, value in options.items() for part in (f"--{name}", str(value)))]
