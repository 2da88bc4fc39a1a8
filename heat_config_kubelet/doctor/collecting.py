"""os-collect-config: its settings, whether it runs and polls, and whether its sources answer.

How it works: os_collect_config/collect.py and cache.py of 14.1. It renames a source's file in its cache whenever that
source answers, except that request answers only what is new, and zaqar only what has not been taken yet.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

from ..collector_cache import damaged
from ..commands.console import duration
from ..store import HOOK, RUN
from .collector_file import COLLECTORS, NEEDED, CollectorFile
from .finding import Finding, error, note, warning
from .node import COLLECTOR_UNIT, Node
from .processes import Process

_GRACE_SECONDS = 30.0
"""How long a poll may take beside the pauses between two."""
_SLOW_SECONDS = 120.0
_STEADY = ("cfn", "heat", "heat_local")
"""Collectors that give the whole at every poll."""
_CFN_POLICY = (
    "Heat's default policy refuses POLL_SERVER_CFN since 2024.1: give the server software_config_transport: "
    "POLL_SERVER_HEAT, POLL_TEMP_URL or ZAQAR_MESSAGE; else "
)
_HOOK_FOLDERS = ("/usr/libexec/os-refresh-config", "/opt/stack/os-config-refresh")
_COMMITTED_SECONDS = 2.0


def settings_file(node: Node) -> Iterator[Finding]:
    """os-collect-config's settings can be read, and name what there is."""
    try:
        file = node.collector
    except FileNotFoundError:
        yield error(
            f"{node.collector_path}: is not there: os-collect-config has no settings",
            why="nothing is collected, so no deployment arrives",
            mend=f"write it, with at least: [DEFAULT] command = heat-config-kubelet run; then {_restart(node)}",
        )
        return
    if file.faults:
        yield error(
            f"{file.file}: {', '.join(file.faults)}: neither a [section] nor a setting",
            why="os-collect-config ends at its start",
            mend=f"correct these lines, then {_restart(node)}",
        )
    unknown = [name for name in file.collectors if name not in COLLECTORS]
    if unknown:
        yield error(
            f"{file.file}: collectors = {', '.join(unknown)}: no such collector",
            why="os-collect-config ends at its start",
            mend=f"take them out; there are {', '.join(COLLECTORS)}; then {_restart(node)}",
        )
    for name in ("polling_interval", "min_polling_interval"):
        value = file.value("DEFAULT", name)
        if value and not _is_number(value):
            yield error(
                f"{file.file}: {name} = {value}: no number of seconds",
                why="os-collect-config ends at its start",
                mend=f"correct it, in the template's os-collect-config metadata too, then {_restart(node)}",
            )
    cache = file.value("DEFAULT", "cachedir")
    if cache and Path(cache) != node.settings.os_collect_config_cache:
        yield warning(
            f"{file.file}: cachedir = {cache}, but the agent looks into {node.settings.os_collect_config_cache}",
            why="what a power loss damages is not mended, and neither health nor doctor sees whether it polls",
            mend=f"set [agent] os_collect_config_cache = {cache} in {node.settings.file}",
        )
    if file.polling_interval > _SLOW_SECONDS:
        yield note(
            f"{file.file}: polling_interval = {file.polling_interval:g}",
            why=f"up to {duration(file.polling_interval)} pass before a change of the template is seen",
            mend="set it in the server's metadata: os-collect-config: {polling_interval: 30}",
        )


def way_in(node: Node) -> Iterator[Finding]:
    """os-collect-config's command is ours, and only one of the two ways in is used."""
    command = node.collector.value("DEFAULT", "command")
    way = _way_of(node, command)
    if not way:
        shown = f"command = {command}" if command else "no command is set"
        yield error(
            f"{node.collector_path}: {shown}: does not call heat-config-kubelet",
            why="deployments are collected, but nobody is told: they stay IN_PROGRESS",
            mend=f"set [DEFAULT] command = heat-config-kubelet run, then {_restart(node)}",
        )
        return
    chosen = node.settings.mode
    if chosen not in ("auto", way):
        yield error(
            f"{node.collector_path}: command = {command} is the way in `{way}`, but {node.settings.file} says "
            f"[agent] mode = {chosen}",
            why="the agent refuses what comes by the other way",
            mend=f"set [agent] mode = {way}, or change the command, then {_restart(node)}",
        )
    store = node.view.store
    used = store.get("mode") if store else None
    if chosen == "auto" and used and used != way:
        yield error(
            f"both ways in: this node has used `{used}` so far, and {node.collector_path} says command = {command}",
            why="only one may be used on a node: the other one fails",
            mend=f"say which one stays: [agent] mode = {way} in {node.settings.file}",
        )


def _way_of(node: Node, command: str) -> str:
    """The way in that a command takes: run, hook, or "" where it leads to neither."""
    words = command.split()
    text = command
    if words and words[0].startswith("/"):
        try:
            text += "\n" + Path(words[0]).read_text(encoding="utf-8", errors="replace")[:20000]
        except OSError:
            pass
    if "heat-config-kubelet" in text and "run" in text.split():
        return RUN
    if "os-refresh-config" in text or "heat-config" in text:
        hooks = [folder / "kubelet" for folder in node.settings.hooks_dirs]
        if any(_mentions_us(hook) for hook in hooks):
            return HOOK
        scripts = (path for folder in _HOOK_FOLDERS for path in node.machine.at(folder).glob("configure.d/*"))
        if any(_mentions_us(path, " run") for path in scripts):
            return RUN
    return ""


def _mentions_us(path: Path, more: str = "") -> bool:
    try:
        return f"heat-config-kubelet{more}" in path.read_text(encoding="utf-8", errors="replace")[:20000]
    except OSError:
        return False


def collectors(node: Node) -> Iterator[Finding]:
    """The collectors that ask Heat have all they need, and at least one does."""
    file = node.collector
    for name in file.collectors:
        missing = file.missing(name) if name in NEEDED and name in file.sections else ()
        if missing and len(missing) < len(NEEDED[name]):
            yield error(
                f"{file.file}: [{name}] has no {', '.join(missing)}",
                why=f"without it the collector {name} never asks Heat, and does not say so",
                mend="Heat sends these in the server's user data: see that the server has user_data_format: "
                f"SOFTWARE_CONFIG and the image reads its user data; else set them, then {_restart(node)}",
            )
    if not file.configured and not any(_has_deployments(path) for path in _sources(node)):
        yield warning(
            f"{file.file}: no collector is told where Heat is",
            why="no deployment can arrive",
            mend="give the server software_config_transport: POLL_SERVER_HEAT, POLL_TEMP_URL or ZAQAR_MESSAGE and "
            f"user_data_format: SOFTWARE_CONFIG, and see whether its user data came: {_local_paths(file)[0]}",
        )
    if "zaqar" in file.configured:
        yield from _zaqar(file, node)
    if "local" in file.collectors:
        yield from _local(file)


def _zaqar(file: CollectorFile, node: Node) -> Iterator[Finding]:
    verifies = file.truth("zaqar", "ssl_certificate_validation")
    if verifies and not file.value("zaqar", "ca_file"):
        yield error(
            f"{file.file}: [zaqar] ssl_certificate_validation without ca_file",
            why="the collector zaqar asks nobody then, and does not say so",
            mend=f"set [zaqar] ca_file to the file of the CA of Zaqar's certificate, then {_restart(node)}",
        )
    elif not verifies and file.value("zaqar", "auth_url").startswith("https:"):
        yield warning(
            f"{file.file}: [zaqar] ssl_certificate_validation is off",
            why="whoever answers in Zaqar's place is believed: it could run anything on this node",
            mend="set ssl_certificate_validation = true and ca_file in [zaqar], or in the server's metadata",
        )


def _local(file: CollectorFile) -> Iterator[Finding]:
    """What the local collector calls insecure it does not read (os_collect_config/local.py)."""
    for folder in map(Path, file.values("local", "path") or ("/var/lib/os-collect-config/local-data",)):
        if not folder.is_dir():
            continue
        there = [folder, *(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))]
        for path in there:
            state = path.stat()
            if state.st_mode & stat.S_IWOTH or (path == folder and state.st_uid != 0):
                how = "everybody may write to it" if state.st_mode & stat.S_IWOTH else "it is not root's"
                yield error(
                    f"{path}: {how}",
                    why="the collector local reads nothing at all then",
                    mend=f"chown root {path} && chmod o-w {path}",
                )


def cache(node: Node) -> Iterator[Finding]:
    """What os-collect-config keeps can be read, is fresh, and was taken over by its command."""
    folder = node.settings.os_collect_config_cache
    if not folder.is_dir():
        yield error(
            f"{folder}: not there: os-collect-config has never collected anything",
            why="no deployment has ever arrived",
            mend=f"see why: journalctl -u {COLLECTOR_UNIT}" if node.systemd else "start os-collect-config",
        )
        return
    bad = damaged(folder)
    for path in bad:
        yield error(
            f"{path}: is no JSON",
            why="cut short by a power loss or a full disk: it ends os-collect-config at every start",
            mend=f"heat-config-kubelet check-cache, then {_restart(node)}",
        )
    late = [path for path in _not_committed(folder) if path not in bad]
    if late and node.os_collect_config:
        node.pause(_COMMITTED_SECONDS)
        late = [path for path in _not_committed(folder) if path in late]
        if late:
            yield error(
                f"{', '.join(path.name for path in late)}: collected, but the command has not taken it over",
                why="the command fails or hangs; os-collect-config calls it again at each poll with the same data",
                mend="mend what else is found here first; else see why: heat-config-kubelet run",
            )


def _not_committed(folder: Path) -> list[Path]:
    """The files whose content the last successful command has not seen."""
    found = []
    for path in sorted(folder.glob("*.json")):
        last = path.with_name(path.name + ".last")
        try:
            if path.name != "os_config_files.json" and (
                not last.exists() or json.loads(last.read_bytes()) != json.loads(path.read_bytes())
            ):
                found.append(path)
        except (ValueError, FileNotFoundError):
            continue
    return found


def polling(node: Node) -> Iterator[Finding]:
    """os-collect-config runs, starts by itself after a reboot, and its sources have answered lately."""
    process = node.os_collect_config
    if process is None:
        yield _not_running(node)
    elif process.state == "T":
        yield error(
            f"os-collect-config (process {process.pid}) is paused (SIGSTOP)",
            why="no change of the stack arrives",
            mend=f"kill -CONT {process.pid}",
        )
    else:
        yield from _silent(node, node.collector, process)
    unit = node.unit(COLLECTOR_UNIT)
    if unit.get("UnitFileState") == "disabled":
        yield warning(
            f"{COLLECTOR_UNIT} is not enabled",
            why="after a reboot nothing is collected",
            mend=f"systemctl enable {COLLECTOR_UNIT}",
        )
    if int(unit.get("NRestarts") or 0) >= 5 and node.now() - (process.started_at if process else 0) < 60:
        yield error(
            f"{COLLECTOR_UNIT} has been restarted {unit['NRestarts']} times, and again just now",
            why="it ends over and over, and collects little or nothing",
            mend=f"see why: journalctl -u {COLLECTOR_UNIT} -n 50",
        )


def _not_running(node: Node) -> Finding:
    unit = node.unit(COLLECTOR_UNIT)
    if unit.get("LoadState") == "masked":
        mend = f"systemctl unmask {COLLECTOR_UNIT} && systemctl enable --now {COLLECTOR_UNIT}"
    elif node.systemd:
        mend = f"systemctl restart {COLLECTOR_UNIT}; if it ends again: journalctl -u {COLLECTOR_UNIT} -n 50"
    else:
        mend = f"start it: os-collect-config --config-file {node.collector_path}"
    state = f" ({unit.get('ActiveState')}, {unit.get('Result')})" if unit.get("ActiveState") else ""
    return error(
        f"os-collect-config does not run{state}",
        why="no change of the stack arrives: new deployments stay IN_PROGRESS until the stack's timeout",
        mend=mend,
    )


def _silent(node: Node, file: CollectorFile, process: Process) -> Iterator[Finding]:
    limit = 2 * file.polling_interval + _GRACE_SECONDS
    now = node.now()
    if now - process.started_at <= limit:
        return
    for name, when in _answered(node, file):
        if now - when <= limit:
            continue
        yield error(
            f"the source {name} has not answered for {duration(now - when)}" if when else f"{name} has never answered",
            why="its deployments do not arrive, and those that it has dropped keep running",
            mend=(_CFN_POLICY if name == "cfn" else "")
            + "see what doctor says of endpoints, and "
            + (f"journalctl -u {COLLECTOR_UNIT} -n 50" if node.systemd else "os-collect-config's log"),
        )


def _answered(node: Node, file: CollectorFile) -> Iterator[tuple[str, float]]:
    """When each source that gives the whole at every poll has last answered; the epoch where it never has."""
    cached = node.settings.os_collect_config_cache
    names = [name for name in file.collectors if name in _STEADY and (name == "heat_local" or name in file.configured)]
    if "heat_local" in names and not any(map(os.path.exists, _local_paths(file))):
        names.remove("heat_local")
    if "local" in file.collectors:
        folders = map(Path, file.values("local", "path") or ("/var/lib/os-collect-config/local-data",))
        names += [path.name for folder in folders if folder.is_dir() for path in folder.iterdir() if path.is_file()]
    for name in names:
        if not name.startswith("."):
            try:
                yield name, (cached / f"{name}.json").stat().st_mtime
            except FileNotFoundError:
                yield name, 0.0


def _local_paths(file: CollectorFile) -> tuple[str, ...]:
    return file.values("heat_local", "path") or ("/var/lib/heat-cfntools/cfn-init-data",)


def _sources(node: Node) -> Iterable[Path]:
    folder = node.settings.os_collect_config_cache
    return folder.glob("*.json") if folder.is_dir() else ()


def _has_deployments(path: Path) -> bool:
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return False
    return isinstance(content, dict) and isinstance(content.get("deployments"), list)


def _is_number(text: str) -> bool:
    try:
        return float(text) >= 0
    except ValueError:
        return False


def _restart(node: Node) -> str:
    return node.restart(COLLECTOR_UNIT, "start os-collect-config again")
