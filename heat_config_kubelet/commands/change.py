"""What resend, redeploy, forget and restart share: say what will be done, ask, do it in one transaction, wait.

A command looks twice: before it asks, and in the transaction, so that nothing is done to what has changed meanwhile.
What is to be done is left in the store for the loop, which is woken: no command does the loop's work.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

from .. import settings as settings_module
from ..errors import AgentError
from ..plan import owner_of
from ..secrets import Blanker
from ..settings import Settings
from ..store import HOOK, Entry, Store
from ..values import Deployment
from ..wake import Wake
from . import names
from .console import Console, plain

_LOOK_SECONDS = 0.1
_LOOP_SECONDS = 2.0
"""How often it is made sure that a loop runs."""
_MOST_DEAD_LOOKS = 5
_TOLD = "the agent's loop has been told; `heat-config-kubelet status --wait` shows what comes of it"
_NEXT = {"forget": "forgotten"}
"""What is said when it is done, by command."""


class NotAskedError(AgentError):
    """There is nobody to be asked, and no --yes."""

    status = 2


class RefusedError(AgentError):
    """It would do harm, or nothing; the message says why."""


@dataclass(frozen=True)
class Change:
    """What a command does."""

    command: str
    """resend, redeploy, forget or restart."""
    name: str
    """What it is done to: stack/resource of a deployment, namespace/name of a pod."""
    id: str
    """The id of the deployment's configuration; the UID of the pod that is ended."""
    will: tuple[str, ...]
    """What is done, and what follows from it, a sentence each."""
    done: bool = False
    """Whether the store has it; the loop does the rest."""
    succeeded: bool | None = None
    """With --wait whether it came out well; null without."""
    outcome: str = ""
    """With --wait what came of it; empty without."""


@dataclass(frozen=True)
class Planned:
    """A change, and how it is done in the store, at a time in seconds since the epoch."""

    change: Change
    apply: Callable[[Store, float], None]
    after: Callable[[Store], None] = lambda _: None
    """What is done when the transaction is over."""


Look = Callable[[Store], Planned]
"""Gives what is to be done by the store as it is; raises AgentError where it is not to be done."""
Outcome = Callable[[Store, Change], "tuple[bool, str] | None"]
"""Gives whether a change came out well and what came of it; None as long as that is open."""


def carry_out(given: argparse.Namespace, look: Look, outcome: Outcome | None = None) -> int:
    """Ask and do it; gives the exit status. With `--wait` until `outcome` gives one. Raises AgentError."""
    found = settings_module.load(given.settings)
    store = Store.open(found.store_file, create=False)
    try:
        planned = look(store)
        if not given.yes and not _agreed(planned.change):
            Console(sys.stderr).write("nothing was done")
            return 1
        change = _done(found, store, look, planned.change)
        console = Console.standard()
        for_people = given.output not in ("json", "yaml")
        if for_people and given.yes:
            console.write("\n".join(change.will))
        if outcome and given.wait:
            well, told = _Waiting(found, store).until(lambda: outcome(store, change), given.timeout)
            change = dataclasses.replace(change, succeeded=well, outcome=told)
        if for_people:
            console.write(change.outcome or _NEXT.get(change.command, _TOLD))
        else:
            console.show_value(plain(change), given.output)
    finally:
        store.close()
    return 1 if change.succeeded is False else 0


def _agreed(change: Change) -> bool:
    told = Console(sys.stderr)
    told.write("\n".join(change.will))
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise NotAskedError("nothing was done: there is no terminal to ask on", hint="--yes does it without asking")
    sys.stderr.write("Go on? [y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _done(settings: Settings, store: Store, look: Look, agreed: Change) -> Change:
    wake = Wake(settings.state_dir)
    with store.transaction():
        planned = look(store)
        if planned.change.will != agreed.will:
            raise RefusedError(f"nothing was done: {agreed.name} has changed meanwhile", hint="look at it again")
        planned.apply(store, time.time())
        wake.raise_flag()
    planned.after(store)
    wake.start_loop(settings)
    return dataclasses.replace(agreed, done=True)


class _Waiting:
    """Waits for what the loop does, and sees to it that one runs."""

    def __init__(self, settings: Settings, store: Store) -> None:
        self._settings = settings
        self._store = store
        self._wake = Wake(settings.state_dir)
        self._checked_at = time.monotonic()
        self._seen: object = None
        self._dead_looks = 0

    def until(self, outcome: Callable[[], tuple[bool, str] | None], limit: float | None) -> tuple[bool, str]:
        """Give the outcome, or after `limit` seconds, or where no loop can be kept running, why there is none."""
        began = time.monotonic()
        while True:
            found = outcome()
            if found is not None:
                return found
            if limit is not None and time.monotonic() - began >= limit:
                return False, f"not within {limit:g} s; it goes on"
            if self._dead_looks >= _MOST_DEAD_LOOKS:
                where = self._wake.log_place(self._settings)
                return False, f"the agent's loop does not run, however often it is started; see {where}"
            if time.monotonic() - self._checked_at >= _LOOP_SECONDS:
                self._keep_loop()
            time.sleep(_LOOK_SECONDS)

    def _keep_loop(self) -> None:
        self._checked_at = time.monotonic()
        seen = self._store.version()
        stuck = seen == self._seen and not self._wake.is_held()
        self._dead_looks = self._dead_looks + 1 if stuck else 0
        self._seen = seen
        self._wake.start_loop(self._settings)


# --- deployments


def chosen(name: str, store: Store) -> Entry:
    """Give the entry that a person means: by its id that very one, else the one whose content its pods follow.

    Raises UnknownNameError.
    """
    entries = store.entries(vanished=True)
    entry = names.deployment(name, entries)
    return entry if entry.deployment.id == name else _owner(entry, entries) or entry


def known_by(entry_id: str, store: Store) -> Entry | None:
    """Give the entry of this id while it is in the metadata."""
    return next((each for each in store.entries() if each.deployment.id == entry_id), None)


def _owner(entry: Entry, entries: tuple[Entry, ...]) -> Entry | None:
    identity = entry.deployment.identity
    return owner_of(each for each in entries if each.vanished_at is None and each.deployment.identity == identity)


def refuse_gone(entry: Entry, store: Store, verb: str) -> None:
    """Raise RefusedError where an entry has vanished, or another one has its place and nobody waits for it."""
    deployment = entry.deployment
    owner = _owner(entry, store.entries())
    if entry.vanished_at is not None:
        if owner is not None:
            raise RefusedError(f"{_named(deployment)} is not {verb}: it was superseded by {owner.deployment.id}")
        raise RefusedError(
            f"{_named(deployment)} is not {verb}: it has vanished from the metadata, and Heat waits for nothing of it",
            hint=f"`heat-config-kubelet forget {deployment.id}` drops what the store holds of it",
        )
    if owner is not None and owner.deployment.id != deployment.id and deployment.action != "DELETE":
        raise RefusedError(
            f"{_named(deployment)} is not {verb}: it is superseded by {owner.deployment.id}, "
            "and its signal could complete that one",
            hint=f"name {owner.deployment.id}, or the resource",
        )


def _named(deployment: Deployment) -> str:
    return f"{deployment.identity} ({deployment.action}, {deployment.id})"


def what_heat_does(deployment: Deployment) -> str:
    """Say what a signal does that comes when Heat no longer waits.

    Heat takes a signal only while the deployment is IN_PROGRESS (signal_software_deployment in
    heat/engine/service_software_config.py), and of an object of Swift only a later one than the action's begin. But
    a queue of Zaqar is the resource's for all of its life (_get_zaqar_signal_queue_id in
    heat/engine/resources/signal_responder.py), and is read when the next action waits.
    """
    from ..signals import ZAQAR_SIGNAL, ZAQAR_TTL_SECONDS

    if deployment.transport == ZAQAR_SIGNAL:
        return (
            "Where Heat no longer waits, the message stays in the resource's queue, and an action that begins within "
            f"{ZAQAR_TTL_SECONDS // 60} minutes ends with it at once."
        )
    return "Where the deployment is COMPLETE or FAILED in Heat already, Heat ignores it."


def why_never_signalled(entry: Entry) -> str:
    """Why we never signal an entry; "" where we do."""
    from ..signals import NO_SIGNAL

    if entry.mode == HOOK:
        return "on this node heat-agents signal results, not this agent"
    if entry.deployment.transport == NO_SIGNAL:
        return "its signal_transport is NO_SIGNAL: Heat waits for nothing"
    return ""


VANISHED = False, "it has vanished from the metadata meanwhile"
"""The outcome of a change to what is there no more."""


def last_reason(entry: Entry) -> str:
    """The decisive reason of a failed result, blanked; "" where there is none."""
    lines = entry.result.stderr.strip().splitlines() if entry.result else []
    return Blanker.of(entry.deployment).text(lines[-1]) if lines else ""
