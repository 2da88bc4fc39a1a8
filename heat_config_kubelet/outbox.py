"""When a stored result is sent: its next attempt, what it waits for, and when it is given up.

Pure policy over small values; the store keeps them, `loop.py` asks, `signals.py` sends. No I/O, no clock.

Facts behind it (heat/engine/resources/openstack/heat/software_deployment.py, heat/engine/service_software_config.py):
a CFN_SIGNAL or HEAT_SIGNAL names the resource, not the configuration, so a late one completes whatever the resource
does now; while a FAILED deployment is replaced, two entries have one identity.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum

from .signals import names_resource
from .store import PENDING, Entry
from .values import Identity

FIRST_RETRY_SECONDS = 1.0
LONGEST_RETRY_SECONDS = 60.0
LONGEST_RETRY_AFTER_SECONDS = 3600.0
EXPIRY_GRACE_SECONDS = 3600.0
"""How long after its URL's own expiry a signal is still tried: this node's clock, or the setting, may be wrong."""


@dataclass(frozen=True)
class Parcel:
    """A result that is to be sent. Times are seconds since the epoch."""

    id: str
    identity: Identity
    transport: str
    decided_at: float
    delete: bool = False
    """Whether its action is DELETE: Heat then waits for it although there is a newer deployment."""
    attempts: int = 0
    next_attempt: float = 0.0
    expires_at: float | None = None
    """When a pre-signed URL ends (`signals.url_expiry`); None where that is not known."""


@dataclass(frozen=True)
class Listed:
    """An entry that the metadata holds now."""

    id: str
    identity: Identity
    owner: bool = True
    """Whether it is the newest deployment of its identity; false for one that is being replaced."""
    settled: bool = False
    """Whether its own result was accepted or refused, or none will be sent."""


def listed(entries: Iterable[Entry], owners: Mapping[Identity, Entry | None]) -> list[Listed]:
    """Give the live entries as `decide` takes them; `owners` are `Ledger.owners`, or the like."""
    return [
        Listed(
            entry.deployment.id,
            entry.deployment.identity,
            owner=owners[entry.deployment.identity] in (entry, None),
            settled=entry.signal not in ("", PENDING),
        )
        for entry in entries
    ]


class Step(Enum):
    """What to do with a parcel now."""

    SEND = "send"
    WAIT = "wait"
    DROP = "drop"


@dataclass(frozen=True)
class Decision:
    """A step and why. `until` (seconds since the epoch) is when to ask again; None: after the next change."""

    step: Step
    reason: str = ""
    until: float | None = None


def next_attempt(attempts: int, now: float, rng: random.Random, retry_after: float | None = None) -> float:
    """Say when to send again after `attempts` (1 or more) that failed, in seconds since the epoch.

    About 1 s after the first, doubling up to 60 s, each spread from a quarter less to a quarter more so that
    nodes that failed together do not come back together. A server's Retry-After (seconds) is waited for, up to an hour.
    """
    doubled = FIRST_RETRY_SECONDS * 2.0 ** min(max(attempts, 1) - 1, 16)
    delay = min(doubled, LONGEST_RETRY_SECONDS / 1.25) * (0.75 + 0.5 * rng.random())
    if retry_after is not None and retry_after > 0:
        asked = min(retry_after, LONGEST_RETRY_AFTER_SECONDS)
        delay = max(delay, asked * (1 + 0.1 * rng.random()))
    return now + delay


def decide(parcel: Parcel, listed: Iterable[Listed], now: float, *, max_age: float) -> Decision:
    """Say whether a parcel may be sent now, waits, or is dropped.

    `listed` is every entry that the metadata holds now, the parcel's own among them; `max_age` is
    [signals] max_age in seconds, after which nobody in Heat waits any more.
    """
    same = [entry for entry in listed if entry.identity == parcel.identity]
    own = next((entry for entry in same if entry.id == parcel.id), None)
    dropped = _dropped(parcel, own, same, now, max_age)
    if dropped:
        return Decision(Step.DROP, dropped)
    if names_resource(parcel.transport) and own and not own.owner:  # a DELETE
        successor = next((entry for entry in same if entry.owner and not entry.settled), None)
        if successor:
            return Decision(Step.WAIT, f"its successor {successor.id} has not been signalled, and would be completed")
    if parcel.next_attempt > now:
        return Decision(Step.WAIT, f"attempt {parcel.attempts + 1} is not due yet", parcel.next_attempt)
    return Decision(Step.SEND)


def _dropped(parcel: Parcel, own: Listed | None, same: list[Listed], now: float, max_age: float) -> str:
    """Why a parcel is not to be sent any more; empty where it is."""
    if own is None:
        if same:
            return f"superseded by {same[-1].id}: the signal would complete that one"
        return "vanished from the metadata: Heat does not wait for it any more"
    if not own.owner and not parcel.delete:
        newer = next((entry.id for entry in same if entry.owner), same[-1].id)
        return f"superseded by {newer}: the signal would complete that one, or nothing"
    if parcel.expires_at is not None and now > parcel.expires_at + EXPIRY_GRACE_SECONDS and parcel.attempts:
        return "expired: its pre-signed URL ended long ago"
    if now - parcel.decided_at > max_age:
        return f"too old: not accepted within {max_age:.0f} s ([signals] max_age) and {parcel.attempts} attempts"
    return ""
