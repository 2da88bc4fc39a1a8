"""Reads the kubelet's own log, the only place where some faults of static pods show at all.

From a file or the systemd journal; then pure functions find in its lines why a manifest was refused,
what keeps a pod from starting, and why the kubelet itself does not run.
Messages: kubernetes/kubernetes pkg/kubelet/config/file.go and file_linux.go (manifests), pkg/kubelet/pod_workers.go,
pkg/volume/util/operationexecutor (mounts), pkg/kubelet/kuberuntime/kuberuntime_sandbox.go,
pkg/kubelet/prober/prober.go, as of 1.35 to 1.37.
Not for: containers' logs (`kubelet_api.py`).
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from .settings import Settings

MOST_BYTES = 1 << 20
"""No more than so much of the log is read at once: its end. What matters is said again and again."""
MOST_LINES = 4000
"""The same for the journal."""
_SECONDS = 20.0


def run_text(command: Sequence[str]) -> str:
    """Run a command and give what it writes; empty where it is missing, fails to start or takes too long."""
    try:
        done = subprocess.run(
            list(command), stdin=subprocess.DEVNULL, capture_output=True, timeout=_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.decode("utf-8", "replace")


@dataclass(frozen=True)
class LogPosition:
    """A place in the kubelet's log; what is written later comes after it."""

    inode: int = 0
    offset: int = 0
    cursor: str = ""
    """The journal's own name for a place; empty for a file."""

    def __str__(self) -> str:
        """One word that `parse` reads again, for the store."""
        return self.cursor or f"{self.inode}:{self.offset}"

    @classmethod
    def parse(cls, text: str) -> LogPosition:
        """Read what `str` has given; anything else is the log's beginning."""
        plain = re.fullmatch(r"(\d+):(\d+)", text)
        return cls(int(plain[1]), int(plain[2])) if plain else cls(cursor=text)


class KubeletLog:
    """The kubelet's log of this node: `file` where one is given, else the journal of the unit.

    `run` takes a command and gives its output, as `run_text` does.
    """

    def __init__(self, *, file: Path | None, unit: str = "", run: Callable[[Sequence[str]], str] = run_text) -> None:
        self.file = file
        self.unit = unit
        self._run = run

    @classmethod
    def of(cls, settings: Settings, *, run: Callable[[Sequence[str]], str] = run_text) -> KubeletLog:
        """Give the log that the settings name."""
        return cls(file=settings.kubelet_log, unit=settings.kubelet_unit, run=run)

    def position(self) -> LogPosition:
        """Give the log's end as of now; the beginning where there is no log yet. Raises nothing."""
        if self.file is None:
            return LogPosition(cursor=_cursor(self._run(self._journalctl("--lines=0"))))
        try:
            state = self.file.stat()
        except OSError:
            return LogPosition()
        return LogPosition(state.st_ino, state.st_size)

    def read(self, position: LogPosition) -> tuple[tuple[str, ...], LogPosition]:
        """Give the whole lines written after `position`, oldest first, and the position after them.

        Where they are very many (MOST_BYTES, MOST_LINES), the last of them. A file that was cut or replaced
        meanwhile is read from its beginning, the replaced one's rest before it where it lies beside as `<file>.1`.
        Raises nothing: a log that cannot be read has no lines.
        """
        if self.file is not None:
            return _read_file(self.file, position)
        after = (f"--after-cursor={position.cursor}",) if position.cursor else ("--boot",)
        told = self._run(self._journalctl(*after, f"--lines={MOST_LINES}"))
        lines = tuple(line for line in _split(told) if not line.startswith("-- "))
        return lines, LogPosition(cursor=_cursor(told) or position.cursor)

    def lines_since(self, position: LogPosition) -> tuple[str, ...]:
        """Give what `read` gives, without the new position."""
        return self.read(position)[0]

    def last(self, count: int) -> tuple[str, ...]:
        """Give the last `count` lines that are in the log now, for `last_lines` to choose from. Raises nothing."""
        if self.file is not None:
            return _read_file(self.file, LogPosition())[0][-count:]
        told = self._run(self._journalctl(f"--lines={count}"))
        return tuple(line for line in _split(told) if not line.startswith("-- "))

    def _journalctl(self, *more: str) -> tuple[str, ...]:
        return ("journalctl", "--unit", self.unit, "--output=cat", "--quiet", "--no-pager", "--show-cursor", *more)


def _cursor(told: str) -> str:
    found = re.findall(r"^-- cursor: (\S+)", told, re.MULTILINE)
    return found[-1] if found else ""


def _read_file(file: Path, position: LogPosition) -> tuple[tuple[str, ...], LogPosition]:
    former = b""
    try:
        with file.open("rb") as handle:
            state = os.fstat(handle.fileno())
            same = position.inode in (0, state.st_ino) and position.offset <= state.st_size
            if not same:
                former = _rest_of_former(file, position)
            start = max(position.offset if same else 0, state.st_size - MOST_BYTES)
            handle.seek(start)
            content = handle.read(state.st_size - start)
    except OSError:
        return (), position
    whole = content[: content.rfind(b"\n") + 1]
    lines = _split((former + whole).decode("utf-8", "replace"))
    return lines, LogPosition(state.st_ino, start + len(whole))


def _split(text: str) -> tuple[str, ...]:
    """Divide at line feeds alone: messages may hold the other characters at which `splitlines` divides."""
    return tuple(line for line in text.split("\n") if line)


def _rest_of_former(file: Path, position: LogPosition) -> bytes:
    former = file.with_name(file.name + ".1")
    try:
        with former.open("rb") as handle:
            if os.fstat(handle.fileno()).st_ino != position.inode:
                return b""
            handle.seek(position.offset)
            return handle.read(MOST_BYTES)
    except OSError:
        return b""


@dataclass(frozen=True)
class Record:
    """One entry of the log: klog's text or JSON format; `values` are its key="value" pairs, unescaped."""

    severity: str
    """I, W, E or F; empty for a line that is not klog's."""
    message: str
    values: dict[str, str]

    @property
    def text(self) -> str:
        """Message and error together, for a person."""
        error = self.values.get("err", "")
        return f"{self.message}: {error}" if error and self.message else error or self.message


_KLOG = re.compile(r"^([IWEF])\d{4} \d\d:\d\d:\d\d\.\d+ +\d+ [^ \]]+\] (.*)$", re.DOTALL)
_QUOTED = r'"(?:[^"\\]|\\.)*"'
_PAIR = re.compile(rf'([\w./-]+)=({_QUOTED}|<\n(?:\t[^\n]*\n)* ?>|\{{[^}}]*\}}|\[[^\]]*\]|[^\s"]+)')
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", '"': '"', "\\": "\\"}


def records(lines: Iterable[str]) -> Iterator[Record]:
    """Read log lines into entries; a value over several lines (`err=<`, tabs, ` >`) is one entry's."""
    for text in _joined(lines):
        if text.startswith("{"):
            yield _json_record(text)
            continue
        head = _KLOG.match(text)
        if not head:
            yield Record("", text, {})
            continue
        body = head[2]
        quoted = re.match(_QUOTED, body)
        rest = body[quoted.end() :] if quoted else ""
        values = {key: _plain_value(value) for key, value in _PAIR.findall(rest)}
        yield Record(head[1], _unquoted(quoted[0]) if quoted else body, values)


def _joined(lines: Iterable[str]) -> Iterator[str]:
    open_lines: list[str] = []
    for line in lines:
        if open_lines:
            open_lines.append(line)
            if line.startswith(" >") or not line.startswith("\t"):
                yield "\n".join(open_lines)
                open_lines = []
        elif line.endswith("=<"):
            open_lines.append(line)
        else:
            yield line
    if open_lines:
        yield "\n".join(open_lines)


def _json_record(text: str) -> Record:
    """Read an entry of `logging.format: json`; one that is none is given as it is."""
    try:
        values = json.loads(text)
        return Record(
            "E" if "err" in values else "I",
            str(values.pop("msg", "")),
            {str(key): value if isinstance(value, str) else json.dumps(value) for key, value in values.items()},
        )
    except (ValueError, AttributeError):
        return Record("", text, {})


def _plain_value(value: str) -> str:
    if value.startswith('"'):
        return _unquoted(value)
    if value.startswith("<\n"):
        return "\n".join(line.removeprefix("\t") for line in value.split("\n")[1:-1])
    return value


def _unquoted(text: str) -> str:
    """Undo Go's %q."""
    if not text.startswith('"'):
        return text
    return re.sub(r"\\(.)", lambda found: _ESCAPES.get(found[1], found[0]), text[1:-1])


_REFUSING = ("Unable to process watch event", "Could not process manifest file", "Can't process manifest file")


def refusal(lines: Iterable[str], manifest_file: Path) -> str:
    """Give the kubelet's latest reason for refusing this file, or "" where it says none.

    The document itself, which some messages repeat and which may hold secrets, is left out.
    """
    path = str(manifest_file)
    found = ""
    for record in records(_about(lines, path)):
        error = record.values.get("err", "")
        named = record.values.get("path") == path or error.startswith(f'can\'t process config file "{path}"')
        if named and record.message.startswith(_REFUSING):
            found = _cleaned_refusal(error, path)
    return found


def _about(lines: Iterable[str], *words: str) -> Iterator[str]:
    """Choose the lines that hold one of the words, and those that may belong to an entry over several lines."""
    return (
        line
        for line in lines
        if line.startswith((" ", "\t")) or line.endswith("=<") or any(word in line for word in words)
    )


def _cleaned_refusal(error: str, path: str) -> str:
    text = error.removeprefix(f'can\'t process config file "{path}": ').removeprefix(f"{path}: ")
    inner = re.fullmatch(r"couldn't parse as pod\((.*)\), please check config file", text, re.DOTALL)
    text = inner[1] if inner else text
    text = re.sub(r"^(Object '\w+' is missing) in '.*$", r"\1", text, flags=re.DOTALL)
    text = re.sub(r"^invalid pod: &\w+\.(\w+)\{.*$", r"not a v1 Pod but a \1", text, flags=re.DOTALL)
    text = re.sub(r", regex used for validation is '[^']*'", "", text)
    faults = re.fullmatch(r"invalid pod: \[(.*)\]", text, re.DOTALL)
    return f"invalid pod: {faults[1]}" if faults else text


_STARTING = re.compile(
    r"MountVolume|MountDevice|WaitForAttach|unmounted volumes|CreatePodSandbox|Failed to create sandbox"
    r"|network is not ready|cgroups? exist|pod data directories|mount volumes|process volumes",
)


def pod_trouble(lines: Iterable[str], uid: str, pod_name: str) -> str:
    """Give the latest reason why a pod has no volumes, sandbox or network yet, or "" where none is logged.

    `pod_name` is the kubelet's name for it, with the node's at its end. A reason that names a volume is
    preferred to the mere "timed out waiting" that the kubelet adds later.
    """
    best, vague = "", ""
    for record in records(_about(lines, uid, pod_name)):
        if record.severity not in ("E", "W") or not _STARTING.search(record.text) or not _is_of(record, uid, pod_name):
            continue
        if record.text.startswith("Operation for ") or "Error: " in record.message:
            best = _cleaned_trouble(record.message.partition("Error: ")[2] or record.values.get("err", ""))
        elif "unmounted volumes" in record.text:
            vague = _cleaned_trouble(record.values.get("err", "") or record.message)
        elif "StartContainer" not in record.text:
            best = _cleaned_trouble(record.values.get("err", "") or record.message)
    return best or vague


def probe_failure(lines: Sequence[str], uid: str, container: str) -> str:
    """Give what the latest failed probe of a container said, after the probe's kind; "" where the log has none.

    The kubelet logs them from verbosity 1 on (pkg/kubelet/prober/prober.go).
    """
    found = ""
    for record in records(_about(lines, uid)):
        values = record.values
        if record.message in ("Probe failed", "Probe errored") and values.get("podUID") == uid:
            said = " ".join((values.get("output") or values.get("err", "")).split())
            if said and values.get("containerName") == container:
                found = f"{values.get('probeType', '').lower()} probe: {said}"
    return found


def _is_of(record: Record, uid: str, pod_name: str) -> bool:
    """Whether an entry is about this pod: by its UID, by its name only where the entry gives no UID."""
    if uid in record.message or any(uid in value for value in record.values.values()):
        return True
    return "podUID" not in record.values and record.values.get("pod", "").endswith(f"/{pod_name}")


def _cleaned_trouble(text: str) -> str:
    """Keep of the kubelet's nested messages what a person needs."""
    text = re.sub(r'^failed to "(\w+)" for ".*?" with (\w+): "(.*)"$', lambda m: _unquoted(f'"{m[3]}"'), text)
    text = re.sub(r'^Failed to create sandbox for pod ".*?": ', "sandbox: ", text)
    text = re.sub(r'(volume "[^"]*") \(UniqueName: "[^"]*"\) pod "[^"]*" \(UID: "[^"]*"\) ?', r"\1", text)
    text = re.sub(r'rpc error: code = \w+ desc = | for sandbox "[0-9a-f]{64}"', "", text)
    return text.strip()


_FATAL = ("panic:", "Error:", "fatal error:", "unexpected fault")
_SHOWN = 500


def last_lines(lines: Sequence[str], n: int) -> tuple[str, ...]:
    """Give `n` lines at most that say best why the kubelet does not run: its last errors, else its last lines.

    An entry is one line here, of 500 characters at most; of a Go traceback only the panic's own line is left.
    """
    entries = [
        record
        for record in records(lines)
        if record.message.strip() and (record.severity or not record.message.startswith(("\t", " ", "goroutine ")))
    ]
    telling = [entry for entry in entries if entry.severity in ("E", "F") or entry.message.startswith(_FATAL)]
    shown = [" ".join(entry.text.split())[:_SHOWN] for entry in telling or entries]
    return tuple(dict.fromkeys(shown))[-n:] if n > 0 else ()
