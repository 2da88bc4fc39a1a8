"""The ways in for images that keep heat-agents: `record` before its 55-heat-config, and `hook`, which that calls.

55-heat-config runs one deployment after the other and signals each result itself (heat-agents:
heat-config/os-refresh-config/configure.d/55-heat-config): our outbox stays silent in this mode. What it cannot
promise (docs/hook-mode.md): a lost signal is not sent again, and a pod that is slow holds up the next deployment.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

from .clock import Clock
from .deployments import read
from .errors import AgentError, MetadataError
from .log import Log
from .manifests import GONE_AFTER_GRACE
from .record import claim_mode, record
from .result import hook_answer, refused
from .secrets import Blanker
from .settings import Settings
from .store import DONE, HOOK, Entry, Store, open_or_restart
from .values import KUBELET_GROUP, Deployment, Result
from .wake import Wake

_LOOK_SECONDS = 0.1
_RESTART_LOOP_SECONDS = 2.0
_DEAD_LOOKS = 5
"""So many restarts in a row, with no loop alive before the next and nothing done meanwhile, are given up on."""
_SOURCE = "hook"
"""The source of entries that came by `hook` alone, where no `record` runs before it."""


def record_all(settings: Settings, environment: Mapping[str, str] | None = None, clock: Clock | None = None) -> int:
    """Record the whole wanted state and wait until what vanished is removed; gives the exit status."""
    clock = clock or Clock()
    log = Log(settings.log_level)
    store = open_or_restart(settings.store_file, clock.wall(), log)
    record(settings, store, HOOK, os.environ if environment is None else environment, clock, log)
    _Waiter(settings, store, clock).for_removals()
    store.close()
    return 0


def hook(settings: Settings, text: str, clock: Clock | None = None) -> dict[str, Any]:
    """Bring one deployment to its end; gives what 55-heat-config expects on standard output.

    `text` is the deployment as JSON. Raises MetadataError where it is no deployment of ours, ModeError.
    """
    clock = clock or Clock()
    log = Log(settings.log_level)
    deployment = _deployment(text)
    store = open_or_restart(settings.store_file, clock.wall(), log)
    claim_mode(settings, store, HOOK)
    wake = Wake(settings.state_dir)
    with store.transaction():
        store.want_again(deployment, _SOURCE, HOOK, clock.wall())
        wake.raise_flag()
    wake.start_loop(settings)
    outcome = _Waiter(settings, store, clock).for_result(deployment)
    with store.transaction():
        store.note_given(deployment.id, clock.wall())
    store.close()
    return hook_answer(outcome, deployment, Blanker.of(deployment))


def failed_answer(text: str, error: AgentError) -> dict[str, Any]:
    """What `hook` prints where it could not even begin: the stack turns FAILED with the reason."""
    try:
        deployment = _deployment(text)
    except MetadataError:
        return {"deploy_stdout": "", "deploy_stderr": str(error), "deploy_status_code": 1}
    return hook_answer(refused(deployment, [str(error)]), deployment, Blanker.of(deployment))


def _deployment(text: str) -> Deployment:
    try:
        deployment = read(json.loads(text), "standard input")
    except (ValueError, RecursionError) as error:
        raise MetadataError(f"standard input: not a deployment as JSON: {error}") from error
    if deployment.group != KUBELET_GROUP:
        raise MetadataError(
            f"standard input: group: {deployment.group}: this hook is for group {KUBELET_GROUP}",
            hint="its file in the hooks directory must be named after its group",
        )
    return deployment


class _Waiter:
    """Waits for what the loop does, and sees to it that one runs."""

    def __init__(self, settings: Settings, store: Store, clock: Clock) -> None:
        self._settings = settings
        self._store = store
        self._clock = clock
        self._wake = Wake(settings.state_dir)
        self._checked_at = clock.steady()
        self._seen: object = None
        self._dead_looks = 0

    def for_result(self, deployment: Deployment) -> Result:
        """Wait for a deployment's result; a superseded one has its successor's, which is what Heat then waits for."""
        while True:
            entry = self._latest(deployment)
            if entry is None:
                return refused(deployment, ["it vanished from the metadata before it was done"])
            if entry.state == DONE and entry.result is not None:
                return entry.result
            if self._dead_looks >= _DEAD_LOOKS:
                log = self._wake.log_place(self._settings)
                return refused(deployment, [f"the agent's loop does not run, however often it is started; see {log}"])
            self._pause()

    def _latest(self, deployment: Deployment) -> Entry | None:
        entries = {entry.deployment.id: entry for entry in self._store.entries()}
        own = entries.get(deployment.id)
        if own is None or own.state != DONE or own.result is not None:
            return own
        same = [each for each in entries.values() if each.deployment.identity == deployment.identity and each != own]
        return max(same, key=lambda each: (each.deployment.creation_time, each.sequence), default=None)

    def for_removals(self) -> None:
        """Wait until the pods of what vanished are gone, no longer than the slowest may take."""
        deadline = self._clock.steady() + max((row.grace for row in self._store.pods()), default=0) + GONE_AFTER_GRACE
        while self._clock.steady() < deadline:
            live = {entry.deployment.identity for entry in self._store.entries() if not entry.deployment.removes}
            answered = self._store.answered()
            if not any(row.identity not in live and row.source in answered for row in self._store.pods()):
                return
            self._pause()

    def _pause(self) -> None:
        if self._clock.steady() - self._checked_at >= _RESTART_LOOP_SECONDS:
            self._checked_at = self._clock.steady()
            self._look_for_loop()
            self._wake.start_loop(self._settings)
        self._clock.sleep(_LOOK_SECONDS)

    def _look_for_loop(self) -> None:
        """Count the restarts that did not help: no loop is there again, and the store is as it was."""
        seen = self._store.entries(vanished=True), self._store.pods()
        stuck = seen == self._seen and not self._wake.ring()
        self._dead_looks = self._dead_looks + 1 if stuck else 0
        self._seen = seen
