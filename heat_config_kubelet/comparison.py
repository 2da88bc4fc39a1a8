"""What is wanted, what was written and what runs, side by side: for `diff`.

Wanted is what the metadata's config gives (`wanted.py`, `plan.py`), written is the file in the kubelet's directory,
running is what the kubelet shows. Manifests are compared without the agent's marks.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from .errors import PodError
from .image_names import same_image
from .manifest_dir import MARK, Found
from .overview import why_not_ready
from .plan import Plan, make_plan, owner_of
from .secrets import Blanker
from .settings import Settings
from .store import REMOVING, Entry, PodRow
from .strict_yaml import documents
from .values import KUBELET_GROUP, Identity, Pod, PodKey, PodStatus
from .wanted import wanted_pods

WANTED, NOT_WANTED, KEPT = "wanted", "not wanted", "kept"
SAME, DIFFERS, MISSING = "same", "differs", "missing"
FOREIGN, ENDING, STARTING, UNKNOWN, NONE = "foreign", "ending", "starting", "unknown", "none"

_ANEW = '"heat-config-kubelet resume" has it written anew'


@dataclass(frozen=True)
class PodDifference:
    """A pod on its three sides."""

    pod: str
    """namespace/name, as the manifest gives it."""
    same: bool
    """Whether what runs is what was written, and what was written is what is wanted."""
    wanted: str
    """wanted, not wanted, kept (what was written before stays: the config cannot be run, or the action has none), or
    unknown: the store cannot be read."""
    written: str
    """same, differs, missing, foreign (the file of that name of a pod is not ours), none (rightly), or unknown."""
    running: str
    """same, differs, missing, starting, ending, none (rightly), or unknown: the kubelet cannot be asked."""
    file: str
    """The manifest's file name; empty where there is none."""
    uid: str
    """The UID with which it was written; empty where it was not."""
    why: tuple[str, ...]
    """What is missing on which side, and why."""
    text: str
    """The differences, as unified diffs of YAML; secrets are blanked. Empty where there are none to be shown."""


@dataclass(frozen=True)
class Difference:
    """A deployment's pods, wanted beside written beside running."""

    deployment: str
    """stack/resource."""
    id: str
    """The config's id, of the entry whose content the pods follow; empty where there is none."""
    action: str
    """That entry's action; empty where the metadata have none any more."""
    same: bool
    """Whether nothing differs."""
    why: tuple[str, ...]
    """What is to be said of the whole: why its config cannot be run, that it is no longer wanted."""
    pods: tuple[PodDifference, ...]
    """Each pod that is wanted or was written, by its name."""


@dataclass(frozen=True)
class Sides:
    """All that is looked at; a side that cannot be seen is None."""

    settings: Settings
    entries: Sequence[Entry]
    """Of the metadata, the vanished not among them."""
    rows: Sequence[PodRow]
    answered: frozenset[str]
    hook_mode: bool
    store_seen: bool
    files: Sequence[Found] | None
    content: Callable[[str], bytes]
    """Gives a manifest's bytes by its file's name; raises OSError."""
    running: Mapping[str, PodStatus] | None
    """By UID."""
    refusal: Callable[[str], str]
    """Why the kubelet refuses a file; empty where its log says nothing of it."""


def compare(sides: Sides) -> tuple[Difference, ...]:
    """Compare every deployment that has pods, or is to have some."""
    return _Comparison(sides).differences()


class _Comparison:
    def __init__(self, sides: Sides) -> None:
        self._sides = sides
        self._rows = {row.key: row for row in sides.rows}
        self._files = _Files(sides.files or ())
        self._plan = self._planned()
        self._going = {row.key for row in self._plan.remove}
        self._owners: dict[Identity, Entry | None] = {}
        for entry in sides.entries:
            identity = entry.deployment.identity
            if identity not in self._owners:
                self._owners[identity] = owner_of(e for e in sides.entries if e.deployment.identity == identity)

    def _planned(self) -> Plan:
        sides = self._sides
        return make_plan(
            tuple(sides.entries),
            tuple(sides.rows),
            tuple(sides.files or ()),
            sides.answered,
            lambda entry: wanted_pods(entry.deployment, sides.settings),
            kubelet_only=sides.hook_mode,
        )

    def differences(self) -> tuple[Difference, ...]:
        kubelets = [each for each, owner in self._owners.items() if owner and self._is_kubelets(owner)]
        identities = dict.fromkeys((*kubelets, *(row.identity for row in self._sides.rows), *self._files.own))
        return tuple(self._difference(identity) for identity in identities)

    def _is_kubelets(self, owner: Entry) -> bool:
        return owner.deployment.group == KUBELET_GROUP

    def _difference(self, identity: Identity) -> Difference:
        owner = self._owners.get(identity)
        entry_id = owner.deployment.id if owner else ""
        wanted, faults = self._wanted(owner)
        blanker = Blanker()
        for entry in self._sides.entries:
            if entry.deployment.identity == identity:
                blanker = blanker + Blanker.of(entry.deployment)
        keys: dict[PodKey, None] = dict.fromkeys(pod.key for pod in wanted or ())
        keys.update(dict.fromkeys(row.key for row in self._sides.rows if row.identity == identity))
        keys.update(dict.fromkeys(self._files.own.get(identity, {})))
        by_key = {pod.key: pod for pod in wanted or ()}
        pods = tuple(
            _PodComparison(
                self._sides, key, by_key.get(key), self._word(key, by_key, identity, wanted is None), identity, blanker
            ).difference(self._files, self._rows.get(key))
            for key in keys
        )
        if faults:  # what ran before goes on running: no side is wrong, but none is what is wanted
            pods = tuple(replace(pod, same=False) for pod in pods)
        why = [f"not written: {blanker.text(fault)}" for fault in faults]
        if faults and any(pod.uid for pod in pods):
            why.append("what was written before stays, and goes on running")
        if not owner and self._sides.store_seen:
            why.append("the metadata have no such deployment any more")
        elif owner and owner.deployment.removes:
            why.append(f"its action is {owner.deployment.action}: it wants no pods")
        return Difference(
            deployment=str(identity),
            id=entry_id,
            action=owner.deployment.action if owner else "",
            same=not faults and all(pod.same for pod in pods),
            why=tuple(why),
            pods=pods,
        )

    def _word(self, key: PodKey, wanted: Mapping[PodKey, Pod], identity: Identity, unknown: bool) -> str:
        if key in wanted:
            return WANTED
        row = self._rows.get(key)
        if row and row.identity == identity and row.phase != REMOVING and key not in self._going:
            return KEPT
        return UNKNOWN if unknown else NOT_WANTED

    def _wanted(self, owner: Entry | None) -> tuple[tuple[Pod, ...] | None, tuple[str, ...]]:
        """Give the pods that are wanted, None where nobody can say, and why they cannot be had."""
        if not self._sides.store_seen:
            return None, ()
        if owner is None:
            return (), ()
        entry_id = owner.deployment.id
        if entry_id not in self._plan.faults:
            return self._plan.pods.get(entry_id, ()), ()
        try:
            pods = wanted_pods(owner.deployment, self._sides.settings)
        except PodError:
            return None, self._plan.faults[entry_id]
        return pods, self._plan.faults[entry_id]  # refused for the name of another's pod


class _Files:
    """The directory's files: by name, ours by identity and pod, and the others by their pod."""

    def __init__(self, files: Iterable[Found]) -> None:
        self.by_name: dict[str, Found] = {}
        self.own: dict[Identity, dict[PodKey, Found]] = {}
        self.foreign: dict[PodKey, list[Found]] = {}
        for found in files:
            self.by_name[found.file] = found
            if found.key and found.mark and found.ours:
                self.own.setdefault(found.mark.identity, {})[found.key] = found
            elif found.key:
                self.foreign.setdefault(found.key, []).append(found)


class _PodComparison:
    """One pod; `word` says whether it is wanted."""

    def __init__(
        self,
        sides: Sides,
        key: PodKey,
        wanted: Pod | None,
        word: str,
        identity: Identity,
        blanker: Blanker,
    ) -> None:
        self._sides = sides
        self._key = key
        self._wanted = wanted
        self._word = word
        self._row: PodRow | None = None
        self._identity = identity
        self._blanker = blanker
        self._why: list[str] = []
        self._texts: list[str] = []

    def difference(self, files: _Files, row: PodRow | None) -> PodDifference:
        """Compare its sides; `row` is what the store knows of a manifest of its name, whose-ever."""
        self._row = row if row and row.identity == self._identity else None
        found = self._found(files)
        foreign = files.foreign.get(self._key, [])
        manifest = self._manifest(found) if found else None
        written = self._written(found, foreign, manifest)
        running = self._running(found, manifest)
        uid = found.mark.uid if found and found.mark else self._row.uid if self._row else ""
        text = "".join(self._texts)
        return PodDifference(
            pod=str(self._key),
            same=self._word != UNKNOWN and {written, running} <= {SAME, NONE},
            wanted=self._word,
            written=written,
            running=running,
            file=found.file if found else foreign[0].file if foreign else self._row.file if self._row else "",
            uid=uid,
            why=tuple(self._blanker.text(why) for why in self._why),
            text=text,
        )

    def _found(self, files: _Files) -> Found | None:
        if self._row:
            return files.by_name.get(self._row.file)
        return files.own.get(self._identity, {}).get(self._key)

    def _manifest(self, found: Found) -> dict[str, Any] | None:
        """Give a file's pod; None where it cannot be read as one."""
        try:
            content = self._sides.content(found.file).decode()
        except (OSError, UnicodeDecodeError) as error:
            self._why.append(f"written: {found.file} cannot be read: {error}")
            return None
        try:
            value = json.loads(content)
        except (ValueError, RecursionError):
            try:
                value = next(iter(documents(content)), None)
            except PodError as error:
                self._why.append(f"written: {found.file} is no pod: {error}")
                return None
        if not isinstance(value, dict):
            self._why.append(f"written: {found.file} is no pod")
            return None
        return value

    # --- wanted beside written

    def _written(self, found: Found | None, foreign: Sequence[Found], manifest: dict[str, Any] | None) -> str:
        if self._sides.files is None:
            return UNKNOWN
        if found is None:
            return self._not_written(foreign)
        changed = bool(self._row and self._row.file_hash and found.file_hash != self._row.file_hash)
        if changed or not found.ours:
            self._why.append(f"written: {found.file} was changed by hand since the agent wrote it; {_ANEW}")
        if self._word in (UNKNOWN, KEPT) and not changed:
            return SAME if self._word == KEPT else UNKNOWN
        if self._word in (UNKNOWN, KEPT):
            return DIFFERS
        if self._wanted is None:
            self._why.append(f"written: {found.file} is there, and the pod is not wanted any more")
            return DIFFERS
        outdated = found.mark is not None and found.mark.content_hash != self._wanted.content_hash
        if not changed and not outdated and found.ours:
            return SAME  # also where a newer release would write it otherwise: it does not, see `pods.content_hash`
        if outdated and not changed:
            self._why.append(f"written: {found.file} is of an older config")
        if manifest is not None:
            self._show("wanted", _plain(self._wanted.manifest), f"written: {found.file}", _plain(manifest))
        return DIFFERS

    def _not_written(self, foreign: Sequence[Found]) -> str:
        for each in foreign:
            self._why.append(f"written: the file {each.file}, which is not ours, has a pod of that name")
        if self._row and self._row.phase == REMOVING:
            self._why.append("written: its manifest was removed, its pod is being ended")
        if self._wanted is None and self._word != KEPT:
            return NONE
        if foreign:
            return FOREIGN
        if self._row and self._row.phase != REMOVING:
            self._why.append(f"written: the file {self._row.file} is missing, somebody has removed it; {_ANEW}")
        elif not self._row:
            self._why.append("written: there is no manifest of it")
        return MISSING

    def _show(self, left: str, one: Any, right: str, other: Any) -> None:
        blanked = [self._blanked(one), self._blanked(other)]
        if blanked[0] != blanked[1]:
            self._texts.append(_diff(left, blanked[0], right, blanked[1]))
        elif one != other:
            self._why.append(f"{right.split(':')[0]}: it differs in a value that is secret")
        else:
            self._why.append(f"{right.split(':')[0]}: it differs in its form alone")

    def _blanked(self, value: Any) -> Any:
        return (self._blanker + Blanker.pairs(value)).value(value)

    # --- written beside running

    def _running(self, found: Found | None, manifest: dict[str, Any] | None) -> str:
        running = self._sides.running
        if running is None:
            return UNKNOWN
        uid = found.mark.uid if found and found.mark else self._row.uid if self._row else ""
        status = running.get(uid)
        if found is None:
            return self._without_file(status)
        if status is None:
            told = self._sides.refusal(found.file)
            self._why.append(
                f"running: not there: the kubelet refuses {found.file}: {told}"
                if told
                else "running: not there: the kubelet does not show it"
            )
            self._say_others(uid)
            return MISSING
        if not any(each.container_id for each in status.containers):
            self._why.append(f"running: not yet: {why_not_ready(status)}")
            return STARTING
        return self._beside(status, manifest) if manifest is not None else UNKNOWN

    def _without_file(self, status: PodStatus | None) -> str:
        if status is None:
            if self._word in (WANTED, KEPT):
                self._why.append("running: not there")
                return MISSING
            return ENDING if self._row and self._row.phase == REMOVING else NONE
        self._why.append("running: still there, without a file")
        return ENDING

    def _say_others(self, uid: str) -> None:
        name = f"{self._key.name}-{self._sides.settings.node_name}"
        for status in (self._sides.running or {}).values():
            if status.uid != uid and (status.namespace, status.name) == (self._key.namespace, name):
                self._why.append(f"running: a pod of that name with another UID, {status.uid}")

    def _beside(self, status: PodStatus, manifest: dict[str, Any]) -> str:
        """Compare what the kubelet tells of a pod with its manifest: the containers, and their images."""
        wanted = _containers(manifest)
        runs: dict[bool, dict[str, str]] = {True: {}, False: {}}
        for each in status.containers:
            image = wanted[each.init].get(each.name, "")
            same = not each.container_id or same_image(image, each.image)
            runs[each.init][each.name] = image if same else each.image
        if wanted == runs:
            return SAME
        self._why.append("running: not the containers and images that were written")
        self._texts.append(_diff("written", self._blanked(_named(wanted)), "running", self._blanked(_named(runs))))
        return DIFFERS


def _containers(manifest: Mapping[str, Any]) -> dict[bool, dict[str, str]]:
    """Give the images of a pod's init containers (True) and containers (False) by their names."""
    spec = manifest.get("spec")
    found: dict[bool, dict[str, str]] = {True: {}, False: {}}
    for init, part in ((True, "initContainers"), (False, "containers")):
        given = spec.get(part) if isinstance(spec, Mapping) else None
        for each in given if isinstance(given, list) else []:
            if isinstance(each, Mapping):
                found[init][str(each.get("name"))] = str(each.get("image") or "")
    return found


def _named(containers: Mapping[bool, Mapping[str, str]]) -> dict[str, Mapping[str, str]]:
    named = {"initContainers": containers[True], "containers": containers[False]}
    return {name: each for name, each in named.items() if each}


def _plain(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Give a manifest without what the agent adds to it."""
    plain = {"apiVersion": "v1", "kind": "Pod", **manifest}
    metadata = plain.get("metadata")
    if isinstance(metadata, Mapping):
        metadata = {name: value for name, value in metadata.items() if name != "uid"}
        annotations = metadata.pop("annotations", None)
        if isinstance(annotations, Mapping):
            kept = {name: value for name, value in annotations.items() if not str(name).startswith(MARK)}
            metadata.update({"annotations": kept} if kept else {})
        plain["metadata"] = metadata
    return plain


def _diff(left: str, one: Any, right: str, other: Any) -> str:
    lines: Iterable[str] = difflib.unified_diff(_yaml(one), _yaml(other), left, right, lineterm="")
    return "".join(f"{line}\n" for line in lines)


def _yaml(value: Any) -> list[str]:
    import yaml

    return str(yaml.safe_dump(value, allow_unicode=True, width=1000)).splitlines()
