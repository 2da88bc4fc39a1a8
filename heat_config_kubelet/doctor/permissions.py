"""Files that hold secrets are for root alone."""

from __future__ import annotations

import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

from ..kubelet_config import own_file, own_pki
from .finding import Finding, error
from .node import Node

_OTHERS = stat.S_IRGRP | stat.S_IROTH
_CHANGERS = stat.S_IWGRP | stat.S_IWOTH
_CLOUD_INIT = Path("/var/lib/cloud/data/cfn-init-data")
_CFNTOOLS = Path("/var/lib/heat-cfntools/cfn-init-data")
_BACKUP = Path("/var/run/os-collect-config")


def permissions(node: Node) -> Iterator[Finding]:
    """Nobody but root can read credentials, deployments and manifests, or change what the agent goes by."""
    for path in _secret_files(node):
        mode = path.stat().st_mode
        if mode & (_OTHERS | _CHANGERS) and _reachable(path):
            yield error(
                f"{path}: others can {'change' if mode & _CHANGERS else 'read'} it (mode {stat.S_IMODE(mode):04o})",
                why="it holds passwords, keys or signed URLs, by which Heat can be told anything in this node's name",
                mend=f"chmod 0600 {path}",
            )
    for path in (node.settings.file, *_folders(node)):
        if path.exists() and path.stat().st_mode & _CHANGERS:
            yield error(
                f"{path}: others can change it (mode {stat.S_IMODE(path.stat().st_mode):04o})",
                why="who can change it, can run anything on this node as root",
                mend=f"chmod go-w {path}",
            )


def _folders(node: Node) -> Iterator[Path]:
    yield from (node.settings.state_dir, node.settings.os_collect_config_cache, *node.settings.hooks_dirs)
    if node.view.access:
        yield node.view.access.manifest_dir


def _secret_files(node: Node) -> Iterator[Path]:
    settings = node.settings
    ours = own_pki(settings)
    candidates: list[Path] = [
        node.collector_path,
        own_file(settings),
        ours.server,
        ours.client,
        ours.authority,
        settings.state_dir / "loop.log",
        *(settings.state_dir / f"store.sqlite{suffix}" for suffix in ("", "-wal", "-shm")),
        *(path for path in (settings.kubelet_client_key,) if path),
        *map(node.machine.at, map(str, (_CLOUD_INIT, _CFNTOOLS))),
        *_json(settings.os_collect_config_cache),
        *_json(_backup(node)),
        *_json(settings.deployed_dir),
    ]
    try:
        candidates += map(Path, node.collector.values("heat_local", "path"))
    except OSError:
        pass
    if node.view.access:
        folder = node.view.access.manifest_dir
        candidates += [folder / found.file for found in node.view.manifests if found.ours]
    for path in dict.fromkeys(candidates):
        try:
            if path.is_file():
                yield path
        except PermissionError:
            continue  # below a folder that is for root alone


def _backup(node: Node) -> Path:
    try:
        named = node.collector.value("DEFAULT", "backup_cachedir")
    except OSError:
        named = ""
    return Path(named) if named else node.machine.at(str(_BACKUP))


def _json(folder: Path) -> Iterable[Path]:
    try:
        return sorted(folder.glob("*.json*")) if folder.is_dir() else ()
    except PermissionError:
        return ()


def _reachable(path: Path) -> bool:
    """Whether others get to a file at all: a folder above it may be for its owner alone."""
    return all(parent.stat().st_mode & (stat.S_IXGRP | stat.S_IXOTH) for parent in path.resolve().parents)
