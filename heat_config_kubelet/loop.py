"""The reconcile loop: drives everything pending together, and ends when nothing is.

One process at a time (`wake.py`). A step takes in what is new in the store, plans (`plan.py`), brings the manifest
directory forward (`manifests.py`), decides kubelet deployments (`pod_judge.py`), runs hooks of other groups
(`hook_queue.py`) and delivers results (`delivery.py`). It may be killed anywhere: what one step decided is in the
store before the next builds on it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace

from . import result
from .delivery import Delivery
from .errors import ManifestError
from .hook_queue import HookQueue
from .kubelet_view import KubeletView
from .ledger import Ledger
from .log import Log
from .manifest_dir import Found
from .manifests import Manifests
from .options import options_of
from .plan import Plan, Task, make_plan
from .pod_judge import PodJudge
from .settings import Settings
from .store import APPLIED, DONE, DROPPED, HOOK, REMOVING, UNSENT, Entry
from .summary import Summarizer
from .values import KUBELET_GROUP
from .wake import Wake

_TROUBLE_PAUSE = 1.0


@dataclass(frozen=True)
class Parts:
    """What the loop drives, put together in `loop_process.py`; a test puts its own together."""

    settings: Settings
    wake: Wake
    ledger: Ledger
    manifests: Manifests
    view: KubeletView
    judge: PodJudge
    hooks: HookQueue
    delivery: Delivery
    summary: Summarizer
    log: Log


class Loop:
    """One life of the loop."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._ledger = parts.ledger
        self._store = parts.ledger.store
        self._plan = Plan({}, {}, {}, (), ())
        self._stale = True
        """Whether something happened that the plan does not know."""
        self._resumed = False
        """Whether the directory is as the store says: not before the first step, nor after it made trouble."""
        self._found: tuple[Found, ...] = ()

    def run(self) -> None:
        """Work until nothing is pending.

        Raises sqlite3.Error where the store cannot be written, ReplacedStoreError where it is another one now.
        """
        self._store.prune(self._ledger.clock.wall())
        while True:
            pause = self.step()
            if pause is not None:
                self._parts.wake.wait(pause)
            elif self._end():
                return

    def _end(self) -> bool:
        """The last look: end, unless somebody has added work since."""
        with self._store.transaction():
            if self._ledger.has_news() or self._store.replaced:
                return False
            self._parts.wake.let_go(clear_flag=True)
        self._parts.log.info("nothing pending")
        return True

    def step(self) -> float | None:
        """Take one step; gives the longest pause until the next in seconds, or None where nothing is pending."""
        if self._ledger.take_news():
            self._parts.judge.keep_only(frozenset(self._ledger.entries))
            self._stale = True
        try:
            self._resume()
            self._make_plan()
            self._remove()
            self._write()
            self._parts.judge.trouble = ""
        except ManifestError as error:
            self._in_trouble(error)
        judge = self._parts.judge
        judge.advance(self._plan, {row.key: row for row in self._parts.manifests.rows()})
        self._stale, judge.renews = self._stale or judge.renews, False
        self._answer_the_rest()
        self._parts.hooks.advance(self._of(Task.RUN_HOOK))
        self._parts.delivery.advance()
        pause = self._pause()
        self._summarize(at_once=pause is None)
        return pause if pause is None else min(pause, self._parts.summary.pause(pause))

    def _summarize(self, *, at_once: bool) -> None:
        statuses = self._parts.view.statuses or None  # none are known where it was not asked, or did not answer
        entries, rows = self._ledger.entries.values(), self._parts.manifests.rows()
        self._parts.summary.note(entries, rows, statuses, self._count, at_once=at_once)

    def _count(self, entry: Entry) -> int | None:
        pods = self._plan.pods.get(entry.deployment.id)
        return None if pods is None else len(pods)

    def _resume(self) -> None:
        if not self._resumed:
            self._parts.manifests.resume()
            self._resumed = True

    def _make_plan(self) -> None:
        if self._stale:
            self._found = self._parts.manifests.scan()
            self._plan = self._planned()
            self._stale = False

    def _planned(self) -> Plan:
        return make_plan(
            tuple(self._ledger.entries.values()),
            self._parts.manifests.rows(),
            self._found,
            self._store.answered(),
            self._parts.judge.pods,
            kubelet_only=self._store.get("mode") == HOOK,
        )

    def _in_trouble(self, error: ManifestError) -> None:
        if str(error) != self._parts.judge.trouble:
            self._parts.log.error("manifest directory", problem=error)
        self._parts.judge.trouble = str(error)
        self._resumed, self._stale = False, True
        # Who needs no directory, or has waited for it long enough, is answered all the same.
        self._plan = replace(self._planned(), remove=(), write=())

    # --- the manifest directory

    def _remove(self) -> None:
        manifests, view = self._parts.manifests, self._parts.view
        if self._plan.remove:
            manifests.remove(self._plan.remove)
            self._stale = True
        if any(row.phase == REMOVING for row in manifests.rows()):
            if manifests.may_be_gone() or view.silent:
                view.look()
            gone = manifests.gone(view.visible(), self._patience())
            self._parts.judge.note_gone(gone)
            self._stale = self._stale or bool(gone)
        self._make_plan()

    def _patience(self) -> float:
        """How much longer than its grace period and 10 s a removal may take; none where a successor waits for it."""
        return 0.0 if self._plan.blocked else options_of({}, self._parts.settings.defaults).containers_timeout

    def _write(self) -> None:
        if self._parts.manifests.has_successors:
            self._parts.view.look()
            self._parts.manifests.nudge(self._parts.view.statuses)
        if not self._plan.write:
            return
        with self._store.transaction():
            for _, entry in self._plan.write:
                self._ledger.begin(entry)
        self._parts.view.before_writing()
        self._parts.view.wrote(self._parts.manifests.write(self._plan.write))
        self._stale = True
        self._make_plan()

    # --- entries that need no pods

    def _of(self, task: Task) -> list[Entry]:
        found = [self._ledger.entries.get(entry_id) for entry_id, each in self._plan.tasks.items() if each is task]
        return [entry for entry in found if entry is not None and entry.state != DONE]

    def _answer_the_rest(self) -> None:
        for entry in self._of(Task.ANSWER_ONLY):
            self._ledger.decide(entry, result.nothing_to_do(entry.deployment, self._why_nothing(entry)))
        for entry in self._of(Task.APPLY_CONFIG):
            self._judge_applied(entry)
        for entry in self._of(Task.SUPERSEDED):
            if entry.deployment.group == KUBELET_GROUP:
                self._ledger.skip(entry, DROPPED, "superseded by a newer configuration")
            else:
                self._ledger.skip(entry, UNSENT, "superseded, or run by heat-agents")

    def _why_nothing(self, entry: Entry) -> str:
        if entry.deployment.tool_missing:
            return f"the component has no config for {entry.deployment.action}; nothing was changed"
        owner = self._ledger.owners()[entry.deployment.identity]
        successor = owner.deployment.id if owner else "a newer one"
        return f"replaced by {successor}, whose pods these are now; nothing was changed"

    def _judge_applied(self, entry: Entry) -> None:
        at, problem = json.loads(self._store.get(APPLIED) or '[0, ""]')
        if at < entry.seen_at:
            return
        deployment = entry.deployment
        if problem:
            self._ledger.decide(entry, result.refused(deployment, [f"os-apply-config: {problem}"]))
        else:
            self._ledger.decide(entry, result.nothing_to_do(deployment, "applied by os-apply-config"))

    # --- when to look again

    def _pause(self) -> float | None:
        if self._ledger.has_news() or (self._stale and not self._parts.judge.trouble):
            return 0.0
        pauses = [self._parts.judge.pause(self._plan), self._parts.hooks.pause(), self._parts.delivery.pause()]
        if self._parts.judge.trouble:
            # Only another loop can find the kubelet's directory; this one need not wait for it.
            pauses.append(None if self._parts.view.broken else _TROUBLE_PAUSE)
        else:
            pauses.append(self._parts.manifests.pause())
        if self._of(Task.APPLY_CONFIG):
            pauses.append(_TROUBLE_PAUSE)
        if self._of(Task.RUN_HOOK) and self._parts.hooks.pause() is None:
            pauses.append(0.0)
        return min((pause for pause in pauses if pause is not None), default=None)
