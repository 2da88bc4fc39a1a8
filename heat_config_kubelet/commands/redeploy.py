"""`redeploy DEPLOYMENT`: it is run again by the loop, its pods replaced by new ones, or its hook called again."""

from __future__ import annotations

import argparse

from ..store import DELIVERED, DONE, HOOK, PENDING, UNSENT, Entry, Store
from ..values import KUBELET_GROUP
from . import change


def main(given: argparse.Namespace) -> int:
    """Have a deployment run again; gives the exit status. Raises AgentError."""
    return change.carry_out(given, lambda store: _look(given, store), _outcome)


def _look(given: argparse.Namespace, store: Store) -> change.Planned:
    entry = change.chosen(given.deployment, store)
    deployment = entry.deployment
    change.refuse_gone(entry, store, "run again")
    why = _why_not(entry) or (change.why_never_signalled(entry) if given.signal else "")
    if why:
        raise change.RefusedError(f"{deployment.identity} is not run again: {why}")
    quiet = not (given.signal or _heat_waits(entry))
    will = [_what_runs(entry, store), *_what_is_signalled(entry, quiet=quiet)]

    def apply(opened: Store, now: float) -> None:
        if deployment.group != KUBELET_GROUP:
            _remove_marks(given, entry)
        opened.start_again(entry, now, quiet=quiet)

    return change.Planned(change.Change("redeploy", str(deployment.identity), deployment.id, tuple(will)), apply)


def _why_not(entry: Entry) -> str:
    from ..plan import OS_APPLY_CONFIG_GROUPS

    deployment = entry.deployment
    if deployment.tool_missing:
        return f"the component has no config for {deployment.action}"
    if deployment.removes:
        return f"its action is {deployment.action}, after which nothing is to run"
    if deployment.group == KUBELET_GROUP:
        return ""
    if deployment.group in OS_APPLY_CONFIG_GROUPS:
        return f"group {deployment.group}: os-apply-config applies it in each pass"
    if entry.mode == HOOK:
        return f"group {deployment.group}: on this node heat-agents run its hook"
    if entry.state != DONE:
        return f"group {deployment.group}: its hook runs now, or is about to"
    return ""


def _heat_waits(entry: Entry) -> bool:
    """Whether Heat, as far as we know, still waits for a signal of this entry."""
    if entry.state != DONE:
        return not entry.quiet
    return entry.signal not in (DELIVERED, UNSENT)


def _what_runs(entry: Entry, store: Store) -> str:
    deployment = entry.deployment
    named = f"{deployment.identity} ({deployment.action})"
    if deployment.group != KUBELET_GROUP:
        return f"Runs the hook {deployment.group} of {named} again."
    pods = [str(row.key) for row in store.pods() if row.identity == deployment.identity]
    if not pods:
        return f"Runs {named} again: none of its pods is there, they are created."
    return f"Runs {named} again: ends {', '.join(pods)} and creates what is wanted anew, then judges it anew."


def _what_is_signalled(entry: Entry, *, quiet: bool) -> list[str]:
    if change.why_never_signalled(entry):
        return []
    if quiet:
        return ["Heat has its result and is not told the new one (--signal tells it)."]
    if _heat_waits(entry):
        return ["Heat still waits for it, and is told the new result."]
    return ["Heat is told the new result.", change.what_heat_does(entry.deployment)]


def _remove_marks(given: argparse.Namespace, entry: Entry) -> None:
    """Take away what says that a hook has run: without it the hook runs again."""
    from .. import hooks, settings

    folder = settings.load(given.settings).deployed_dir
    for mark in (hooks.mark_file, hooks.notify_file):
        mark(folder, entry.deployment.id).unlink(missing_ok=True)


def _outcome(store: Store, asked: change.Change) -> tuple[bool, str] | None:
    entry = change.known_by(asked.id, store)
    if entry is None:
        return change.VANISHED
    if entry.state != DONE or entry.signal == PENDING:
        return None
    if entry.result is None or entry.result.status_code:
        return False, f"{asked.name}: failed: {change.last_reason(entry) or entry.answer}"
    if entry.signal == UNSENT:
        return True, f"{asked.name}: succeeded"
    return entry.signal == DELIVERED, f"{asked.name}: succeeded; signal {entry.signal}: {entry.answer}"
