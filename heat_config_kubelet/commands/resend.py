"""`resend DEPLOYMENT`: its result is sent to Heat again, by the loop, as if it had been decided now."""

from __future__ import annotations

import argparse
import time

from .. import settings as settings_module
from ..settings import Settings
from ..store import DELIVERED, DONE, DOUBTFUL, PENDING, Entry, Store
from .change import (
    VANISHED,
    Change,
    Planned,
    RefusedError,
    carry_out,
    chosen,
    known_by,
    refuse_gone,
    what_heat_does,
    why_never_signalled,
)


def main(given: argparse.Namespace) -> int:
    """Have a result sent again; gives the exit status. Raises AgentError."""
    settings = settings_module.load(given.settings)
    return carry_out(given, lambda store: _look(given.deployment, store, settings), _outcome)


def _look(name: str, store: Store, settings: Settings) -> Planned:
    entry = chosen(name, store)
    deployment = entry.deployment
    refuse_gone(entry, store, "sent again")
    never = why_never_signalled(entry)
    if never:
        raise RefusedError(f"{deployment.identity} is not sent again: {never}")
    if entry.state != DONE:
        raise RefusedError(
            f"{deployment.identity} is not sent again: it has no result yet",
            hint="its result is sent by itself; `heat-config-kubelet status --wait` waits for it",
        )
    if entry.result is None:
        raise RefusedError(f"{deployment.identity} is not sent again: it has no result: {entry.answer}")
    change = Change("resend", str(deployment.identity), deployment.id, tuple(_will(entry, settings)))
    return Planned(change, lambda opened, now: opened.send_again(deployment.id, now))


def _will(entry: Entry, settings: Settings) -> list[str]:
    from ..signals import url_expiry

    deployment, result = entry.deployment, entry.result
    came_to = "failure" if result and result.status_code else "success"
    told = [
        f"Sends the {came_to} of {deployment.identity} ({deployment.action}) to Heat again: {deployment.transport}."
    ]
    if entry.signal == PENDING:
        told.append("It is still to be signalled: it is tried at once, and has all of its time again.")
    if entry.signal in (DELIVERED, DOUBTFUL):
        told.append(what_heat_does(deployment))
    if entry.answer:
        told.append(f"So far: {entry.signal}: {entry.answer}")
    ends = url_expiry(deployment, settings.cfn_url_lifetime)
    if ends is not None and ends < time.time():
        told.append("Its pre-signed URL has ended, as far as this node knows: then it is refused.")
    return told


def _outcome(store: Store, change: Change) -> tuple[bool, str] | None:
    entry = known_by(change.id, store)
    if entry is None:
        return VANISHED
    if entry.signal == PENDING or entry.state != DONE:
        return None
    return entry.signal == DELIVERED, f"{change.name}: signal {entry.signal}: {entry.answer}"
