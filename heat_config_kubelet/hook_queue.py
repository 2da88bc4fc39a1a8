"""Runs the hooks of other groups for the loop: one at a time, in the order of the deployments' names.

How a hook is found, started and read is in `hooks.py`; this is the queue over the store, and what a crash left.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from . import hooks
from .errors import AgentError
from .ledger import Ledger
from .log import Log
from .result import refused
from .settings import Settings
from .store import DONE, UNSENT, WANTED, Entry
from .wake import Wake

_POLL_SECONDS = 0.2


class HookQueue:
    """At most one hook's process. `start` is `hooks.HookRun.start`, or what stands for it in a unit test."""

    def __init__(
        self,
        ledger: Ledger,
        settings: Settings,
        wake: Wake,
        log: Log,
        start: Callable[..., hooks.HookRun] = hooks.HookRun.start,
    ) -> None:
        self._ledger = ledger
        self._settings = settings
        self._wake = wake
        self._log = log
        self._start = start
        self._running: tuple[str, hooks.HookRun] | None = None

    def advance(self, due: Iterable[Entry]) -> None:
        """Take in the hook that has ended, and start the next of `due`."""
        self._take_in()
        for entry in sorted(due, key=lambda each: (each.deployment.name, each.sequence)):
            if self._running:
                return
            now = self._ledger.entries.get(entry.deployment.id)  # taking in may have decided it
            if now is not None and now.state != DONE:
                self._begin(now)

    def pause(self) -> float | None:
        """Seconds until the running hook is to be asked; None where none runs."""
        if self._running is None:
            return None
        return 60.0 if self._running[1].fileno() >= 0 else _POLL_SECONDS

    def _take_in(self) -> None:
        if self._running is None:
            return
        entry_id, running = self._running
        handle = running.fileno()
        outcome = running.poll()
        if outcome is None:
            return
        if handle >= 0:
            self._wake.unwatch(handle)
        self._running = None
        entry = self._ledger.entries.get(entry_id)
        if entry is not None and entry.state != DONE:
            self._ledger.decide(entry, outcome)

    def _begin(self, entry: Entry) -> None:
        deployment = entry.deployment
        folder = self._settings.deployed_dir
        try:
            marked = hooks.already_deployed(folder, deployment.id)
            if marked and entry.state == WANTED:
                self._ledger.skip(entry, UNSENT, "it has run already: its deployed mark is there")
            elif marked:
                outcome = hooks.finished_result(folder, deployment) or hooks.cut_short(deployment, entry.hook)
                self._ledger.decide(entry, outcome)
            else:
                self._run(self._ledger.begin(entry))
        except AgentError as error:
            self._ledger.decide(entry, refused(deployment, [str(error)]))

    def _run(self, entry: Entry) -> None:
        deployment = entry.deployment
        hook = hooks.find_hook(deployment.group, self._settings.hooks_dirs)
        if hook is None:
            self._ledger.decide(entry, hooks.no_hook(deployment, self._settings.hooks_dirs))
            return
        running = self._start(
            deployment, hook, deployed_dir=self._settings.deployed_dir, state_dir=self._settings.state_dir
        )
        self._running = (deployment.id, running)
        self._ledger.set_hook(entry, running.record)
        if running.fileno() >= 0:
            self._wake.watch(running.fileno())
        self._log.info("hook started", deployment=deployment.identity, hook=hook)
