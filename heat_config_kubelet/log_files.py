"""Containers' logs in the files that the runtime writes for the kubelet: what is left when the kubelet cannot be asked.

Where they are: <podLogsDir>/<namespace>_<pod>_<uid>/<container>/<restarts>.log (kubernetes/kubernetes
pkg/kubelet/kuberuntime/helpers.go, BuildPodLogsDirectory); what was rotated beside it as <restarts>.log.<time>, in time
with .gz (pkg/kubelet/logs/container_log_manager.go). A line: "<time> stdout|stderr <tags> <text>", where the first tag
is P for a part of a line and F for its end (pkg/kubelet/kuberuntime/logs/logs.go, parseCRILog).
"""

from __future__ import annotations

import gzip
import re
import zlib
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

_FILE = re.compile(r"(?P<run>\d+)\.log(?P<rotated>\.[\w-]+)?(?P<packed>\.gz)?")


@dataclass(frozen=True)
class PodLogs:
    """The logs of one creation of a pod."""

    namespace: str
    name: str
    """With the node's name at its end, as the kubelet calls it."""
    uid: str
    folder: Path

    def containers(self) -> tuple[str, ...]:
        """The containers that have written something; none where the folder cannot be read."""
        return tuple(path.name for path in _entries(self.folder) if path.is_dir())


def pods(folder: Path) -> tuple[PodLogs, ...]:
    """Give the pods whose logs are below the kubelet's `podLogsDir`. Raises OSError where it cannot be read."""
    found = []
    for path in sorted(folder.iterdir()):
        parts = path.name.split("_")  # the names hold no "_" (RFC 1123), nor does a UID
        if len(parts) == 3 and path.is_dir():
            found.append(PodLogs(parts[0], parts[1], parts[2], path))
    return tuple(found)


def files(folder: Path, *, previous: bool = False) -> list[Path]:
    """Give the files of a container's last run, the oldest first; with `previous` of the run before; [] for none."""
    runs: dict[int, list[tuple[str, Path]]] = {}
    for path in _entries(folder):
        known = _FILE.fullmatch(path.name)
        if known:
            runs.setdefault(int(known["run"]), []).append((known["rotated"] or "~", path))  # "~" is behind all times
    wanted = sorted(runs)[-2:-1] if previous else sorted(runs)[-1:]
    return [path for run in wanted for _, path in sorted(runs[run])]


def lines(paths: Iterable[Path], tail: int | None = None) -> Iterator[bytes]:
    """Give the lines that a container wrote, without their ends: the last `tail`, all without it.

    Raises OSError where a file cannot be read; one that is packed and damaged is given as far as it goes.
    """
    if tail is None:
        yield from Joiner().joined(raw for path in paths for raw in _raw(path))
        return
    chosen: list[list[bytes]] = []
    whole = 0
    for path in reversed(list(paths)):
        if whole > tail:  # one more, as a line may have begun in the file before
            break
        chosen.insert(0, list(_raw(path)))
        whole += sum(_tag(raw) != b"P" for raw in chosen[0])
    yield from deque(Joiner().joined(raw for part in chosen for raw in part), maxlen=tail)


class Joiner:
    """Joins the parts of long lines; those of both streams may lie between one another."""

    def __init__(self) -> None:
        self._begun: dict[bytes, bytes] = {}

    def joined(self, raw_lines: Iterable[bytes]) -> Iterator[bytes]:
        """Give the whole lines among these; what is begun waits for the next ones."""
        for raw in raw_lines:
            parts = raw.rstrip(b"\n").split(b" ", 3)
            if len(parts) < 4:
                yield raw.rstrip(b"\n")  # not ours to hide
                continue
            _, stream, _, text = parts
            self._begun[stream] = self._begun.get(stream, b"") + text
            if _tag(raw) != b"P":
                yield self._begun.pop(stream)


def _tag(raw: bytes) -> bytes:
    return (raw.split(b" ", 3)[2:3] or [b""])[0].split(b":")[0]


def _raw(path: Path) -> Iterator[bytes]:
    if path.suffix != ".gz":
        with path.open("rb") as stream:
            yield from stream
        return
    try:
        with gzip.open(path) as packed:
            yield from packed
    except (EOFError, gzip.BadGzipFile, zlib.error):
        return


class Follower:
    """What is added to a container's log, over rotations and restarts of the container."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._path: Path | None = None
        self._stream: BinaryIO | None = None
        self._inode = 0
        self._half = b""
        self._joiner = Joiner()

    def skip(self) -> None:
        """Pass over all that there is now."""
        for _ in self.added():
            pass

    def added(self) -> Iterator[bytes]:
        """Give the lines that were added since the last time, without their ends. Raises OSError."""
        yield from self._rest()
        while self._moved():
            yield from self._rest()

    def _rest(self) -> Iterator[bytes]:
        if self._stream is None:
            return
        raw = (self._half + self._stream.read()).split(b"\n")
        self._half = raw.pop()
        yield from self._joiner.joined(raw)

    def _moved(self) -> bool:
        """Go on to the file that is written now, if it is another one."""
        there = files(self._folder)
        if not there:
            return False
        state = there[-1].stat()
        if (there[-1], state.st_ino) == (self._path, self._inode):
            return False
        self.close()
        self._path, self._inode = there[-1], state.st_ino
        self._stream = self._path.open("rb")
        return True

    def close(self) -> None:
        """Let go of the file."""
        if self._stream:
            self._stream.close()
            self._stream = None


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError:
        return []
