"""Decides what is to be done: from the live entries, our manifests and the directory to a `Plan`.

Pure: no files, no clock. The plan is made anew whenever the store has changed, from all there is, so a step that
was cut short or undone by somebody is simply planned again. Carried out by `manifests.py` and `loop.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum

from .deployments import UNGROUPED
from .errors import PodError
from .manifest_dir import Found
from .store import DONE, REMOVING, Entry, PodRow
from .values import KUBELET_GROUP, Identity, Pod, PodKey

OS_APPLY_CONFIG_GROUPS = frozenset({UNGROUPED, "os-apply-config"})
"""Their configs are merged into the metadata by os-collect-config (os_collect_config/merger.py)."""


class Task(Enum):
    """What answers an entry that is not decided yet."""

    RUN_PODS = "run pods"
    """All its pods run."""
    REMOVE_PODS = "remove pods"
    """None of its identity's pods is left; then its hook runs where its tool is another one."""
    RUN_HOOK = "run hook"
    ANSWER_ONLY = "answer only"
    """It changes nothing: an action it has no config for, or the DELETE of an entry that was replaced."""
    APPLY_CONFIG = "os-apply-config"
    SUPERSEDED = "superseded"
    """A newer entry has its identity: it is never answered."""


@dataclass(frozen=True)
class Plan:
    """What is to be done now."""

    tasks: Mapping[str, Task]
    """By entry id, for each entry that is not decided."""
    pods: Mapping[str, tuple[Pod, ...]]
    """By entry id, what each owner wants; where it can be run."""
    faults: Mapping[str, tuple[str, ...]]
    """By entry id, why its pods cannot be run."""
    remove: tuple[PodRow, ...]
    """Manifests to be removed, those to be replaced among them."""
    write: tuple[tuple[Pod, Entry], ...]
    """Pods whose manifest can be written now: none of their name is there any more."""
    blocked: frozenset[PodKey] = field(default_factory=frozenset)
    """Pods that are written as soon as the one of the same name is gone."""


def owner_of(entries: Iterable[Entry]) -> Entry | None:
    """Of the live entries with one identity, give the one whose content its pods follow.

    The newest by `creation_time` whose action is not DELETE: while Heat replaces a FAILED deployment the old
    entry and its successor stand side by side, and the old one's DELETE comes with a *later* creation_time.
    Equal times (Heat's have a resolution of 1 s) fall back to the order in which they were seen.
    """
    kept = [entry for entry in entries if entry.deployment.action != "DELETE"]
    return max(kept, key=lambda entry: (entry.deployment.creation_time, entry.sequence), default=None)


def make_plan(
    entries: Sequence[Entry],
    rows: Sequence[PodRow],
    found: Sequence[Found],
    answered: frozenset[str],
    read_pods: Callable[[Entry], tuple[Pod, ...]],
    *,
    kubelet_only: bool = False,
) -> Plan:
    """Decide what is to be done.

    `rows` are our manifests as the store has them, `found` the directory's files, `answered` the sources that have
    answered in this store's life, `read_pods` gives an entry's pods or raises PodError. `kubelet_only`: hooks of
    other groups are somebody else's (the way in is `hook`).
    """
    return _Planner(entries, rows, found, answered, read_pods, kubelet_only).plan()


class _Planner:
    def __init__(
        self,
        entries: Sequence[Entry],
        rows: Sequence[PodRow],
        found: Sequence[Found],
        answered: frozenset[str],
        read_pods: Callable[[Entry], tuple[Pod, ...]],
        kubelet_only: bool,
    ) -> None:
        self.entries = entries
        self.rows = {row.key: row for row in rows}
        self.files = {each.file: each for each in found}
        self.answered = answered
        self.read_pods = read_pods
        self.kubelet_only = kubelet_only
        self.by_identity: dict[Identity, list[Entry]] = {}
        for entry in entries:
            self.by_identity.setdefault(entry.deployment.identity, []).append(entry)
        self.owners = {identity: owner_of(group) for identity, group in self.by_identity.items()}
        self.pods: dict[str, tuple[Pod, ...]] = {}
        self.faults: dict[str, tuple[str, ...]] = {}

    def plan(self) -> Plan:
        self._read_all()
        while self._refuse_conflicts():
            pass  # who is refused keeps the pods that it had, and with them their names
        remove: list[PodRow] = []
        write: list[tuple[Pod, Entry]] = []
        blocked: set[PodKey] = set()
        for row in self.rows.values():
            if row.phase != REMOVING and not self._stays(row):
                remove.append(row)
        by_id = {entry.deployment.id: entry for entry in self.entries}
        for entry_id, pods in self.pods.items():
            entry = by_id[entry_id]
            for pod in pods:
                row_there = self.rows.get(pod.key)
                if row_there is None:
                    write.append((pod, entry))
                elif row_there.phase == REMOVING or row_there in remove:
                    blocked.add(pod.key)
        tasks = {each.deployment.id: self._task(each) for each in self.entries if each.state != DONE}
        return Plan(tasks, self.pods, self.faults, tuple(remove), tuple(write), frozenset(blocked))

    # --- what each owner wants

    def _read_all(self) -> None:
        for owner in self.owners.values():
            if owner and _runs_pods(owner):
                try:
                    self.pods[owner.deployment.id] = self.read_pods(owner)
                except PodError as error:
                    self.faults[owner.deployment.id] = error.faults

    def _refuse_conflicts(self) -> bool:
        """Two pods of one name: the one that is there stays, else the older deployment's; a foreign one always.

        Says whether anybody was refused.
        """
        refused = False
        foreign = {each.key: each.file for each in self.files.values() if each.key and not each.ours}
        claims: dict[PodKey, Entry] = {}
        owners = [owner for owner in self.owners.values() if owner and owner.deployment.id in self.pods]
        for entry in sorted(owners, key=self._precedence):
            faults = []
            for pod in self.pods[entry.deployment.id]:
                other = claims.get(pod.key)
                if other:
                    taken = f"deployment {other.deployment.identity} has a pod of that name"
                    faults.append(f"pod {pod.key}: {taken}; give one of them another metadata.name")
                elif other_row := self._held_by_another(pod.key, entry.deployment.identity):
                    faults.append(f"pod {pod.key}: deployment {other_row.identity} still has a pod of that name")
                elif pod.key in foreign:
                    faults.append(f"pod {pod.key}: the manifest {foreign[pod.key]}, which is not ours, has that name")
            if faults:
                self.faults[entry.deployment.id] = tuple(faults)
                del self.pods[entry.deployment.id]
                refused = True
                continue
            for pod in self.pods[entry.deployment.id]:
                claims[pod.key] = entry
        return refused

    def _held_by_another(self, key: PodKey, identity: Identity) -> PodRow | None:
        row = self.rows.get(key)
        return row if row and row.identity != identity and row.phase != REMOVING and self._stays(row) else None

    def _precedence(self, entry: Entry) -> tuple[bool, str, int]:
        identity = entry.deployment.identity
        holds = any(
            (row := self.rows.get(pod.key)) and row.identity == identity for pod in self.pods[entry.deployment.id]
        )
        return (not holds, entry.deployment.creation_time, entry.sequence)

    # --- what becomes of our manifests

    def _stays(self, row: PodRow) -> bool:
        owner = self.owners.get(row.identity)
        if owner is None:
            deleted = bool(self.by_identity.get(row.identity))
            return not deleted and row.source not in self.answered
        entry_id = owner.deployment.id
        if entry_id in self.pods:
            wanted = next((pod for pod in self.pods[entry_id] if pod.key == row.key), None)
            same = wanted is not None and wanted.content_hash == row.content_hash
            return same and not row.outgoing and self._intact(row)
        if entry_id in self.faults:
            return True  # what ran before goes on running
        # An action whose tool is another one, or that has no config at all, leaves the pods as they are.
        return owner.deployment.tool_missing or (owner.deployment.component and not owner.deployment.removes)

    def _intact(self, row: PodRow) -> bool:
        there = self.files.get(row.file)
        return there is not None and there.file_hash == row.file_hash

    # --- what answers each entry

    def _task(self, entry: Entry) -> Task:
        deployment = entry.deployment
        owner = self.owners[deployment.identity]
        if deployment.group in OS_APPLY_CONFIG_GROUPS and not deployment.component:
            return Task.APPLY_CONFIG
        if deployment.tool_missing and (deployment.action == "DELETE" or owner is entry):
            return Task.ANSWER_ONLY
        if deployment.action == "DELETE" and owner is not None:
            return Task.ANSWER_ONLY if deployment.group == KUBELET_GROUP else self._hook_task()
        if deployment.action != "DELETE" and owner is not entry:
            return Task.SUPERSEDED
        if deployment.removes and (deployment.group == KUBELET_GROUP or self._has_rows(deployment.identity)):
            return Task.REMOVE_PODS
        return Task.RUN_PODS if deployment.group == KUBELET_GROUP else self._hook_task()

    def _hook_task(self) -> Task:
        return Task.SUPERSEDED if self.kubelet_only else Task.RUN_HOOK

    def _has_rows(self, identity: Identity) -> bool:
        return any(row.identity == identity for row in self.rows.values())


def _runs_pods(entry: Entry) -> bool:
    deployment = entry.deployment
    return deployment.group == KUBELET_GROUP and not deployment.removes and not deployment.tool_missing
