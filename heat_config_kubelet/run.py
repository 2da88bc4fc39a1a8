"""The way in for os-collect-config: `run`, what its `command` calls when metadata has changed.

Runs os-apply-config, records what is now wanted, makes sure that the loop runs, and returns, so that polling
goes on. It waits for no pod. A fault that a second try cannot mend is logged and not an exit status: with one,
os-collect-config would run the command again at every poll (os_collect_config/collect.py, main).
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from .clock import Clock
from .errors import SettingsError
from .log import Log
from .settings import Settings

APPLY_SECONDS = 60.0
"""How long os-apply-config may take beyond what we do ourselves: os-collect-config waits for us and polls nothing."""


def run(settings: Settings, environment: Mapping[str, str] | None = None, clock: Clock | None = None) -> int:
    """Do one pass; gives the exit status. Raises AgentError where a second try can help."""
    environment = os.environ if environment is None else environment
    clock = clock or Clock()
    log = Log(settings.log_level)
    apply_config = _ApplyConfig(_apply_command(settings), environment)
    try:
        # It takes most of a pass; what we need ourselves is imported beside it.
        from .record import record
        from .store import APPLIED, RUN, open_or_restart
        from .wake import Wake

        store = open_or_restart(settings.store_file, clock.wall(), log)
        recorded = record(settings, store, RUN, environment, clock, log)
    finally:
        problem = apply_config.wait()
    if problem:
        log.error("os-apply-config failed", problem=problem)
    wake = Wake(settings.state_dir)
    with store.transaction():
        store.put(APPLIED, json.dumps([recorded.at, problem]))
        wake.raise_flag()
    store.close()
    wake.start_loop(settings)
    return 1 if apply_config.again else 0


def _apply_command(settings: Settings) -> list[str]:
    try:
        return shlex.split(settings.os_apply_config)
    except ValueError as error:
        raise SettingsError(
            f"{settings.file}: [agent] os_apply_config = {settings.os_apply_config}: "
            f"must be a command as a shell reads it: {str(error).lower()}"
        ) from None


class _ApplyConfig:
    """os-apply-config, beside what we do ourselves; `again` says that a second try may help."""

    def __init__(self, command: list[str], environment: Mapping[str, str]) -> None:
        self.again = False
        self._problem = ""
        self._process: subprocess.Popen[bytes] | None = None
        if not command:
            return
        program = shutil.which(command[0]) or str(Path(sys.executable).parent / command[0])
        try:
            self._process = subprocess.Popen(
                [program, *command[1:]],
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        except OSError as error:
            self._problem = f"{program}: {error.strerror or error} ([agent] os_apply_config)"

    def wait(self) -> str:
        """Wait for its end, APPLY_SECONDS at most; gives what went wrong, empty where nothing did."""
        if self._process is None:
            return self._problem
        try:
            told, _ = self._process.communicate(timeout=APPLY_SECONDS)
        except subprocess.TimeoutExpired:
            self._kill(self._process)
            self.again = True
            return f"did not end within {APPLY_SECONDS:g} s and was killed"
        code = self._process.returncode
        if code == 0:
            return ""
        lines = told.decode("utf-8", "replace").strip().splitlines()
        # 1 is its word for templates or metadata that do not fit (os_apply_config/apply_config.py, main).
        self.again = code != 1
        return f"exit status {code}: {_safe(lines)}"

    @staticmethod
    def _kill(process: subprocess.Popen[bytes]) -> None:
        """Kill it and what it started; what is left in its pipe is not read: whoever got away may hold it open."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        if process.stdout:
            process.stdout.close()


def _safe(lines: list[str]) -> str:
    """The line that says what failed; what a template's own script printed may hold anything and is left out."""
    own = [line for line in lines if "[ERROR]" in line]
    return own[-1][:300] if own else "no message of its own"
