"""Which steps on its way a pod has taken, and when: noted for the timeline as the loop's looks show them.

A step's time. The kubelet tells whole seconds, cut off: the last transition of the conditions PodReadyToStartContainers
(sandbox) and Ready, and the containers' startedAt (started). A look of ours comes later, but a tenth of a second
as a rule. So the earlier one of both upper bounds is taken: our look, or the end of the kubelet's second. Of
images it tells nothing: they are there at our look, and no later than when the containers start. No
step is given a time before the step that it follows. All are seconds since the epoch.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from .container_faults import has_log, image_there
from .ledger import Ledger
from .store import DONE, Entry, Event, PodRow
from .values import Pod, PodKey, PodStatus

SANDBOX, IMAGE, STARTED, READY = "sandbox", "image", "started", "ready"
_STEPS = (SANDBOX, IMAGE, STARTED, READY)
_KUBELETS_SECOND = 1.0


def steps_taken(pod: Pod, status: PodStatus) -> Iterator[tuple[str, float | None]]:
    """Give the steps that a status shows as taken, in their order, each with the kubelet's own time if it tells one."""
    if not (status.sandbox_ready or any(each.container_id for each in status.containers)):
        return
    yield SANDBOX, status.sandbox_at if status.sandbox_ready else None
    mains = [each for each in status.containers if not each.init]
    complete = len(mains) == len(pod.manifest["spec"]["containers"])
    if not complete or not all(image_there(each) for each in status.containers):
        return
    started = all(has_log(each) for each in mains)
    first_runs = [each.started_at for each in mains if each.started_at is not None and not each.restart_count]
    started_at = max(first_runs) if started and len(first_runs) == len(mains) else None
    yield IMAGE, started_at
    if started:
        yield STARTED, started_at
        if status.ready:
            yield READY, status.ready_at


@dataclass
class _Noted:
    """What was noted of one pod of one entry."""

    kept: bool
    """Whether an earlier action has written it."""
    at: float
    """The time of the last step."""
    looks: int = 0
    steps: int = 0


class PodSteps:
    """Notes each step once: what an earlier process has noted is in the store, which takes nothing twice."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._noted: dict[tuple[str, float, str], _Noted] = {}
        """By entry id, when it was collected (an id may come anew), and the pod's UID; "" for the entry itself."""

    def keep_only(self, entry_ids: frozenset[str]) -> None:
        """Forget the entries that are no longer there."""
        for key in [key for key in self._noted if key[0] not in entry_ids]:
            del self._noted[key]

    def note_valid(self, entry: Entry) -> None:
        """Note that what an entry wants was read and checked."""
        key = (entry.deployment.id, entry.seen_at, "")
        if entry.state != DONE and key not in self._noted:
            self._noted[key] = _Noted(False, self._ledger.clock.wall())
            self._ledger.note(Event(self._noted[key].at, entry.deployment.id, "validated", ""))

    def note_gone(self, row: PodRow) -> None:
        """Note for whom waits for it that a pod is gone."""
        for entry in self._ledger.entries.values():
            if entry.deployment.identity == row.identity and entry.state != DONE:
                self._add(entry, "gone", self._ledger.clock.wall(), row.key, row.uid)

    def note(self, entry: Entry, pod: Pod, row: PodRow, status: PodStatus | None) -> None:
        """Note the steps that a look has shown first; `row` is the pod's manifest, written."""
        now = self._ledger.clock.wall()
        key = (entry.deployment.id, entry.seen_at, row.uid)
        noted = self._noted.get(key)
        if noted is None:
            kept = row.since < entry.seen_at or bool(status and _is_before(status.sandbox_at, entry))
            noted = self._noted[key] = _Noted(kept, now if kept else row.since)
            self._add(entry, "kept" if kept else "written", noted.at, row.key, row.uid)
        if status is None or noted.steps == len(_STEPS):
            return
        for kind, told in list(steps_taken(pod, status))[noted.steps :]:
            noted.steps += 1
            earlier = noted.kept and not noted.looks and told is None
            if not earlier and not _is_before(told, entry):
                noted.at = max(noted.at, now if told is None else min(now, told + _KUBELETS_SECOND))
                self._add(entry, kind, noted.at, row.key, row.uid)
        noted.looks += 1

    def _add(self, entry: Entry, kind: str, at: float, pod: PodKey, uid: str) -> None:
        self._ledger.note(Event(at, entry.deployment.id, kind, "", str(pod), uid))


def _is_before(told: float | None, entry: Entry) -> bool:
    """Whether a time of the kubelet's lies before an entry was collected: it is of an earlier action."""
    return told is not None and told + _KUBELETS_SECOND < entry.seen_at
