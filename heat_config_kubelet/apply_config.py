"""Runs os-apply-config in a pass, unless nothing that it renders can have changed since it last succeeded.

It costs more than all else in a pass, and most passes bring a changed deployment only. Where an image has no
template but ours, all that it renders is os-collect-config's file, out of the metadata's `os-collect-config` and of
the image's own settings (os_apply_config/apply_config.py, install_config; collect_config.py, merge_configs).
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from .errors import SettingsError
from .settings import Settings
from .whole_file import write_whole

APPLY_SECONDS = 60.0
"""How long it may take beyond what we do ourselves: os-collect-config waits for us and polls nothing."""

_TEMPLATES = Path(__file__).parent / "data" / "os-apply-config"
_DEFAULT_TEMPLATES = "/usr/libexec/os-apply-config/templates"
_IMAGE_FILE = "/etc/heat-config-kubelet/os-collect-config.json"
"""Where our template finds what the image was built with, unless the variable OS_COLLECT_CONFIG_IMAGE_FILE says it."""
_LOCAL = "/var/lib/heat-cfntools/cfn-init-data"
"""Where Heat's part handler for cloud-init, and `user_data.py`, put it (os_collect_config/heat_local.py)."""
_MARK = "rendered"
"""Of the state directory: of what the file was rendered last."""
_OPTIONS = {"-t": "templates", "--templates": "templates", "-o": "output", "--output": "output"}


class ApplyConfig:
    """os-apply-config, beside what we do ourselves; `again` says that a second try may help."""

    def __init__(self, settings: Settings, environment: Mapping[str, str]) -> None:
        """Start it where it is needed. Raises SettingsError for a command that cannot be read."""
        self.again = False
        self._problem = ""
        self._process: subprocess.Popen[bytes] | None = None
        self._rendered: _Rendered | None = None
        command = _command(settings)
        if not command:
            return
        self._rendered = _Rendered.of(command, environment, settings.state_dir)
        if self._rendered and self._rendered.is_current():
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
            if self._rendered:
                self._rendered.note()
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


def render_first(settings: Settings, environment: Mapping[str, str]) -> str:
    """Render os-collect-config's file of what Heat gave the server before that daemon starts: its first poll asks Heat.

    Else it starts with the image's own settings, and once more with Heat's after a whole pass. Nothing is done where
    Heat gave nothing, or where a pass has rendered since: Heat may have said more. In hook mode it is heat-agents'
    affair. Our own template is rendered without os-apply-config, for whose start everything else of a boot would wait.
    Gives what went wrong, empty where nothing did; raises SettingsError.
    """
    local, mark = Path(_LOCAL), settings.state_dir / _MARK
    command = _command(settings)
    if settings.mode == "hook" or not command or not local.exists():
        return ""
    if mark.exists() and mark.stat().st_mtime >= local.stat().st_mtime:
        return ""
    settings.state_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    given = {**environment, "OS_CONFIG_FILES": str(local)}
    rendered = _Rendered.of(command, given, settings.state_dir)
    return rendered.render(local.read_bytes(), given) if rendered else ApplyConfig(settings, given).wait()


class _Rendered:
    """What our template was last rendered from, and the file that came of it: a digest kept beside the store."""

    def __init__(self, given: bytes, template: Path, target: Path, state_dir: Path) -> None:
        self._given = given
        self._template = template
        self._target = target
        self._mark = state_dir / _MARK

    @classmethod
    def of(cls, command: Sequence[str], environment: Mapping[str, str], state_dir: Path) -> _Rendered | None:
        """Read what it will render from; None where more than our template or an option of its own is in play."""
        found = _directories(command, environment)
        template = _template(*found) if found else None
        if template is None:
            return None
        try:
            given = list(_settings(environment.get("OS_CONFIG_FILES", "")))
            image = _text(Path(environment.get("OS_COLLECT_CONFIG_IMAGE_FILE", _IMAGE_FILE)))
        except (OSError, ValueError):
            return None
        if not given:
            return None
        told = json.dumps([list(command), _merged(given), image], sort_keys=True).encode()
        return cls(told, *template, state_dir)

    def is_current(self) -> bool:
        """Whether it was rendered from the same, and nobody has touched the file since."""
        try:
            return self._mark.read_text() == self._digest()
        except OSError:
            return False

    def render(self, metadata: bytes, environment: Mapping[str, str]) -> str:
        """Render it as os-apply-config does (apply_config.py, render_executable; data/os-apply-config: mode 0600)."""
        try:
            done = subprocess.run(
                [str(self._template)], input=metadata, env=dict(environment), capture_output=True, check=False
            )
            if done.returncode:
                return f"{self._template}: exit status {done.returncode}"
            write_whole(self._target, done.stdout)
        except OSError as error:
            return f"{error.filename}: {error.strerror or error}"
        self.note()
        return ""

    def note(self) -> None:
        """Note that it is rendered; without the note it is just rendered again."""
        with contextlib.suppress(OSError):
            digest = self._digest()
            aside = self._mark.with_suffix(".new")
            aside.touch(mode=0o600)
            aside.write_text(digest)
            aside.rename(self._mark)

    def _digest(self) -> str:
        there = self._target.stat()
        state = f"{there.st_ino} {there.st_size} {there.st_mtime_ns} {there.st_mode}"
        return hashlib.sha256(state.encode() + b"\0" + self._given).hexdigest()


def _command(settings: Settings) -> list[str]:
    try:
        return shlex.split(settings.os_apply_config)
    except ValueError as error:
        raise SettingsError(
            f"{settings.file}: [agent] os_apply_config = {settings.os_apply_config}: "
            f"must be a command as a shell reads it: {str(error).lower()}"
        ) from None


def _directories(command: Sequence[str], environment: Mapping[str, str]) -> tuple[Path, Path] | None:
    """The folders of its templates and of what it renders; None where it has options that we do not know."""
    found = {"templates": environment.get("OS_CONFIG_APPLIER_TEMPLATES", _DEFAULT_TEMPLATES), "output": "/"}
    words = list(command[1:])
    if Path(command[0]).name != "os-apply-config" or len(words) % 2:
        return None
    for option, value in zip(words[::2], words[1::2], strict=True):
        if option not in _OPTIONS:
            return None
        found[_OPTIONS[option]] = value
    return Path(found["templates"]), Path(found["output"])


def _template(templates: Path, output: Path) -> tuple[Path, Path] | None:
    """Our template, in whichever folder an image has put it, and what it is rendered to.

    None where it is not the only one, just as this package has it.
    """
    here = sorted(path for path in templates.rglob("*") if not path.is_dir())
    ours = sorted(path for path in _TEMPLATES.rglob("*") if not path.is_dir())
    if [path.name for path in here] != [path.name for path in ours] or len({path.parent for path in here}) != 1:
        return None
    try:
        same = all(one.read_bytes() == other.read_bytes() for one, other in zip(here, ours, strict=True))
    except OSError:
        return None
    return (here[0], output / here[0].relative_to(templates)) if same else None


def _settings(files: str) -> Iterator[object]:
    """What each source says of os-collect-config, in the order in which they are merged."""
    for name in filter(None, files.split(":")):
        content = json.loads(Path(name).read_bytes())
        if not isinstance(content, dict):
            raise ValueError(name)
        yield content.get("os-collect-config")


def _merged(told: Iterable[object]) -> list[object]:
    """Leave out what changes nothing when all are merged: no settings, and the same as those before."""
    found: list[object] = []
    for each in told:
        if each is not None and (not found or found[-1] != each):
            found.append(each)
    return found


def _text(file: Path) -> str | None:
    try:
        return file.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None


def _safe(lines: list[str]) -> str:
    """The line that says what failed; what a template's own script printed may hold anything and is left out."""
    own = [line for line in lines if "[ERROR]" in line]
    return own[-1][:300] if own else "no message of its own"
