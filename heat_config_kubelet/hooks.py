"""Runs the hooks of other groups (script, ansible, puppet…) by the contract of heat-agents' 55-heat-config.

A hook is an executable with its group's name; it takes the deployment as JSON on stdin, answers on stdout
(`result.from_hook`), and is never run twice for one deployment: `<deployed_dir>/<id>.json` is written before it
runs, `<id>.notify.json` with its answer after. Removing the first by hand runs it again.

Nothing here blocks: `HookRun` starts a process and is asked about it; `loop.py` drives it. Which deployments are
run, and what is sent to Heat, is not decided here.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from . import result as results
from .errors import AgentError, MetadataError
from .secrets import Blanker
from .values import KUBELET_GROUP, Deployment, Result
from .whole_file import write_whole

TERMINATE_SECONDS = 10.0
"""How long a cancelled hook may take to end by itself before it is killed."""

_NOT_RUN = frozenset({"", KUBELET_GROUP, "component", "os-apply-config", "Heat::Ungrouped"})
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,127}")
_SHOWN = 100
"""How much of a group's name is told."""
_ANSWER_BYTES = 16 * 1024 * 1024
"""The most that is read of what a hook wrote: of more, the end."""


class HookError(AgentError):
    """A hook cannot be started, or its mark cannot be written."""


def is_hook_group(group: str) -> bool:
    """Whether a deployment of this group needs a hook.

    Not `kubelet`, which is ours; not `os-apply-config` and `Heat::Ungrouped`, whose config os-collect-config merges
    into the metadata; not a `component` without a tool for the action.
    """
    return group not in _NOT_RUN


def hook_name(group: str) -> str:
    """The file name of a group's hook: its letters, digits, '-' and '_'; "" where nothing is left."""
    return "".join(char for char in group if char.isalnum() or char in "-_")


def find_hook(group: str, directories: Sequence[Path]) -> Path | None:
    """Give the first executable file with the group's hook name in `directories` ([agent] hooks_dirs), or None."""
    name = hook_name(group)
    candidates = (directory / name for directory in directories) if name else ()
    return next((path for path in candidates if _is_executable(path)), None)


def _is_executable(path: Path) -> bool:
    try:
        return path.is_file() and os.access(path, os.X_OK)
    except (OSError, ValueError):
        return False  # a name that no file can have (ENAMETOOLONG), a directory that cannot be looked into


def no_hook(deployment: Deployment, directories: Sequence[Path]) -> Result:
    """The failed result of a deployment whose group has no hook on this node."""
    name = hook_name(deployment.group)
    places = ", ".join(str(directory) for directory in directories) + _meant(deployment)
    return results.refused(
        deployment,
        [f"group {_short(deployment.group)}: no executable {_short(name) or '(no name)'} in {places}"],
    )


def _meant(deployment: Deployment) -> str:
    """Say where a group is all but ours."""
    import difflib

    close = difflib.get_close_matches(deployment.group.lower(), [KUBELET_GROUP], 1, 0.7)
    return f'; did you mean the group "{KUBELET_GROUP}"?' if close else ""


def _short(text: str) -> str:
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"


def stdin_of(deployment: Deployment) -> bytes:
    """Give the JSON that a hook takes: the entry as received, with group and config of a component's tool.

    Inputs of type String are made strings, as 55-heat-config does (Heat's bug 1333992).
    """
    entry = dict(deployment.raw)
    entry["inputs"] = [_as_string(item) for item in entry.get("inputs") or ()]
    if deployment.component:
        entry["group"], entry["config"] = deployment.group, deployment.config
    return json.dumps(entry).encode("ascii")


def _as_string(item: Mapping[str, Any]) -> dict[str, Any]:
    entry = {"value": None, **item}
    if entry.get("type") == "String" and not isinstance(entry["value"], str):
        entry["value"] = str(entry["value"])
    return entry


# --- marks


def mark_file(deployed_dir: Path, deployment_id: str) -> Path:
    """The file that says that a deployment's hook was started. Raises MetadataError for an id that is no file name."""
    return deployed_dir / f"{_checked(deployment_id)}.json"


def notify_file(deployed_dir: Path, deployment_id: str) -> Path:
    """The file that says that a deployment's hook has ended, and how. Raises MetadataError as `mark_file`."""
    return deployed_dir / f"{_checked(deployment_id)}.notify.json"


def already_deployed(deployed_dir: Path, deployment_id: str) -> bool:
    """Whether the deployment's hook was started before, by us or by heat-agents, to whatever end."""
    return mark_file(deployed_dir, deployment_id).exists()


def finished_result(deployed_dir: Path, deployment: Deployment) -> Result | None:
    """The result that a hook left before the loop could note it; None where it never ended or cannot be read."""
    try:
        data = notify_file(deployed_dir, deployment.id).read_bytes()
        answer = json.loads(data)
    except (OSError, ValueError):
        return None
    return results.from_hook(deployment, 0, data, b"") if isinstance(answer, dict) else None


def cut_short(deployment: Deployment, record: str = "") -> Result:
    """The failed result of a hook that was running when the loop ended; it is not run again.

    `record` is `HookRun.record` as the store kept it: what is left of that process group is killed.
    """
    killed = kill_stale(record)
    left = "; what was left of it was killed" if killed else ""
    reason = (
        f"the hook of group {deployment.group} was cut short by a restart of the node or the agent{left}; "
        "it is not run a second time, for it may have done half its work"
    )
    return results.refused(deployment, [reason])


def kill_stale(record: str) -> bool:
    """Kill the process group of a `HookRun.record`, if its leader is still the very process; says whether it was."""
    try:
        found = json.loads(record)
        pid, started, boot = int(found["pid"]), str(found["started"]), str(found["boot"])
    except (ValueError, KeyError, TypeError):
        return False
    if pid <= 1 or boot != _boot_id() or not started or started != _start_time(pid):
        return False
    with contextlib.suppress(OSError):
        os.killpg(pid, signal.SIGKILL)
        return True
    return False


def _checked(deployment_id: str) -> str:
    if not _ID.fullmatch(deployment_id):
        raise MetadataError(f"deployment id {deployment_id[:60]!r}: only letters, digits, '-' and '_' name a file")
    return deployment_id


# --- processes


class HookRun:
    """One hook's process: started by `start`, asked by `poll`, ended early by `cancel`.

    Its stdin, stdout and stderr are unnamed 0600 files in the state directory, not pipes, so that neither much output
    nor a daemon that a hook leaves behind can hold the loop up.
    """

    def __init__(
        self,
        deployment: Deployment,
        deployed_dir: Path,
        process: subprocess.Popen[bytes],
        streams: tuple[IO[bytes], IO[bytes]],
        clock: Callable[[], float],
    ) -> None:
        self._deployment = deployment
        self._deployed_dir = deployed_dir
        self._process = process
        self._stdout, self._stderr = streams
        self._clock = clock
        self._cancelled: tuple[float, str] | None = None
        self._result: Result | None = None
        self._pidfd = _pidfd(process.pid)
        self.record = json.dumps({"pid": process.pid, "started": _start_time(process.pid), "boot": _boot_id()})
        """The process as text for the store, for `cut_short` after a crash."""

    @classmethod
    def start(
        cls,
        deployment: Deployment,
        hook: Path,
        *,
        deployed_dir: Path,
        state_dir: Path,
        clock: Callable[[], float] = time.monotonic,
        popen: Callable[..., subprocess.Popen[bytes]] = subprocess.Popen,
    ) -> HookRun:
        """Write the deployment's mark, then start `hook` in a session and process group of its own.

        Raises MetadataError for an id that is no file name, HookError where the mark cannot be written or the hook
        cannot be started (not executable for us, or a `#!` line with no such interpreter).
        """
        data = stdin_of(deployment)
        try:
            # Forced to run again by the removal of its mark alone: the earlier answer must not pass for this one's.
            notify_file(deployed_dir, deployment.id).unlink(missing_ok=True)
            write_whole(mark_file(deployed_dir, deployment.id), data)
        except OSError as error:
            raise HookError(f"{deployed_dir}: {error.strerror or error}") from error
        with contextlib.ExitStack() as opened:
            try:
                state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
                stdin, stdout, stderr = (opened.enter_context(tempfile.TemporaryFile(dir=state_dir)) for _ in range(3))
                stdin.write(data)
                stdin.seek(0)
                process = popen([str(hook)], stdin=stdin, stdout=stdout, stderr=stderr, start_new_session=True)
            except OSError as error:
                raise HookError(f"hook {hook}: {error.strerror or error}") from error
            stdin.close()
            opened.pop_all()
        return cls(deployment, deployed_dir, process, (stdout, stderr), clock)

    def fileno(self) -> int:
        """A descriptor that becomes readable when the hook ends, for a selector; -1 where the kernel has none."""
        return self._pidfd

    def poll(self) -> Result | None:
        """Give the hook's result once it has ended, None before. Does not block.

        What a hook leaves running after it has ended is its own affair, unless it was cancelled.
        """
        if self._result is None and self._ended():
            self._result = self._finish(self._process.wait())
        return self._result

    def cancel(self, why: str) -> None:
        """Ask the hook and its children to end, and have `poll` kill them if they have not after 10 s."""
        if self._result is None and self._cancelled is None:
            self._cancelled = (self._clock(), why)
            self._kill_group(signal.SIGTERM)

    def _ended(self) -> bool:
        """Whether the process has ended; it is not reaped yet, so that its group is still its own."""
        info = os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        if self._cancelled and (info or self._clock() - self._cancelled[0] >= TERMINATE_SECONDS):
            self._kill_group(signal.SIGKILL)
        return info is not None

    def _kill_group(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, number)

    def _finish(self, returncode: int) -> Result:
        stdout, stderr = _end_of(self._stdout), _end_of(self._stderr)
        if self._pidfd >= 0:
            os.close(self._pidfd)
            self._pidfd = -1
        if self._cancelled:
            reason = f"the hook of group {self._deployment.group} was stopped: {self._cancelled[1]}"
            text = stderr.decode("utf-8", "replace")
            result = results.failure(self._deployment, (), [reason], logs=text)
        else:
            result = results.from_hook(self._deployment, returncode, stdout, stderr)
        answer = results.hook_answer(result, self._deployment, Blanker(), _ANSWER_BYTES)
        with contextlib.suppress(OSError):  # a full disk must not keep the result from Heat
            write_whole(notify_file(self._deployed_dir, self._deployment.id), json.dumps(answer).encode("ascii"))
        return result


def _end_of(stream: IO[bytes]) -> bytes:
    with stream:
        size = stream.seek(0, os.SEEK_END)
        stream.seek(max(0, size - _ANSWER_BYTES))
        return stream.read()


def _pidfd(pid: int) -> int:
    try:
        return os.pidfd_open(pid)
    except (OSError, AttributeError):
        return -1


def _start_time(pid: int) -> str:
    """When a process began, in clock ticks since boot (proc(5), stat field 22); "" where there is none."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    return stat.rpartition(")")[2].split()[19]


def _boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""
