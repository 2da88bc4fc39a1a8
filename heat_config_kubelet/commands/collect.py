"""`collect`: a tar for a bug report: what the other commands say, logs, settings, versions, the store; no secrets.

Each part stands by itself: one that fails or takes too long is in the tar as its error, and the rest is there.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import platform
import re
import signal
import sqlite3
import stat
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from .. import __version__, cli
from ..bundle import Bundle, written
from ..doctor.node import COLLECTOR_UNIT, Node
from ..errors import AgentError
from ..kubelet_log import MOST_BYTES, run_text
from ..node_secrets import known
from ..secrets import BLANK, Blanker, by_name, is_secret_name
from ..values import KUBELET_GROUP, Deployment
from .console import Console
from .doctor import node_of

_PART_SECONDS = 60.0
_ALL_SECONDS = 240.0
"""After so long what each deployment has to show is left out; everything else is packed before."""
_MOST_ROWS = 5000
_LOG_SINCE = "-1h"
_USER_DATA_UNIT = "heat-config-kubelet-user-data.service"
_RUNTIME_UNITS = ("containerd.service", "crio.service")
_PACKAGES = ("os-collect-config", "os-apply-config", "requests", "keystoneauth1", "PyYAML", "heat-config-kubelet")

NODE_LOOKS: tuple[tuple[str, ...], ...] = (
    ("status", "-o", "wide"),
    ("status", "-o", "json"),
    ("pods", "-o", "wide"),
    ("pods", "-o", "json"),
    ("diff",),
    ("config",),
    ("config", "-o", "json"),
    ("health",),
    ("doctor",),
)
"""What is asked of the whole node."""
DEPLOYMENT_LOOKS: tuple[tuple[str, ...], ...] = (
    ("show", "{}"),
    ("show", "{}", "-o", "json"),
    ("timeline", "{}", "-o", "json"),
    ("logs", "{}", "--tail", "200"),
)
"""What is asked of each deployment."""


class _TooLateError(BaseException):
    """A part takes too long. No Exception: nothing that waits for a service is to take it for a fault of that."""


def main(given: argparse.Namespace) -> int:
    """Pack it; gives the exit status. Raises OSError where the tar cannot be written."""
    now = time.time()
    node = node_of(given.settings, os.environ)
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now))
    name = f"heat-config-kubelet-{re.sub('[^A-Za-z0-9.-]', '-', node.settings.node_name)}-{stamp}"
    file = (given.file or Path(f"{name}.tar.gz")).absolute()
    deployments = _deployments(node)
    blanker = _secrets(node, deployments)
    with written(file, name, blanker, now) as bundle:
        for part, make in _parts(node, given.settings):
            _pack(bundle, part, make)
        for part, make in _parts_of_deployments(deployments, given.settings):
            if time.time() - now > _ALL_SECONDS:
                bundle.add(part, "", f"left out: {_ALL_SECONDS:g} s are over")
            else:
                _pack(bundle, part, make)
        bundle.add_index(
            f"heat-config-kubelet {__version__}, node {node.settings.node_name}, {stamp}\n"
            f"Made by `heat-config-kubelet collect`. {BLANK} stands for what is known to be secret."
        )
    Console.standard().write(_told(file, bundle))
    return 0


def _told(file: Path, bundle: Bundle) -> str:
    noted = [f"  {part.name}: {part.note}" for part in bundle.parts if part.note]
    return "\n".join(
        [
            f"{file}: {len(bundle.parts)} parts, {file.stat().st_size / 1000:.0f} kB",
            f"What is known to be secret was replaced by {BLANK}; look through it before you give it away.",
            *(["Not whole, as INDEX.txt in it says:", *noted] if noted else []),
        ]
    )


def _pack(bundle: Bundle, name: str, make: Callable[[], str]) -> None:
    try:
        with _within(_PART_SECONDS):
            text = make()
        bundle.add(name, text)
    except _TooLateError:
        bundle.add(name, "", f"not within {_PART_SECONDS:g} s")
    except (AgentError, OSError, sqlite3.Error) as error:
        bundle.add(name, f"{error}\n", "could not be read")
    except Exception as error:  # a bug of ours: the report is to hold it, and the rest
        bundle.add(name, "".join(traceback.format_exception(error)), "failed")


@contextlib.contextmanager
def _within(seconds: float) -> Iterator[None]:
    def late(*_: object) -> None:
        raise _TooLateError

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


# --- what is secret


def _deployments(node: Node) -> tuple[Deployment, ...]:
    """Those of the store; none where it cannot be read, which its own part of the tar tells."""
    try:
        return tuple(entry.deployment for entry in node.view.entries)
    except (AgentError, sqlite3.Error, ValueError):
        return ()


def _secrets(node: Node, deployments: Sequence[Deployment]) -> Blanker:
    access = node.view.access
    return known(
        deployments,
        cache=node.settings.os_collect_config_cache,
        deployed_dir=node.settings.deployed_dir,
        manifest_dir=access.manifest_dir if access else node.settings.manifest_dir,
        collector=_collector_sections(node),
        environment=node.environment,
    )


def _collector_sections(node: Node) -> Mapping[str, Mapping[str, tuple[str, ...]]]:
    try:
        return node.collector.sections
    except OSError:
        return {}


# --- the parts


def _parts(node: Node, settings_file: Path | None) -> Iterator[tuple[str, Callable[[], str]]]:
    settings = node.settings
    yield "versions.txt", lambda: _versions(node)
    yield "machine.txt", _machine
    yield "settings.conf", lambda: settings.file.read_text("utf-8", "replace") if settings.file.exists() else "(none)\n"
    yield "os-collect-config.conf", lambda: _collector_file(node)
    yield "folders.txt", lambda: _folders(node)
    yield "store.json", lambda: _tables(settings.store_file)
    yield "kubelet.yaml", lambda: _kubelet_file(node)
    for file in _manifest_files(node):
        yield f"manifests/{file.name}", lambda file=file: _manifest(file)  # type: ignore[misc]
    if node.systemd:
        for unit in (settings.loop_unit, COLLECTOR_UNIT, settings.kubelet_unit, _USER_DATA_UNIT, *_RUNTIME_UNITS):
            yield f"logs/{unit}.log", lambda unit=unit: _journal(unit)  # type: ignore[misc]
    for log in (settings.state_dir / "loop.log.1", settings.state_dir / "loop.log", settings.kubelet_log):
        if log is not None and log.exists():
            yield f"logs/{log.name}", lambda log=log: _end_of(log)  # type: ignore[misc]
    yield from _looks(NODE_LOOKS, settings_file)


def _parts_of_deployments(
    deployments: Sequence[Deployment], settings_file: Path | None
) -> Iterator[tuple[str, Callable[[], str]]]:
    for deployment in deployments:
        folder = "deployments/" + re.sub(r"[^\w.-]", "-", f"{deployment.identity}-{deployment.action}-{deployment.id}")
        filled = [tuple(deployment.id if word == "{}" else word for word in look) for look in DEPLOYMENT_LOOKS]
        yield from _looks(filled, settings_file, folder)


def _looks(
    looks: Sequence[tuple[str, ...]], settings_file: Path | None, folder: str = "commands"
) -> Iterator[tuple[str, Callable[[], str]]]:
    there = cli.commands_of(cli.parser())
    for look in looks:
        if look[0] in there:
            form = "json" if look[-1] == "json" else "txt"
            yield f"{folder}/{look[0]}.{form}", lambda look=look: _said(look, settings_file)  # type: ignore[misc]


def _said(command: tuple[str, ...], settings_file: Path | None) -> str:
    """What a command writes, how it ends, and what it says beside it."""
    named = ["--settings", str(settings_file)] if settings_file else []
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            status = cli.main([*named, *command])
        except SystemExit as ended:  # bad arguments
            status = int(ended.code or 0)
    if command[-1] == "json" and not err.getvalue():
        return out.getvalue()
    said = f"{err.getvalue().rstrip()}\n" if err.getvalue() else ""
    return f"{out.getvalue()}{said}(exit status {status})\n"


def _versions(node: Node) -> str:
    from importlib import metadata

    lines = [
        f"heat-config-kubelet {__version__}",
        f"Python {platform.python_version()}",
        f"SQLite {sqlite3.sqlite_version}",
    ]
    lines += [" ".join(os.uname())]
    for package in _PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            lines.append(f"{package} {metadata.version(package)}")
    kubelet, runtime = node.kubelet, node.runtime.process
    for process, program in ((kubelet, "kubelet"), (runtime, node.runtime.name)):
        told = node.run((f"/proc/{process.pid}/exe" if process else program, "--version"))
        lines.append(f"{program}: {told.text if told else 'not there, or not to be asked'}")
        if process:
            lines.append(f"  runs as process {process.pid}: {' '.join(process.command)}")
    for command in (("systemctl", "--version"), ("runc", "--version"), ("crun", "--version")):
        told = node.run(command)
        if told:
            lines.append(told.text)
    with contextlib.suppress(OSError):
        lines.append(Path("/etc/os-release").read_text(errors="replace"))
    return "\n".join(lines) + "\n"


def _machine() -> str:
    commands = (
        ("uptime",),
        ("df", "-h"),
        ("df", "-i"),
        ("free", "-m"),
        ("ip", "-brief", "address"),
        ("ip", "route"),
        ("timedatectl", "status"),
        ("systemctl", "--failed", "--no-pager"),
    )
    return "\n".join(f"$ {' '.join(command)}\n{run_text(command)}" for command in commands)


def _collector_file(node: Node) -> str:
    lines = [f"# {node.collector_path}, as it is read; without comments"]
    for section, values in node.collector.sections.items():
        lines.append(f"[{section}]")
        for name, each in values.items():
            lines += [f"{name} = {BLANK if is_secret_name(name) and value else value}" for value in each]
    return "\n".join([*lines, *node.collector.faults]) + "\n"


def _folders(node: Node) -> str:
    settings, access = node.settings, node.view.access
    folders = [
        settings.state_dir,
        settings.run_dir,
        settings.os_collect_config_cache,
        settings.deployed_dir,
        *settings.hooks_dirs,
        settings.file.parent,
    ]
    return "\n".join(_listing(folder) for folder in [*folders, *([access.manifest_dir] if access else [])])


def _listing(folder: Path) -> str:
    lines = [f"{folder}:"]
    try:
        for path in sorted(folder.rglob("*")):
            state = path.lstat()
            changed = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(state.st_mtime))
            owner = f"{state.st_uid}:{state.st_gid}"
            mode = stat.filemode(state.st_mode)
            lines.append(f"  {mode} {owner:>11} {state.st_size:>10} {changed} {path.relative_to(folder)}")
    except OSError as error:
        lines.append(f"  {error.strerror or error}")
    return "\n".join([*lines, ""])


def _tables(file: Path) -> str:
    """Every table of the store, a line of JSON for each row; by name, what is secret is left out."""
    if not file.exists():
        return "(there is no store)\n"
    try:
        return _rows(file, "mode=ro")
    except sqlite3.OperationalError as error:  # SQLite writes beside a file that it only reads, if it can
        return f"({error}; read as it is on the disk, without its log)\n" + _rows(file, "mode=ro&immutable=1")


def _rows(file: Path, how: str) -> str:
    lines = []
    with contextlib.closing(sqlite3.connect(f"file:{quote(str(file))}?{how}", uri=True)) as db:
        db.row_factory = sqlite3.Row
        lines.append(json.dumps({"user_version": db.execute("PRAGMA user_version").fetchone()[0]}))
        tables = [row[0] for row in db.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")]
        for table in tables:
            rows = db.execute(f'SELECT * FROM "{table}"').fetchall()  # noqa: S608  (a name of SQLite's own list)
            lines.append(json.dumps({"table": table, "rows": len(rows)}))
            lines += [json.dumps(_row(row), ensure_ascii=False) for row in rows[-_MOST_ROWS:]]
    return "\n".join(lines) + "\n"


def _row(row: sqlite3.Row) -> dict[str, Any]:
    return {name: _cell(row[name]) for name in row.keys()}  # noqa: SIM118  (iterating a Row gives its values)


def _cell(value: Any) -> Any:
    if not isinstance(value, str) or not value.startswith(("{", "[")):
        return value
    try:
        content = json.loads(value)
    except ValueError:
        return value
    return entry_without_secrets(content)


def entry_without_secrets(content: Any) -> Any:
    """Give JSON, such as an entry of the metadata, without what is secret by its name."""
    if not isinstance(content, dict) or "group" not in content:
        return by_name(content, keys=True)
    rest = by_name({name: value for name, value in content.items() if name != "config"}, keys=True)
    return {**rest, "config": by_name(content.get("config"), keys=content["group"] != KUBELET_GROUP)}


def _kubelet_file(node: Node) -> str:
    file = node.view.access.config_file if node.view.access else None
    return file.read_text("utf-8", "replace") if file else "(none is known)\n"


def _manifest_files(node: Node) -> list[Path]:
    access = node.view.access
    return [access.manifest_dir / found.file for found in node.view.manifests if found.ours] if access else []


def _manifest(file: Path) -> str:
    return json.dumps(by_name(json.loads(file.read_bytes()), keys=False), indent=2, ensure_ascii=False) + "\n"


def _journal(unit: str) -> str:
    return run_text(
        ("journalctl", "--unit", unit, "--since", _LOG_SINCE, "--output=short-iso-precise", "--no-pager", "--quiet")
    )


def _end_of(file: Path) -> str:
    with file.open("rb") as handle:
        size = handle.seek(0, os.SEEK_END)
        handle.seek(max(0, size - 2 * MOST_BYTES))
        return handle.read(2 * MOST_BYTES).decode("utf-8", "replace")
