"""`forget DEPLOYMENT`: what the store holds of one that has vanished from the metadata is dropped, and overwritten."""

from __future__ import annotations

import argparse

from ..store import Entry, Store
from . import names
from .change import Change, Planned, RefusedError, carry_out


def main(given: argparse.Namespace) -> int:
    """Drop what is known of a vanished deployment; gives the exit status. Raises AgentError."""
    return carry_out(given, lambda store: _look(given.deployment, store))


def _look(name: str, store: Store) -> Planned:
    entries = store.entries(vanished=True)
    entry = names.deployment(name, entries)
    identity = entry.deployment.identity
    same = [each for each in entries if each.deployment.identity == identity]
    going = [entry] if entry.deployment.id == name else same
    alive = [each for each in going if each.vanished_at is None]
    if alive:
        raise RefusedError(
            f"{identity} is not forgotten: {alive[-1].deployment.id} is in the metadata "
            f"(source {', '.join(alive[-1].sources)})",
            hint="it goes when its deployment is removed from the stack",
        )
    left = [str(row.key) for row in store.pods() if row.identity == identity]
    if left and all(each.vanished_at is not None for each in same):
        raise RefusedError(
            f"{identity} is not forgotten: its pods are still being removed: {', '.join(left)}",
            hint="`heat-config-kubelet pods` shows how far that is",
        )
    change = Change("forget", str(identity), entry.deployment.id, tuple(_will(going)))
    return Planned(change, lambda opened, _: opened.forget([each.deployment.id for each in going]), Store.fold)


def _will(going: list[Entry]) -> list[str]:
    ids = ", ".join(f"{each.deployment.id} ({each.deployment.action})" for each in going)
    identity = going[0].deployment.identity
    return [
        f"Drops from the store what it holds of {identity}: {ids}, with results and timelines.",
        "No pod is touched. Without this it goes by itself a week after it vanished.",
    ]
