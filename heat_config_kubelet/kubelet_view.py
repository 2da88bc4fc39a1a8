"""What the loop knows of the kubelet: the pods it shows, why it shows none, and its own words about one.

Asks it no more often than needed, and makes sure that it runs when it does not answer.
"""

from __future__ import annotations

from collections.abc import Iterable

from .clock import Clock
from .errors import KubeletError, KubeletRefusedError
from .kubelet_api import KubeletApi
from .kubelet_log import KubeletLog, LogPosition, pod_trouble, probe_failure, refusal
from .kubelet_service import KubeletService, ServiceState
from .log import Log
from .manifest_dir import ManifestDir
from .status import Pace
from .store import PodRow
from .values import PodStatus

_LOG_SECONDS = 0.5
_LOG_LINES = 20000
_PROBE_LINES = 2000
"""Probes fail again and again: the last time is not far from the log's end."""
_PERIODS_OF_A_LOOK = 6.0
"""Looks are no closer than so many times as long as one takes: a slow machine is left to its pods."""
_SILENT_PAUSE = 0.5


class KubeletView:
    """The loop's eyes. `statuses` are the pods by UID as they were at the last look.

    `fatal` is why waiting is of no use, `silent` whether the last look had no answer. `broken` is empty unless
    nothing is known of this node's kubelet: then it says why.
    """

    def __init__(
        self,
        api: KubeletApi,
        kubelet_log: KubeletLog,
        service: KubeletService,
        directory: ManifestDir,
        log: Log,
        *,
        clock: Clock,
        broken: str = "",
    ) -> None:
        self._api = api
        self._log_file = kubelet_log
        self._service = service
        self._directory = directory
        self._log = log
        self._clock = clock
        self.broken = broken
        self._pace = Pace()
        self._looked_at = float("-inf")
        self._lines: list[str] = []
        self._position: LogPosition | None = None
        self._read_at = float("-inf")
        self._marks: dict[str, int] = {}
        self._dropped = 0
        self._bound = 1.0
        self._took = 0.0
        self.statuses: dict[str, PodStatus] = {}
        self.fatal = broken
        self.silent = False
        self._problem = ""

    # --- pods

    def look(self) -> None:
        """Ask the kubelet for its pods now; where it does not answer, make sure that it runs."""
        if self.broken:
            return
        self._looked_at = self._clock.steady()
        try:
            pods = self._api.pods()
            self._took = self._clock.steady() - self._looked_at
        except KubeletRefusedError as error:
            self._not_answered(fatal=str(error))
        except KubeletError as error:
            report = self._service.ensure()
            failed = report.state is ServiceState.FAILED
            self._not_answered(fatal=report.reason if failed else "", problem=report.reason or str(error))
        else:
            self.fatal, self._problem, self.silent = "", "", False
            statuses = {pod.uid: pod for pod in pods}
            self._pace.note(statuses != self.statuses, self._looked_at)
            self.statuses = statuses

    def _not_answered(self, *, fatal: str, problem: str = "") -> None:
        if not self.silent or fatal != self.fatal:
            self._log.warning("kubelet does not answer", why=fatal or problem)
        self.fatal, self._problem, self.silent = fatal, fatal or problem, True
        self.statuses = {}  # what it showed before is no longer known to be so

    def look_if_due(self, poll_period: float) -> None:
        """Look unless the last look is recent enough; `poll_period` bounds the pause in seconds."""
        self._bound = poll_period
        if self.pause() <= 0.0:
            self.look()

    def pause(self) -> float:
        """Seconds until the next look is due."""
        if self.silent:
            period = _SILENT_PAUSE
        else:
            period = self._pace.period(self._clock.steady(), self._bound)
            period = max(period, min(_PERIODS_OF_A_LOOK * self._took, self._bound))
        return max(0.0, self._looked_at + period - self._clock.steady())

    def visible(self) -> frozenset[str] | None:
        """The UIDs that the kubelet showed, or None where it did not answer."""
        return None if self.silent or self.broken else frozenset(self.statuses)

    # --- its own words

    def before_writing(self) -> None:
        """Read the kubelet's log up to now: what it says of manifests written next comes after this."""
        self._read_log()

    def wrote(self, rows: Iterable[PodRow]) -> None:
        """Note manifests that were just written: something is about to change."""
        for row in rows:
            self._marks[row.uid] = self._dropped + len(self._lines)
        self._pace.note(True, self._clock.steady())

    def explain(self, row: PodRow, status: PodStatus | None) -> tuple[str, str]:
        """Give the kubelet's reason for refusing a manifest, and what keeps its pod from starting; "" where none."""
        if self.silent:
            return "", self._problem
        if status is not None and status.sandbox_ready is not False:
            return "", ""
        if self._clock.steady() - self._read_at >= _LOG_SECONDS:
            self._read_log()
        lines = self._lines[max(0, self._marks.get(row.uid, 0) - self._dropped) :]
        if status is None:
            return refusal(lines, self._directory.folder / row.file), ""
        return "", pod_trouble(lines, row.uid, status.name)

    def probe_failure(self, row: PodRow, container: str) -> str:
        """Give what the latest failed probe of a container said; "" where the kubelet's log does not tell."""
        return probe_failure(self._log_file.last(_PROBE_LINES), row.uid, container)

    def _read_log(self) -> None:
        self._read_at = self._clock.steady()
        if self._position is None:
            self._position = self._log_file.position()
        else:
            lines, self._position = self._log_file.read(self._position)
            self._lines += lines
        surplus = len(self._lines) - _LOG_LINES
        if surplus > 0:
            del self._lines[:surplus]
            self._dropped += surplus

    def container_log(self, status: PodStatus, container: str, lines: int) -> str:
        """Give a container's last lines under a heading, or why they cannot be had."""
        heading = f"--- last lines of container {container} in {status.namespace}/{status.name}:"
        try:
            text = self._api.last_words(status.namespace, status.name, container, tail=lines)
        except KubeletError as error:
            return f"{heading} not to be had: {error}"
        return f"{heading}\n{text.rstrip()}" if text.strip() else f"{heading} none"
