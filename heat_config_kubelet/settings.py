"""A node's settings: one INI file under /etc, read into one frozen value.

What a deployment may change is not here but in its `options` (see `options.py`);
the section [defaults] gives the node's own defaults for those.
The file that is shipped, with every setting and its default, is `data/heat-config-kubelet.conf`.
"""

from __future__ import annotations

import configparser
import contextlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from .errors import SettingsError
from .options import check_defaults

SETTINGS_FILE = Path("/etc/heat-config-kubelet/heat-config-kubelet.conf")
SETTINGS_VARIABLE = "HEAT_CONFIG_KUBELET_SETTINGS"
MODES = ("auto", "run", "hook")
SWITCHES = ("auto", "yes", "no")


@dataclass(frozen=True)
class Settings:
    """The settings in force; every field is a line of the file, named in its comment."""

    file: Path
    # [agent]
    mode: str = "auto"
    state_dir: Path = Path("/var/lib/heat-config-kubelet")
    run_dir: Path = Path("/run/heat-config-kubelet")
    systemd: str = "auto"
    loop_unit: str = "heat-config-kubelet.service"
    log_level: str = "info"
    os_apply_config: str = "os-apply-config"
    os_collect_config_cache: Path = Path("/var/lib/os-collect-config")
    hooks_dirs: tuple[Path, ...] = (Path("/var/lib/heat-config/hooks"), Path("/usr/libexec/heat-config/hooks"))
    deployed_dir: Path = Path("/var/lib/heat-config/deployed")
    # [kubelet]
    kubelet_config: Path | None = None
    manifest_dir: Path | None = None
    kubelet_port: int | None = None
    kubelet_ca: Path | None = None
    kubelet_client_cert: Path | None = None
    kubelet_client_key: Path | None = None
    kubelet_unit: str = "kubelet.service"
    kubelet_command: str = ""
    kubelet_log: Path | None = None
    kubelet_start_timeout: float = 60.0
    cgroup_fs: Path = Path("/sys/fs/cgroup")
    cgroup_root: str | None = None
    node_name: str = ""
    # [signals]
    signal_ca: Path | None = None
    signal_timeout: float = 30.0
    signal_max_age: float = 21600.0
    cfn_url_lifetime: float = 900.0
    # [defaults]
    defaults: Mapping[str, str] = field(default_factory=dict)

    @property
    def store_file(self) -> Path:
        """The SQLite file of what is wanted, written and not yet delivered."""
        return self.state_dir / "store.sqlite"

    @property
    def summary_file(self) -> Path:
        """The JSON file of what everybody on the node may know (`summary.py`)."""
        return self.run_dir / "status.json"


def load(path: Path | None = None, environment: Mapping[str, str] = os.environ) -> Settings:
    """Read the node's settings; without a file the defaults hold.

    A file that is named (argument or `$HEAT_CONFIG_KUBELET_SETTINGS`) must be there.
    Raises SettingsError naming file, section, setting and the values allowed.
    """
    named = path or (Path(environment[SETTINGS_VARIABLE]) if environment.get(SETTINGS_VARIABLE) else None)
    file = named.absolute() if named else SETTINGS_FILE  # the loop is started in another directory
    parser = configparser.ConfigParser(interpolation=None)
    try:
        with file.open(encoding="utf-8") as handle:
            parser.read_file(handle)
    except FileNotFoundError:
        if named:
            raise SettingsError(f"{file}: no such settings file") from None
    except OSError as error:
        raise SettingsError(f"{file}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise SettingsError(f"{file}: is no text: {error}") from error
    except configparser.Error as error:
        raise SettingsError(f"{file}: {_told(error)}") from None
    return from_parser(file, parser)


@dataclass(frozen=True)
class Origin:
    """A setting and where its value comes from."""

    name: str
    """Section and name as in the settings file: kubelet.port"""
    value: Any
    given: bool
    """Whether the settings file gives it; else it is the default."""


def origins(found: Settings) -> tuple[Origin, ...]:
    """Say of each setting in force where it comes from. Raises SettingsError where the file has changed."""
    parser = configparser.ConfigParser(interpolation=None)
    with contextlib.suppress(OSError, UnicodeDecodeError, configparser.Error):
        parser.read(found.file, encoding="utf-8")
    reader = _Reader(found.file, parser)
    reader.settings()
    base = Settings(found.file)
    names = [item.name for item in fields(Settings) if item.name not in ("file", "defaults")]
    taken = []
    for field_name, (section, name) in zip(names, reader.asked, strict=True):
        value = getattr(found, field_name)
        text = parser.get(section, name, fallback=None)
        # An empty value is the default of most.
        given = text is not None and (bool(text.strip()) or value != getattr(base, field_name))
        taken.append(Origin(f"{section}.{name}", value, given))
    return tuple(taken)


def from_parser(file: Path, parser: configparser.ConfigParser) -> Settings:
    """Take the settings out of what was parsed; `file` is for errors. Raises SettingsError as `load` does."""
    return _Reader(file, parser).settings()


def _told(error: configparser.Error) -> str:
    """What does not parse, in one line and without the file's own text, which may be a secret in the wrong place."""
    if isinstance(error, configparser.DuplicateOptionError):
        return f"line {error.lineno}: [{error.section}] {error.option} already exists"
    if isinstance(error, configparser.DuplicateSectionError):
        return f"line {error.lineno}: [{error.section}] already exists"
    if isinstance(error, configparser.MissingSectionHeaderError):
        return f"line {error.lineno}: no section headers before the first setting"
    lines = [number for number, _ in getattr(error, "errors", ())]
    return f"line {', '.join(map(str, lines))}: must be [section] or name = value" if lines else "cannot be parsed"


class _Reader:
    """Takes each setting out of the parsed file, checks it, and refuses those nobody knows."""

    def __init__(self, file: Path, parser: configparser.ConfigParser) -> None:
        self.file = file
        self.parser = parser
        self.asked: list[tuple[str, str]] = []
        """Section and name of every setting, in the order of the fields of `Settings`."""
        self.known: dict[str, set[str]] = {"defaults": set(parser["defaults"]) if "defaults" in parser else set()}

    def settings(self) -> Settings:
        """Give the whole, or raise SettingsError."""
        base = Settings(self.file)
        found = Settings(
            file=self.file,
            mode=self.one_of("agent", "mode", base.mode, MODES),
            state_dir=self.path("agent", "state_dir") or base.state_dir,
            run_dir=self.path("agent", "run_dir") or base.run_dir,
            systemd=self.one_of("agent", "systemd", base.systemd, SWITCHES),
            loop_unit=self.text("agent", "loop_unit", base.loop_unit),
            log_level=self.one_of("agent", "log_level", base.log_level, ("debug", "info", "warning", "error")),
            os_apply_config=self.text("agent", "os_apply_config", base.os_apply_config),
            os_collect_config_cache=self.path("agent", "os_collect_config_cache") or base.os_collect_config_cache,
            hooks_dirs=self.paths("agent", "hooks_dirs", base.hooks_dirs),
            deployed_dir=self.path("agent", "deployed_dir") or base.deployed_dir,
            kubelet_config=self.path("kubelet", "config"),
            manifest_dir=self.path("kubelet", "manifest_dir"),
            kubelet_port=self.port("kubelet", "port"),
            kubelet_ca=self.path("kubelet", "ca"),
            kubelet_client_cert=self.path("kubelet", "client_cert"),
            kubelet_client_key=self.path("kubelet", "client_key"),
            kubelet_unit=self.text("kubelet", "unit", base.kubelet_unit),
            kubelet_command=self.text("kubelet", "command", base.kubelet_command),
            kubelet_log=self.path("kubelet", "log"),
            kubelet_start_timeout=self.seconds("kubelet", "start_timeout", base.kubelet_start_timeout),
            cgroup_fs=self.path("kubelet", "cgroup_fs") or base.cgroup_fs,
            cgroup_root=self.text("kubelet", "cgroup_root", "") or None,
            node_name=self.text("kubelet", "node_name", "") or os.uname().nodename.lower(),
            signal_ca=self.path("signals", "ca"),
            signal_timeout=self.seconds("signals", "timeout", base.signal_timeout),
            signal_max_age=self.seconds("signals", "max_age", base.signal_max_age),
            cfn_url_lifetime=self.seconds("signals", "cfn_url_lifetime", base.cfn_url_lifetime),
            defaults=dict(self.parser["defaults"]) if "defaults" in self.parser else {},
        )
        self.refuse_unknown()
        check_defaults(found.defaults, self.file)
        return found

    def text(self, section: str, name: str, default: str) -> str:
        self.known.setdefault(section, set()).add(name)
        self.asked.append((section, name))
        return self.parser.get(section, name, fallback=default).strip()

    def one_of(self, section: str, name: str, default: str, allowed: tuple[str, ...]) -> str:
        value = self.text(section, name, default).lower()
        if value not in allowed:
            raise self.bad(section, name, value, "one of " + ", ".join(allowed))
        return value

    def path(self, section: str, name: str) -> Path | None:
        value = self.text(section, name, "")
        if not value:
            return None
        if not value.startswith("/"):
            raise self.bad(section, name, value, "an absolute path")
        return Path(value)

    def paths(self, section: str, name: str, default: tuple[Path, ...]) -> tuple[Path, ...]:
        value = self.text(section, name, "")
        parts = [part for part in value.split(":") if part]
        if any(not part.startswith("/") for part in parts):
            raise self.bad(section, name, value, "absolute paths joined by ':'")
        return tuple(Path(part) for part in parts) or default

    def seconds(self, section: str, name: str, default: float) -> float:
        value = self.text(section, name, str(default))
        try:
            number = float(value)
        except ValueError:
            number = -1.0
        if not 0 <= number < float("inf"):
            raise self.bad(section, name, value, "a number of seconds, 0 or more")
        return number

    def port(self, section: str, name: str) -> int | None:
        value = self.text(section, name, "")
        if not value:
            return None
        if not value.isdecimal() or not 0 < int(value) < 65536:
            raise self.bad(section, name, value, "a port from 1 to 65535")
        return int(value)

    def bad(self, section: str, name: str, value: str, wanted: str) -> SettingsError:
        return SettingsError(f"{self.file}: [{section}] {name} = {value}: must be {wanted}")

    def refuse_unknown(self) -> None:
        for section in self.parser.sections():
            if section not in self.known:
                raise SettingsError(
                    f"{self.file}: [{section}] is no section; there are " + ", ".join(sorted(self.known))
                )
            for name in self.parser[section]:
                if name not in self.known[section]:
                    raise SettingsError(
                        f"{self.file}: [{section}] {name} is no setting; there are "
                        + ", ".join(sorted(self.known[section]))
                    )
