"""`config`: the settings in force, where each comes from, and what was found out about the node."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from .. import settings as settings_module
from ..options import Options, options_of
from ..secrets import BLANK, is_secret_name
from ..settings import SETTINGS_VARIABLE, Settings
from .console import FAINT, Column, Console, remark
from .node_view import NodeView

if TYPE_CHECKING:
    from ..kubelet_config import KubeletAccess

DEFAULT, FILE, ENVIRONMENT, ARGUMENT, FOUND = "default", "file", "environment", "argument", "found"
"""Of `Setting.source`."""

_VARIABLES = (
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "OS_COLLECT_CONFIG_FILE",
    "OS_CONFIG_FILES",
)
"""Those that change what the agent does. A shell's are not always those of the units."""


@dataclass(frozen=True)
class Setting:
    """One setting, or one fact about the node, as `heat-config-kubelet config` shows it."""

    name: str
    """As in the settings file, section.name; or the variable's name; or node.something for what was found."""
    value: str | int | float | bool | list[str] | None
    """What is in force; null where nothing is set or known."""
    source: str
    """Where it comes from: file, environment, argument, default; found, where it was found out about the node."""
    place: str
    """The file that says so, or how it was found; empty for a default."""


def main(given: argparse.Namespace) -> int:
    """Show them; gives the exit status."""
    found = settings_module.load(given.settings)
    view = NodeView(found)
    rows = [*_settings(found, given.settings), *_variables(os.environ), *_facts(view)]
    Console.standard().show(rows, COLUMNS, given.output)
    for part in ("kubelet", "store"):
        if part in view.problems:
            remark(view.problems[part])
    view.close()
    return 0


def _settings(found: Settings, named: Path | None) -> Iterator[Setting]:
    source = ARGUMENT if named else ENVIRONMENT if os.environ.get(SETTINGS_VARIABLE) else DEFAULT
    there = "" if found.file.exists() else "it is not there: defaults hold"
    yield Setting("settings file", str(found.file), source, there)
    file = str(found.file)
    for each in settings_module.origins(found):
        yield Setting(each.name, _plain(each.value), FILE if each.given else DEFAULT, file if each.given else "")
    options = options_of({}, found.defaults)
    for item in fields(Options):
        given = item.name in found.defaults
        name = f"defaults.{item.name}"
        yield Setting(name, getattr(options, item.name), FILE if given else DEFAULT, file if given else "")


def _variables(environment: Mapping[str, str]) -> Iterator[Setting]:
    for name in _VARIABLES:
        value = environment.get(name) or environment.get(name.lower())
        if value:
            yield Setting(name, _without_password(value), ENVIRONMENT, "")


def _facts(view: NodeView) -> Iterator[Setting]:
    """What is found out about the node."""
    access = view.access
    if access:
        place = str(access.config_file) if access.config_file else "the settings alone"
        yield Setting("node.kubelet_config", str(access.config_file) if access.config_file else None, FOUND, "")
        yield Setting("node.manifest_dir", str(access.manifest_dir), FOUND, place)
        yield Setting("node.kubelet_api", f"https://{access.address}:{access.port}", FOUND, place)
        yield Setting("node.kubelet_healthz_port", access.healthz_port or None, FOUND, place)
        yield Setting("node.kubelet_ca", _plain(access.ca), FOUND, place)
        yield Setting("node.kubelet_client_cert", _plain(access.client_cert), FOUND, place)
        yield Setting("node.cgroup_root", access.cgroup_root, FOUND, place)
        yield Setting("node.cgroup_driver", access.cgroup_driver, FOUND, place)
        yield Setting("node.runtime", *_runtime(access))
    if view.store:
        yield Setting("node.mode", view.store.get("mode"), FOUND, str(view.store.path))


def _runtime(access: KubeletAccess) -> tuple[str, str, str]:
    """The runtime's socket: as the kubelet's configuration has it, else the one that is there."""
    from ..kubelet_config import Machine

    if access.runtime_endpoint:
        return access.runtime_endpoint, FOUND, str(access.config_file)
    return Machine().runtime_endpoint(), FOUND, "the socket or program that is there"


def _plain(value: Any) -> str | int | float | bool | list[str] | None:
    if isinstance(value, tuple):
        return [str(item) for item in value]
    if value is None or value == "":
        return None
    if isinstance(value, str):
        return _without_secrets(value)
    return value if isinstance(value, bool | int | float) else str(value)


def _without_secrets(command: str) -> str:
    """A command of the node's own without what stands after an option, or in a variable, of a secret name."""
    words: list[str] = []
    for word in command.split(" "):
        name, equals, _ = word.partition("=")
        before = words[-1] if words else ""
        if before.startswith("-") and "=" not in before and is_secret_name(before.lstrip("-")):
            words.append(BLANK)
        else:
            words.append(f"{name}={BLANK}" if equals and is_secret_name(name.lstrip("-")) else word)
    return " ".join(words)


def _without_password(value: str) -> str:
    try:
        password = urlsplit(value).password
    except ValueError:
        return BLANK
    return value.replace(f":{password}@", f":{BLANK}@") if password else value


def _told(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return ":".join(str(item) for item in value)
    return f"{value:g}" if isinstance(value, float) else str(value)


COLUMNS = (
    Column[Setting]("SETTING", lambda row: row.name),
    Column[Setting]("VALUE", lambda row: _told(row.value), may_shrink=True),
    Column[Setting]("FROM", lambda row: row.source, colour=lambda row: FAINT if row.source == DEFAULT else ""),
    Column[Setting]("WHERE", lambda row: row.place or "-", wide=True),
)
