"""The container runtime: whether it answers, agrees with the kubelet on control groups, and has a network for pods."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ..errors import AgentError
from .finding import Finding, error, warning
from .kubelet import kubelet_release, runtime_release
from .node import Node, Runtime

_ASKS_RUNTIME = (1, 34)
"""From that release on a kubelet asks the runtime for its cgroup driver (KubeletCgroupDriverFromCRI)."""
_TELLS = {"containerd": (2, 0), "crio": (1, 28)}
"""From these releases on a runtime answers."""
_DRIVERS = {"true": "systemd", "false": "cgroupfs", "systemd": "systemd", "cgroupfs": "cgroupfs"}


def answers(node: Node) -> Iterator[Finding]:
    """The runtime's socket answers."""
    runtime = node.runtime
    if runtime.process and runtime.process.state == "T":
        yield error(
            f"{runtime.name} (process {runtime.process.pid}) is paused (SIGSTOP)",
            why="no container is started or ended, and the kubelet is not healthy",
            mend=f"kill -CONT {runtime.process.pid}",
        )
    elif runtime.problem and node.is_apart:
        raise _unseen(runtime)
    elif runtime.problem:
        unit = f"{runtime.name}.service"
        yield error(
            f"{runtime.socket}: the container runtime does not answer: {runtime.problem}",
            why="no container is started or ended, and the kubelet is not healthy or does not start",
            mend=node.restart(unit, f"start {runtime.name} again")
            + (f"; if it ends again: journalctl -u {unit} -n 50" if node.systemd else ""),
        )


def _unseen(runtime: Runtime) -> AgentError:
    return AgentError(f"{runtime.socket}: cannot be seen from here; the kubelet, which needs it, is healthy")


def cgroup_driver(node: Node) -> Iterator[Finding]:
    """Kubelet and runtime put pods into control groups by the same driver."""
    runtime = node.runtime
    told = driver_of(runtime)
    ours = str(node.kubelet_fields.get("cgroupDriver") or "cgroupfs")
    if not told or told == ours or not node.kubelet_fields:
        return
    kubelet, release = kubelet_release(node), runtime_release(node)
    asked = kubelet is not None and kubelet >= _ASKS_RUNTIME
    if asked and release is not None and release >= _TELLS.get(runtime.name, (99, 0)):
        return  # the kubelet takes the runtime's
    file = node.view.access.config_file if node.view.access else None
    yield error(
        f"{file}: cgroupDriver is {ours}, but {runtime.config_file} has {told}",
        why="pods do not start, or are ended for no visible reason when memory is short",
        mend=f"set cgroupDriver: {told}, or heat-config-kubelet kubelet-config; then "
        + node.restart(node.settings.kubelet_unit, "start the kubelet again"),
    )


def driver_of(runtime: Runtime) -> str:
    """The cgroup driver by the runtime's settings; "" where there are none."""
    found = ""
    for text in _texts(runtime):
        found = found or ("systemd" if runtime.name == "crio" else "cgroupfs")  # their defaults
        for match in re.finditer(r'^\s*(?:SystemdCgroup|cgroup_manager)\s*=\s*"?(\w+)"?', text, re.MULTILINE):
            found = _DRIVERS.get(match[1], found)
    return found


def network(node: Node) -> Iterator[Finding]:
    """The runtime has a network configuration for pods, and the plugins that it names."""
    runtime = node.runtime
    if runtime.process is None and node.is_apart:
        raise _unseen(runtime)
    if runtime.config_file is None:
        return  # it does not run, which is told already, and nobody knows its settings
    folder, programs = folders_of(runtime)
    configured = sorted(path for path in folder.glob("*") if path.suffix in (".conf", ".conflist", ".json"))
    if not configured:
        yield error(
            f"{folder}: no network configuration (CNI)",
            why="no pod gets a sandbox, but those with hostNetwork: true; they stay ContainerCreating",
            mend=f"put one there, such as 10-pods.conflist of the element containerd; {runtime.name} takes it at once",
        )
        return
    file = configured[0]  # both runtimes take the first by name
    try:
        content = json.loads(file.read_bytes())
    except ValueError as problem:
        yield error(
            f"{file}: no JSON: {problem}",
            why="no pod gets a sandbox, but those with hostNetwork: true; they stay ContainerCreating",
            mend="correct it, or put a good one before it by name",
        )
        return
    missing = [name for name in plugins_of(content) if not any((place / name).exists() for place in programs)]
    if missing:
        yield error(
            f"{file} names the plugins {', '.join(missing)}, which are not in {', '.join(map(str, programs))}",
            why="no pod gets a sandbox, but those with hostNetwork: true; they stay ContainerCreating",
            mend="install them (Debian's package containernetworking-plugins), or set the folder where they are in "
            f"{runtime.config_file}",
        )
    if len(configured) > 1:
        yield warning(
            f"{folder}: {len(configured)} network configurations; {file.name} is taken, the first by name",
            why="pods may be in another network than meant",
            mend="remove the others: " + ", ".join(str(path) for path in configured[1:]),
        )


def folders_of(runtime: Runtime) -> tuple[Path, tuple[Path, ...]]:
    """Where a runtime looks for network configurations and plugins; its defaults where its settings do not say."""
    text = "\n".join(_texts(runtime))
    folders = re.findall(r'^\s*(?:conf_dir|network_dir)\s*=\s*["\']([^"\']+)["\']', text, re.MULTILINE)
    programs = re.findall(r"^\s*(?:bin_dirs?|plugin_dirs)\s*=\s*(\[[^\]]*\]|[\"'][^\"']+[\"'])", text, re.MULTILINE)
    found = tuple(Path(each) for each in re.findall(r"[\"']([^\"']+)[\"']", programs[-1])) if programs else ()
    return Path(folders[-1] if folders else "/etc/cni/net.d"), found or (Path("/opt/cni/bin"),)


def plugins_of(content: Mapping[str, Any]) -> tuple[str, ...]:
    """The plugins that a network configuration or a list of them names, those for addresses too."""
    found: dict[str, None] = {}
    for plugin in content.get("plugins") or [content]:
        for each in (plugin, plugin.get("ipam") or {}):
            if isinstance(each.get("type"), str):
                found[each["type"]] = None
    return tuple(found)


def _texts(runtime: Runtime) -> Iterator[str]:
    """The runtime's settings: the file, and those that usually lie beside it, in the order in which they win."""
    file = runtime.config_file
    if file is None:
        return
    beside = sorted(Path(f"{file}.d").glob("*")) + sorted((file.parent / "conf.d").glob("*.toml"))
    for path in (file, *beside):
        try:
            yield path.read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue
