"""The agent itself: its settings, its store, its loop, and the signals that have not simply arrived."""

from __future__ import annotations

import configparser
import json
import os
from collections.abc import Iterator
from pathlib import Path

from ..commands.console import duration
from ..errors import AgentError, DamagedStoreError, SettingsError, StoreError
from ..metadata import read_sources, source_files
from ..overview import moment
from ..settings import Settings, from_parser
from ..signals import CFN_SIGNAL, url_expiry
from ..store import APPLIED, DONE, DOUBTFUL, DROPPED, HOOK, PENDING, REFUSED, Entry, Store
from ..wake import Wake
from .finding import Finding, error, note, warning
from .node import Node

_LOOKS = 10
_LOOK_SECONDS = 0.2
_IDLE_SECONDS = 300.0
"""As `health.py`'s patience: the loop leaves a trace every 10 s while it works."""
_SOON_SECONDS = 120.0


# --- settings


def readable(file: Path) -> tuple[Settings, tuple[str, ...]]:
    """Read what can be read of a settings file; give the settings with the rest at its defaults, and every fault.

    A file that cannot be read at all is one fault too.
    """
    faults: list[str] = []
    parser = configparser.ConfigParser(interpolation=None)
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError:
        text = ""
    except (OSError, UnicodeDecodeError) as problem:
        faults.append(f"{file}: {getattr(problem, 'strerror', None) or 'is no text'}")
        text = ""
    good: dict[str, dict[str, str]] = {}
    for number, section, name, value in _lines(text):
        if section and name and name not in good.get(section, {}):
            parser = configparser.ConfigParser(interpolation=None)
            parser.read_dict({section: {name: value}})
            try:
                from_parser(file, parser)
                good.setdefault(section, {})[name] = value
            except SettingsError as problem:
                faults.append(problem.message)
        elif section and name:
            faults.append(f"{file}: line {number}: [{section}] {name} already exists")
        else:
            faults.append(f"{file}: line {number}: must be [section] or name = value")
    parser = configparser.ConfigParser(interpolation=None)
    parser.read_dict(good)
    return from_parser(file, parser), tuple(dict.fromkeys(faults))


def _lines(text: str) -> Iterator[tuple[int, str, str, str]]:
    """Give each setting with its section; without a name where a line is none."""
    section = ""
    for number, line in enumerate(text.splitlines(), 1):
        bare = line.strip()
        if not bare or bare.startswith(("#", ";")):
            continue
        if bare.startswith("[") and bare.endswith("]"):
            section = bare[1:-1]
            continue
        places = [place for mark in "=:" if (place := bare.find(mark)) > 0]
        name = bare[: min(places)].strip().lower() if places else ""
        yield number, section, name, bare[min(places) + 1 :].strip() if places else ""


def settings(node: Node) -> Iterator[Finding]:
    """The settings file can be read, and every setting is one."""
    for fault in node.settings_faults:
        yield error(
            fault,
            why="every command of the agent ends with it: nothing is recorded, written or signalled; "
            "doctor goes on with that setting's default",
            mend=f"correct it in {node.settings.file}; nothing has to be restarted",
        )


# --- store


def store(node: Node) -> Iterator[Finding]:
    """The store can be read, is whole, and is this release's."""
    file = node.settings.store_file
    if not _is_there(file):
        yield from _no_store(node, file)
        return
    if not os.access(file, os.R_OK):
        raise PermissionError(13, "Permission denied", str(file))
    try:
        opened = Store.open(file, create=False)
        try:
            opened.check()
            applied = json.loads(opened.get(APPLIED) or "[0, null]")[1]
        finally:
            opened.close()
    except DamagedStoreError as problem:
        yield error(
            problem.message,
            why="what was wanted and not yet signalled cannot be read; the pods keep running",
            mend="heat-config-kubelet run (it sets the file aside and begins a new one)",
        )
        return
    except StoreError as problem:
        yield error(
            problem.message,
            why="nothing is recorded, written or signalled; the pods keep running",
            mend=problem.hint or f"see whether there is room and whether {file.parent} may be written",
        )
        return
    if applied:
        yield warning(
            f"os-apply-config failed in the last pass: {applied}",
            why="a change of os-collect-config's settings in the template does not come into force",
            mend=f"see what it says: {node.settings.os_apply_config}",
        )
    for left in sorted(file.parent.glob(f"{file.name}.damaged-*[0-9]")):
        yield note(
            f"{left}: a store that was damaged, set aside at {moment(float(left.name.rpartition('-')[2]))}",
            why="results that were not yet signalled then are lost; the pods were taken over",
            mend=f"rm {left}* once nobody needs it",
        )


def _no_store(node: Node, file: Path) -> Iterator[Finding]:
    try:
        sources = read_sources(source_files({}, node.settings.os_collect_config_cache))
    except AgentError:
        return
    count = sum(len(source.deployments or ()) for source in sources)
    if count:
        yield error(
            f"{file}: not there, though {count} deployments have been collected",
            why="the agent was not called, or failed: nothing of them is written or signalled",
            mend="heat-config-kubelet run",
        )


# --- loop


def loop(node: Node) -> Iterator[Finding]:
    """Somebody works on what is pending, and would be started for the next deployment."""
    wake = Wake(node.settings.state_dir)
    yield from _path_unit(node)
    if not _is_there(wake.flag):
        return
    since = wake.flag.stat().st_mtime
    process = node.loop
    if process and process.state == "T":
        yield error(
            f"the loop (process {process.pid}) is paused (SIGSTOP), and something is pending",
            why="no pod is written, followed or signalled",
            mend=f"kill -CONT {process.pid}",
        )
        return
    for _ in range(_LOOKS):
        if wake.is_held():
            break
        node.pause(_LOOK_SECONDS)
        if not _is_there(wake.flag):
            return
    else:
        yield error(
            f"something is pending since {moment(since)}, and no loop works on it",
            why="no pod is written, followed or signalled",
            mend=(f"systemctl restart {_path_of(node)}" if node.systemd else "heat-config-kubelet resume")
            + f"; if it ends again: {_log_of(node, wake)}",
        )
        return
    idle = node.now() - max(since, wake.lock_file.stat().st_mtime)
    if idle > _IDLE_SECONDS:
        yield error(
            f"the loop has not moved for {duration(idle)}",
            why="no pod is written, followed or signalled",
            mend=node.restart(
                node.settings.loop_unit,
                f"end process {process.pid if process else '?'}, then: heat-config-kubelet resume",
            ),
        )


def _path_unit(node: Node) -> Iterator[Finding]:
    name = _path_of(node)
    unit = node.unit(name)
    if unit.get("LoadState") == "masked":
        mend = f"systemctl unmask {name} && systemctl enable --now {name}"
    elif unit.get("LoadState") == "loaded" and unit.get("ActiveState") != "active":
        mend = f"systemctl enable --now {name}"
    elif unit.get("LoadState") == "loaded" and unit.get("UnitFileState") == "disabled":
        mend = f"systemctl enable {name}"
    else:
        return
    yield error(
        f"{name} is {unit.get('LoadState')}, {unit.get('ActiveState')}, {unit.get('UnitFileState')}",
        why="nobody starts the loop when something is pending, or not after a reboot",
        mend=mend,
    )


def _path_of(node: Node) -> str:
    return node.settings.loop_unit.removesuffix(".service") + ".path"


def _log_of(node: Node, wake: Wake) -> str:
    place = wake.log_place(node.settings)
    return place if place.startswith("journalctl") else f"tail {place}"


# --- signals


def signals(node: Node) -> Iterator[Finding]:
    """Every result has been signalled, and those to come can be."""
    now = node.now()
    for entry in node.view.live:
        if entry.mode != HOOK:  # heat-agents signal these
            yield from _signal(entry, node, now)


def _signal(entry: Entry, node: Node, now: float) -> Iterator[Finding]:
    deployment = entry.deployment
    name = f"{deployment.identity}, {deployment.action}"
    resend = "then resend it: heat-config-kubelet resend " + str(deployment.identity)
    expiry = url_expiry(deployment, node.settings.cfn_url_lifetime)
    if entry.signal == PENDING and expiry is not None and now > expiry:
        yield _expired(name, deployment.transport, expiry, "its result cannot be delivered any more")
    elif entry.signal == PENDING and entry.attempts:
        yield error(
            f"{name}: the signal waits since {moment(entry.decided_at or now)}, attempts: {entry.attempts}; the last: "
            f"{entry.answer or 'no answer'}",
            why="the stack stays IN_PROGRESS until Heat has it; the agent goes on trying by itself",
            mend="see what doctor says of endpoints; it arrives by itself once the endpoint answers",
        )
    elif entry.state != DONE and expiry is not None and now > expiry - _SOON_SECONDS:
        yield _expired(name, deployment.transport, expiry, "its result will come too late")
    elif entry.signal == REFUSED:
        yield error(
            f"{name}: the signal was refused: {entry.answer}",
            why="Heat does not know the result: the stack stays IN_PROGRESS until its timeout, then fails",
            mend=f"404: resource or stack is no longer there, update the stack; else mend what it says, {resend}",
        )
    elif entry.signal == DOUBTFUL:
        yield warning(
            f"{name}: {entry.answer}",
            why="Heat may wait for it until the stack's timeout",
            mend="give the deployment signal_transport: TEMP_URL_SIGNAL in the template, and update the stack",
        )
    elif entry.signal == DROPPED and not entry.answer.startswith(("superseded", "vanished")):
        yield error(
            f"{name}: the signal was given up: {entry.answer}",
            why="Heat does not know the result: the stack stays IN_PROGRESS until its timeout, then fails",
            mend=f"see what doctor says of endpoints, {resend}"
            if entry.answer.startswith("too old")
            else "update the stack again, for a new URL; where deployments take long: signal_transport: HEAT_SIGNAL or "
            "TEMP_URL_SIGNAL in the template",
        )


def _expired(name: str, transport: str, expiry: float, what: str) -> Finding:
    longer = " or a longer [credential] auth_ttl in Keystone" if transport == CFN_SIGNAL else ""
    return error(
        f"{name}: its pre-signed URL ({transport}) ends at {moment(expiry)}: {what}",
        why="Heat or Swift refuses the signal: the stack stays IN_PROGRESS until its timeout, then fails",
        mend="update the stack again, for a new URL; where deployments take that long: signal_transport: HEAT_SIGNAL "
        f"in the template{longer}",
    )


def _is_there(path: Path) -> bool:
    """Whether there is such a file; raises PermissionError where that cannot be seen."""
    try:
        path.stat()
    except FileNotFoundError:
        return False
    return True
