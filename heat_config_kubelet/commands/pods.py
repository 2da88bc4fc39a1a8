"""`pods`: every pod of the node, ours and others': how it is, whose it is, and from which file."""

from __future__ import annotations

import argparse
import contextlib
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from .. import settings as settings_module
from ..manifest_dir import Found
from ..overview import is_ready, why_not_ready
from ..store import REMOVING, PodRow
from ..values import Identity, PodKey, PodStatus
from .console import FAINT, GREEN, RED, YELLOW, Column, Console, duration, one_line, remark, seconds_since
from .node_view import NodeView

OURS, FOREIGN, NO_FILE = "deployment", "foreign", "none"
"""Of `PodOnNode.owner_kind`."""
_PARTS = ("kubelet", "runtime", "manifests")
"""Without these it cannot be said what runs."""
_CONFIG_SOURCE = "kubernetes.io/config.source"
"""The kubelet's annotation that says where a pod's manifest came from: file, http or api (pkg/kubelet/types)."""


@dataclass(frozen=True)
class PodOnNode:
    """One pod of the node as `heat-config-kubelet pods` shows it."""

    namespace: str
    """Its namespace."""
    name: str
    """Its name as the manifest gives it; the kubelet adds "-" and the node's name."""
    uid: str
    """Its UID; empty for a foreign manifest whose pod the kubelet does not show."""
    phase: str
    """The kubelet's: Pending, Running, Succeeded, Failed; "not shown" where it does not know the pod, "unknown" where
    it does not answer."""
    ready: bool | None
    """Whether it is ready now or has ended well; null where nobody knows."""
    containers_ready: int
    """How many of its containers are ready, without init containers."""
    containers: int
    """How many containers it has, without init containers."""
    restarts: int
    """How often its containers were started again."""
    started: str | None
    """When the kubelet took it up, as RFC 3339 in UTC."""
    owner_kind: str
    """Whose it is: deployment, foreign (somebody else's file), none (no file of the directory)."""
    owner: str
    """The deployment, as stack/resource; empty where it is none's."""
    file: str
    """Its manifest in the kubelet's directory; empty where there is none."""
    ip: str
    """Its address."""
    images: list[str]
    """The images of its containers."""
    reason: str
    """Why it is not ready, in one line."""


def main(given: argparse.Namespace) -> int:
    """Show them; gives the exit status."""
    view = NodeView(settings_module.load(given.settings))
    console = Console.standard()
    rows = sorted(_rows(view), key=lambda row: (row.owner_kind != OURS, row.namespace, row.name))
    console.show(rows, COLUMNS, given.output, empty="no pods")
    if given.output in ("table", "wide"):
        said = [f"{row.namespace}/{row.name}: {row.reason}" for row in rows if row.reason]
        said += [f"{found.file}: holds no pod that can be read" for found in view.manifests if found.key is None]
        if said:
            console.write("\n" + "\n".join(one_line(text) for text in said))
    unseen = [why for part, why in view.problems.items() if part in _PARTS]
    for why in unseen:
        remark(why)
    if view.store_error:
        remark(view.store_error.message, view.store_error.hint)
    view.close()
    return 1 if unseen else 0


def _rows(view: NodeView) -> Iterator[PodOnNode]:
    """Files first, each with the pod that the kubelet has of it; then the pods that no file explains."""
    left = dict(view.by_uid or {})
    rows = {row.uid: row for row in view.pod_rows}
    for found in view.manifests:
        if found.key is None:
            continue
        status = _of_file(found, found.key, left, view.settings.node_name)
        if status:
            del left[status.uid]
        identity = found.mark.identity if found.ours and found.mark else None
        yield _row(found, status, identity, view)
    for uid, status in left.items():
        yield _row(None, status, _being_removed(rows.get(uid)), view)


def _of_file(found: Found, key: PodKey, statuses: Mapping[str, PodStatus], node: str) -> PodStatus | None:
    """The kubelet's pod of a file: by the UID that we gave it, or by the name that the kubelet gives it."""
    if found.ours and found.mark:
        return statuses.get(found.mark.uid)
    wanted = (key.namespace, f"{key.name}-{node}")
    return next((each for each in statuses.values() if (each.namespace, each.name) == wanted), None)


def _being_removed(row: PodRow | None) -> Identity | None:
    return row.identity if row and row.phase == REMOVING else None


def _row(found: Found | None, status: PodStatus | None, identity: Identity | None, view: NodeView) -> PodOnNode:
    key = found.key if found else None
    mains = [each for each in status.containers if not each.init] if status else []
    name = status.name.removesuffix(f"-{view.settings.node_name}") if status else ""
    silent = view.by_uid is None
    uid = status.uid if status else found.mark.uid if found and found.mark else ""
    reason = ""
    if not silent and not is_ready(status):
        reason = _blanked(why_not_ready(status), found, view)
    if identity and found is None:
        reason = "its manifest is removed, it is being ended" + (f"; {reason}" if reason else "")
    return PodOnNode(
        namespace=key.namespace if key else status.namespace if status else "",
        name=key.name if key else name,
        uid=uid,
        phase=status.phase if status else "unknown" if silent else "not shown",
        ready=None if silent else is_ready(status),
        containers_ready=sum(each.ready for each in mains),
        containers=len(mains),
        restarts=sum(each.restart_count for each in status.containers) if status else 0,
        started=status.start_time or None if status else None,
        owner_kind=OURS if identity else FOREIGN if found else NO_FILE,
        owner=str(identity) if identity else "",
        file=str(view.access.manifest_dir / found.file) if found and view.access else "",
        ip=status.pod_ip if status else "",
        images=[each.image for each in mains],
        reason=reason,
    )


def _blanked(text: str, found: Found | None, view: NodeView) -> str:
    """The kubelet's words without the secrets of the pod's manifest, which may be foreign, and of deployments."""
    from ..manifest_dir import parsed
    from ..secrets import Blanker

    blanker = view.blanker
    if found and view.access:
        with contextlib.suppress(OSError):
            blanker = blanker + Blanker.pairs(parsed((view.access.manifest_dir / found.file).read_bytes()))
    return one_line(blanker.text(text))


def _owner(row: PodOnNode) -> str:
    return {OURS: row.owner, FOREIGN: "(foreign file)"}.get(row.owner_kind, "(no file)")


def _colour(row: PodOnNode) -> str:
    if row.ready is None:
        return YELLOW
    return GREEN if row.ready else RED if row.phase == "Failed" else YELLOW


COLUMNS = (
    Column[PodOnNode]("POD", lambda row: f"{row.namespace}/{row.name}", may_shrink=True),
    Column[PodOnNode]("PHASE", lambda row: row.phase, colour=_colour),
    Column[PodOnNode](
        "READY", lambda row: f"{row.containers_ready}/{row.containers}" if row.containers else "-", colour=_colour
    ),
    Column[PodOnNode]("RESTARTS", lambda row: str(row.restarts)),
    Column[PodOnNode]("AGE", lambda row: duration(seconds_since(row.started, time.time())) if row.started else "-"),
    Column[PodOnNode]("OWNER", _owner, may_shrink=True),
    Column[PodOnNode]("FILE", lambda row: Path(row.file).name or "-", colour=lambda _: FAINT, may_shrink=True),
    Column[PodOnNode]("IP", lambda row: row.ip or "-", wide=True),
    Column[PodOnNode]("UID", lambda row: row.uid or "-", wide=True),
    Column[PodOnNode]("IMAGES", lambda row: ",".join(row.images) or "-", wide=True),
)
