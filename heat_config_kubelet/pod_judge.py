"""Decides kubelet deployments: their pods run, failed, or are gone.

What one pod has come to is said in `status.py`; here the verdicts on all pods of a deployment become its result.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from . import pod_words, result
from .container_faults import shortened
from .errors import PodError
from .kubelet_view import KubeletView
from .ledger import Ledger
from .manifests import Removed
from .options import Options, options_of
from .plan import Plan, Task
from .pod_steps import PodSteps
from .settings import Settings
from .status import PodWatch
from .store import DONE, WANTED, WRITTEN, Entry, PodRow
from .values import KUBELET_GROUP, Identity, Outcome, Pod, PodKey, PodStatus, Result, Verdict
from .wanted import wanted_pods

_BLOCKED_PAUSE = 1.0
"""Nothing to look at in the kubelet yet; whatever is in the way has pauses of its own."""


@dataclass
class _Waiting:
    """What is remembered, only while the loop lives, of a deployment whose pods are waited for."""

    options: Options
    watches: dict[str, PodWatch] = field(default_factory=dict)
    """By UID."""
    renewed: set[PodKey] = field(default_factory=set)
    """Pods that were there and had failed, and are made anew for it, once."""


class PodJudge:
    """Reads what deployments want and judges what became of it.

    `trouble` is why the manifest directory cannot be written, empty where it can. `renews` says that pods which were
    there are to be made anew, until the loop has planned for it.
    """

    def __init__(self, ledger: Ledger, view: KubeletView, settings: Settings) -> None:
        self._ledger = ledger
        self._view = view
        self._settings = settings
        self._steps = PodSteps(ledger)
        self._read: dict[str, tuple[Mapping[str, object], tuple[Pod, ...] | PodError]] = {}
        self._waiting: dict[str, _Waiting] = {}
        self._gone: dict[Identity, list[Removed]] = {}
        self._looking = False
        self.trouble = ""
        self.renews = False

    # --- what is wanted

    def pods(self, entry: Entry) -> tuple[Pod, ...]:
        """Give the pods that an entry wants, read and checked once. Raises PodError."""
        deployment = entry.deployment
        known = self._read.get(deployment.id)
        if known is None or known[0] != deployment.raw:
            known = self._read[deployment.id] = (deployment.raw, self._checked(entry))
            self._waiting.pop(deployment.id, None)
        if isinstance(known[1], PodError):
            raise known[1]
        self._steps.note_valid(entry)
        return known[1]

    def _checked(self, entry: Entry) -> tuple[Pod, ...] | PodError:
        try:
            return wanted_pods(entry.deployment, self._settings)
        except PodError as error:
            return error

    def keep_only(self, entry_ids: frozenset[str]) -> None:
        """Forget the entries that are no longer there."""
        for known in (self._read, self._waiting):
            for entry_id in known.keys() - entry_ids:
                del known[entry_id]
        self._steps.keep_only(entry_ids)

    def note_gone(self, removed: tuple[Removed, ...]) -> None:
        """Note pods that are gone, or overdue, for the deployments that wait for that."""
        for each in removed:
            self._gone.setdefault(each.row.identity, []).append(each)
            if not each.overdue:
                self._steps.note_gone(each.row)

    # --- deciding

    def advance(self, plan: Plan, rows: Mapping[PodKey, PodRow]) -> None:
        """Look at the kubelet where somebody waits for pods, and decide every deployment that can be."""
        waiting = [entry for entry in self._of(plan, Task.RUN_PODS) if entry.deployment.id in plan.pods]
        self._looking = any(self._has_written(plan.pods[entry.deployment.id], rows) for entry in waiting)
        if self._looking:
            self._view.look_if_due(min(self._options(entry).poll_period for entry in waiting))
        outcomes = [(entry, self._judge_pods(entry, plan, rows)) for entry in self._begun(plan, Task.RUN_PODS)]
        outcomes += [(entry, self._judge_removal(entry, rows)) for entry in self._begun(plan, Task.REMOVE_PODS)]
        decided = [(entry, outcome) for entry, outcome in outcomes if outcome is not None]
        if decided:
            with self._ledger.store.transaction():
                for entry, outcome in decided:
                    self._ledger.decide(entry, outcome)
        self._ledger.write_notes()
        for entry, _ in decided:
            self._gone.pop(entry.deployment.identity, None)  # what went for this action says nothing about the next

    def _begun(self, plan: Plan, task: Task) -> list[Entry]:
        entries = self._of(plan, task)
        if all(entry.state != WANTED for entry in entries):
            return entries
        with self._ledger.store.transaction():
            return [self._ledger.begin(entry) for entry in entries]

    def pause(self, plan: Plan) -> float | None:
        """Seconds until the next look at the kubelet, or at what is in its way; None where nobody waits for pods."""
        if any(True for task in (Task.RUN_PODS, Task.REMOVE_PODS) for _ in self._of(plan, task)):
            return self._view.pause() if self._looking else _BLOCKED_PAUSE
        return None

    def _of(self, plan: Plan, task: Task) -> list[Entry]:
        found = [self._ledger.entries.get(entry_id) for entry_id, each in plan.tasks.items() if each is task]
        return [entry for entry in found if entry is not None and entry.state != DONE]

    def _has_written(self, pods: tuple[Pod, ...], rows: Mapping[PodKey, PodRow]) -> bool:
        return any((row := rows.get(pod.key)) is not None and row.phase == WRITTEN for pod in pods)

    def _options(self, entry: Entry) -> Options:
        return self._waiting_for(entry).options

    def _waiting_for(self, entry: Entry) -> _Waiting:
        known = self._waiting.get(entry.deployment.id)
        if known is None:
            try:
                options = options_of(entry.deployment.options, self._settings.defaults)
            except PodError:  # an entry that removes is not refused for them
                options = options_of({}, self._settings.defaults)
            known = self._waiting[entry.deployment.id] = _Waiting(options)
        return known

    def _judge_pods(self, entry: Entry, plan: Plan, rows: Mapping[PodKey, PodRow]) -> Result | None:
        deployment = entry.deployment
        if deployment.id in plan.faults:
            return result.refused(deployment, plan.faults[deployment.id])
        pods = plan.pods.get(deployment.id)
        if pods is None:
            return None
        verdicts = [(pod, self._verdict(entry, pod, rows.get(pod.key))) for pod in pods]
        if any(verdict.outcome is Outcome.FAILED for _, verdict in verdicts):
            return self._failure(entry, verdicts, plan, rows)
        if all(verdict.outcome is Outcome.READY for _, verdict in verdicts):
            lines = [(pod, self._status(rows.get(pod.key))) for pod in pods]
            return result.success(deployment, lines, warnings=_warnings(pods))
        return None

    def _verdict(self, entry: Entry, pod: Pod, row: PodRow | None) -> Verdict:
        if self._view.fatal:
            return Verdict(Outcome.FAILED, self._view.fatal)
        waiting = self._waiting_for(entry)
        if row is None or row.phase != WRITTEN or row.content_hash != pod.content_hash:
            if self.trouble and self._ledger.elapsed(entry) > waiting.options.containers_timeout:
                return Verdict(Outcome.FAILED, self.trouble)
            return Verdict(Outcome.WAITING, self.trouble or "the pod that it replaces is still terminating")
        watch = waiting.watches.get(row.uid)
        first = watch is None
        if watch is None:
            watch = waiting.watches[row.uid] = PodWatch(pod, waiting.options, self._since(entry, row))
        status = self._status(row)
        self._steps.note(entry, pod, row, status)
        refusal, trouble = self._view.explain(row, status)
        verdict = watch.look(status, self._ledger.clock.steady(), refusal=refusal, trouble=trouble)
        was_there = row.since < (entry.started_at or 0.0)
        if first and was_there and verdict.outcome is Outcome.FAILED and pod.key not in waiting.renewed:
            waiting.renewed.add(pod.key)
            return self._renewed(row)
        return verdict

    def _renewed(self, row: PodRow) -> Verdict:
        """Have a pod that failed before its deployment began made anew: what was wrong may be mended meanwhile."""
        with self._ledger.store.transaction():
            self._ledger.store.replace_pods([row.uid])
        self.renews = True
        return Verdict(Outcome.WAITING, "it failed before this deployment began: it is made anew")

    def _since(self, entry: Entry, row: PodRow) -> float:
        """A deployment's clocks start when its manifest was written, or with the deployment where it was there."""
        clock = self._ledger.clock
        return max(clock.steady_since(row.since), clock.steady_since(entry.started_at or 0.0))

    def _status(self, row: PodRow | None) -> PodStatus | None:
        return self._view.statuses.get(row.uid) if row else None

    def _failure(
        self, entry: Entry, verdicts: list[tuple[Pod, Verdict]], plan: Plan, rows: Mapping[PodKey, PodRow]
    ) -> Result:
        log_lines = self._options(entry).log_lines
        lines: list[tuple[Pod, PodStatus | None]] = []
        reasons: dict[str, None] = {}
        logs = []
        for pod, verdict in verdicts:
            row = rows.get(pod.key)
            status = self._status(row)
            lines.append((pod, status))
            if verdict.outcome is not Outcome.FAILED:
                continue
            reason = verdict.reason if verdict.reason == self._view.fatal else f"{pod.key}: {verdict.reason}"
            if status and status.reason == "NodePorts":
                reason += self._who_has_the_ports(pod, plan)
            if verdict.probe_of and row and log_lines:
                said = self._view.probe_failure(row, verdict.probe_of)
                reason += f"; its last failed {shortened(said)}" if said else ""
            reasons[reason] = None
            if verdict.log_of and status and log_lines:
                logs.append(self._view.container_log(status, verdict.log_of, log_lines))
        pods = tuple(pod for pod, _ in verdicts)
        text = "\n".join(log for log in logs if log)
        return result.failure(entry.deployment, lines, list(reasons), logs=text, warnings=_warnings(pods))

    def _who_has_the_ports(self, pod: Pod, plan: Plan) -> str:
        """Name the pods of other deployments that claim the same ports of the node; "" where none of ours does."""
        wanted = pod_words.host_ports(pod.manifest["spec"])
        found = []
        for entry_id, pods in plan.pods.items():
            for other in pods:
                taken = wanted & pod_words.host_ports(other.manifest["spec"]) if other.key != pod.key else None
                if taken and entry_id in self._ledger.entries:
                    owner = self._ledger.entries[entry_id].deployment.identity
                    found.append(f"; deployment {owner} has {', '.join(sorted(taken))} for its pod {other.key}")
        return "".join(found)

    def _judge_removal(self, entry: Entry, rows: Mapping[PodKey, PodRow]) -> Result | None:
        deployment = entry.deployment
        left = any(row.identity == deployment.identity for row in rows.values())
        gone = self._gone.get(deployment.identity, [])
        overdue = [f"pod {each.row.key} is still there after its grace period" for each in gone if each.overdue]
        too_long = self._ledger.elapsed(entry) > self._options(entry).containers_timeout
        if overdue:
            return result.refused(deployment, overdue)
        if left and (self._view.fatal or (self.trouble and too_long)):
            return result.refused(deployment, [self._view.fatal or self.trouble])
        if not left and deployment.group == KUBELET_GROUP:
            return result.removed(deployment, sorted({each.row.key for each in gone}))
        return None


def _warnings(pods: tuple[Pod, ...]) -> list[str]:
    return [f"{pod.key}: {text}" for pod in pods for text in pod.warnings]
