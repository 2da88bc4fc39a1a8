"""The manifest directory: files of one pod, files that are ours and were changed, and files that hold no pod."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from ..errors import ManifestError, PodError
from ..manifest_dir import Found, ManifestDir
from ..pods import pods_of
from ..settings import Settings
from ..store import DONE, WRITTEN, Entry, PodRow
from ..values import KUBELET_GROUP, PodKey
from .finding import Finding, error, warning
from .node import Node


def manifests(node: Node) -> Iterator[Finding]:
    """Each pod is in one file, and ours are as we wrote them."""
    access = node.view.access
    if access is None:
        return
    try:
        files = ManifestDir(access.manifest_dir).scan()
    except ManifestError as problem:
        if isinstance(problem.__cause__, PermissionError):
            raise problem.__cause__ from problem
        yield error(
            f"manifest directory: {problem.message}",
            why="no pod can be written or removed",
            mend=problem.hint,
        )
        return
    yield from _several(access.manifest_dir, files)
    yield from _bad(access.manifest_dir, files)
    yield from _changed(access.manifest_dir, files, node.view.pod_rows)
    foreign = {found.key: found.file for found in files if found.key and not found.ours}
    for key, owner in _wanted(node.settings, node.view.live, foreign.keys()):
        yield error(
            f"{access.manifest_dir / foreign[key]}: holds pod {key}, which deployment {owner} wants; it is not ours",
            why="a file that is not ours is never changed: the deployment fails",
            mend=f"remove it: rm {access.manifest_dir / foreign[key]}, then update the stack; or give the pod another "
            "metadata.name in the template",
        )


def _several(folder: Path, files: Sequence[Found]) -> Iterator[Finding]:
    by_key: dict[PodKey, list[Found]] = {}
    for found in files:
        if found.key:
            by_key.setdefault(found.key, []).append(found)
    for key, same in by_key.items():
        if len(same) > 1:
            by_length = sorted(same, key=lambda found: (len(found.file), found.file))  # copies get longer names
            foreign = [found for found in by_length if not found.ours][0 if any(found.ours for found in same) else 1 :]
            names = ", ".join(found.file for found in same)
            yield error(
                f"{folder}: pod {key} is in {len(same)} files: {names}",
                why="the kubelet takes one of them, today this and tomorrow that: the pod may not be the one that "
                "Heat was told of",
                mend="remove the one too many, a copy perhaps: rm "
                + " ".join(str(folder / found.file) for found in foreign),
            )


def _bad(folder: Path, files: Sequence[Found]) -> Iterator[Finding]:
    for found in files:
        if found.key is None:
            yield warning(
                f"{folder / found.file}: holds no pod that can be read",
                why="the kubelet complains of it in its log again and again, and runs nothing of it",
                mend=f"remove it: rm {folder / found.file}",
            )


def _changed(folder: Path, files: Sequence[Found], rows: Iterable[PodRow]) -> Iterator[Finding]:
    """Ours as the store knows them beside what is there; what is being written or removed is left aside."""
    there = {found.file: found for found in files}
    for row in rows:
        found = there.get(row.file)
        if row.phase != WRITTEN or (found and found.file_hash == row.file_hash):
            continue
        yield error(
            f"{folder / row.file}: {'was changed' if found else 'was removed'} by somebody else; it is ours, pod "
            f"{row.key} of {row.identity}",
            why="what runs is not what Heat was told of",
            mend="have it written anew: heat-config-kubelet resume",
        )


def _wanted(settings: Settings, entries: Iterable[Entry], keys: Iterable[PodKey]) -> Iterator[tuple[PodKey, str]]:
    """Which of these pods live deployments want; none is read where there is nothing to compare with."""
    foreign = set(keys)
    if not foreign:
        return
    for entry in entries:
        deployment = entry.deployment
        failed = entry.state != DONE or (entry.result is not None and entry.result.status_code)
        if deployment.group != KUBELET_GROUP or deployment.removes or not failed:
            continue
        try:
            pods = pods_of(deployment.config, identity=deployment.identity, strict=False, node_name=settings.node_name)
        except PodError:
            continue
        for pod in pods:
            if pod.key in foreign:
                yield pod.key, str(deployment.identity)
