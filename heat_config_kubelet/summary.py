"""The summary of the node's deployments under /run, which everybody may read; `status` without root shows it.

JSON, mode 0644, replaced as a whole: {"version", "written_at", "deployments": rows as `overview.DeploymentStatus`,
"pods": namespace/name of each of ours}.
Only states, times and counts are in it: no reasons and no answers, which are others' texts.
Written by `run` and by the loop. That it cannot be written stops neither.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from . import __version__
from .clock import Clock
from .errors import AgentError
from .log import Log
from .overview import DEGRADED, WELL, DeploymentStatus, moment, overview
from .settings import Settings
from .store import Entry, PodRow
from .values import PodStatus
from .whole_file import write_whole

_SECONDS_BETWEEN = 1.0
"""While much happens it is written no more often."""
_EVERYBODY = 0o755


@dataclasses.dataclass(frozen=True)
class Summary:
    """What was read."""

    written_at: str
    deployments: tuple[DeploymentStatus, ...]
    pods: tuple[str, ...]
    """Namespace and name of each pod of ours, for completion."""


class Summarizer:
    """Keeps the summary in step with what a process knows."""

    def __init__(self, settings: Settings, log: Log, clock: Clock) -> None:
        self._file = settings.summary_file
        self._log = log
        self._clock = clock
        self._seen: object = None
        self._written: object = None
        self._written_at = float("-inf")
        self._counts: dict[str, int | None] | None = None
        self._problem = ""

    def note(
        self,
        entries: Collection[Entry],
        rows: Sequence[PodRow],
        statuses: Mapping[str, PodStatus] | None,
        count: Callable[[Entry], int | None],
        *,
        at_once: bool = False,
    ) -> None:
        """Write it anew if it says something else than before, not before the next second unless `at_once`.

        `statuses` are the kubelet's pods by UID, None where they are not known: then what was said before of the
        pods of a deployment stays. `count` is as for `overview`.
        """
        self._seen = _essence(entries, rows, statuses)
        if self._seen == self._written or (self.pause(0.0) > 0.0 and not at_once):
            return
        self._write(overview(tuple(entries), rows, statuses, count=count, reasons=False), rows)
        self._written, self._written_at = self._seen, self._clock.steady()

    def pause(self, default: float) -> float:
        """Seconds until what was noted may be written; `default` where it is."""
        if self._seen == self._written:
            return default
        return max(0.0, self._written_at + _SECONDS_BETWEEN - self._clock.steady())

    def _write(self, found: Sequence[DeploymentStatus], pods: Sequence[PodRow]) -> None:
        if self._counts is None:
            self._counts = _counts_of(self._file)
        told = [self._public(each) for each in found]
        self._counts = {each.id: each.pods_ready for each in told}
        content = {
            "version": __version__,
            "written_at": moment(self._clock.wall()),
            "deployments": [dataclasses.asdict(each) for each in told],
            "pods": [str(row.key) for row in pods],
        }
        try:
            _share(self._file.parent)
            write_whole(self._file, json.dumps(content, indent=1).encode() + b"\n", mode=0o644)
        except OSError as error:
            if str(error) != self._problem:
                self._log.warning("summary not written", why=error)
            self._problem = str(error)

    def _public(self, row: DeploymentStatus) -> DeploymentStatus:
        ready = row.pods_ready
        if ready is None and row.pods_wanted is not None:
            ready = (self._counts or {}).get(row.id)
        health = DEGRADED if row.health == WELL and ready is not None and ready < (row.pods_wanted or 0) else row.health
        return dataclasses.replace(row, pods_ready=ready, health=health)


def read(file: Path) -> Summary:
    """Read a summary. Raises AgentError where there is none, or none of this release."""
    try:
        content = json.loads(file.read_bytes())
        rows = tuple(DeploymentStatus(**row) for row in content["deployments"])
        return Summary(str(content["written_at"]), rows, tuple(content["pods"]))
    except FileNotFoundError:
        raise AgentError(f"{file}: there is no summary", hint="it is written at the first metadata") from None
    except OSError as error:
        raise AgentError(f"{file}: {error.strerror or error}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise AgentError(
            f"{file}: is no summary of this release", hint="it is written anew at the next pass"
        ) from error


def _essence(
    entries: Collection[Entry], rows: Sequence[PodRow], statuses: Mapping[str, PodStatus] | None
) -> tuple[Any, ...]:
    """What the summary depends on, cheap to make and to compare: the loop does it at every step."""
    return (
        [(each.sequence, each.state, each.decided_at, each.signal, each.attempts) for each in entries],
        [(row.uid, row.phase) for row in rows],
        None if statuses is None else [statuses[row.uid].ready for row in rows if row.uid in statuses],
    )


def _counts_of(file: Path) -> dict[str, int | None]:
    try:
        return {each.id: each.pods_ready for each in read(file).deployments}
    except AgentError:
        return {}


def _share(folder: Path) -> None:
    """Make the folder, or mend its mode: everybody may look, whatever the umask."""
    folder.mkdir(parents=True, exist_ok=True, mode=_EVERYBODY)
    if folder.stat().st_mode & 0o555 != 0o555:
        folder.chmod(_EVERYBODY)
