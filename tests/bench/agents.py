"""What agents cost: several side by side, each with one deployment, its kubelet played (`played_kubelet.py`).

Counted is the CPU, user and system, of every process that os-collect-config's command starts, from its start with the
changed metadata until the last of them has ended, the loop too; the signal has been received by then. Not counted is
the pass before, with nothing deployed: the agents are those of nodes that have booted, and their settings are rendered.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path

from lab import deployments as heat
from lab.node import LabNode
from lab.receiver import Receiver

from heat_config_kubelet import kubelet_config, settings

from . import heat_agents
from .measure import pod
from .played_kubelet import PlayedKubelet

COUNT = 10
START_SECONDS = 0.0
"""From a manifest to its pod's readiness: about what a real kubelet takes for one pod."""
_REAPER = Path(__file__).with_name("reaper.py")
_TIMEOUT = 120.0
_COLLECTED = {"polling_interval": 30, "collectors": ["cfn"]}
"""Settings of os-collect-config in the metadata, as Heat's are."""


def ours(node: LabNode, receiver: Receiver) -> float:
    """Seconds of CPU for each of our agents."""
    with ExitStack() as stack:
        agents = []
        for number in range(COUNT):
            folder = _fresh(node, number)
            kubelet = stack.enter_context(closing(PlayedKubelet(folder / "manifests", START_SECONDS)))
            environment = _configure(folder, kubelet)
            entry = heat.deployment(f"d{number}", pod("web"), receiver, options={"min_ready_seconds": 0})
            program = str(Path(sys.executable).with_name("heat-config-kubelet"))
            agents.append(_Agent(folder, (program, "run"), entry, environment))
        return _cost(node, receiver, agents)


def theirs(node: LabNode, receiver: Receiver) -> float:
    """Seconds of CPU for each chain of heat-agents."""
    agents = []
    for number in range(COUNT):
        folder = _fresh(node, number)
        entry = heat.deployment(f"d{number}", pod("web"), receiver, group=heat_agents.GROUP)
        agents.append(_Agent(folder, (str(heat_agents.write_whole_chain(folder)),), entry, {}))
    return _cost(node, receiver, agents)


class _Agent:
    """One agent: its folder, os-collect-config's command, the one deployment, and variables of its own."""

    def __init__(
        self, folder: Path, command: tuple[str, ...], entry: heat.Metadata, environment: Mapping[str, str]
    ) -> None:
        self.name = str(entry["name"])
        self._command = command
        self._environment = dict(environment)
        self._metadata = folder / "heat.json"
        self._entry = entry

    def boot(self, node: LabNode) -> None:
        """Do the first pass, with nothing deployed."""
        self._run(node)

    def deploy(self, node: LabNode) -> float:
        """Do the pass that brings the deployment; gives the seconds of CPU."""
        return self._run(node, self._entry)

    def _run(self, node: LabNode, *entries: heat.Metadata) -> float:
        """Run the command as os-collect-config does, and wait for the end of all."""
        self._metadata.write_text(json.dumps(heat.metadata(*entries, **{"os-collect-config": _COLLECTED})))
        done = subprocess.run(
            [*node.slot.cgroup.joining("agent"), sys.executable, str(_REAPER), *self._command],
            env={**node.environment, **self._environment, "OS_CONFIG_FILES": str(self._metadata)},
            check=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            timeout=_TIMEOUT,
        )
        return float(done.stdout)


def _cost(node: LabNode, receiver: Receiver, agents: list[_Agent]) -> float:
    receiver.forget()
    with ThreadPoolExecutor(len(agents)) as pool:
        list(pool.map(lambda agent: agent.boot(node), agents))
        seconds: list[float] = list(pool.map(lambda agent: agent.deploy(node), agents))
    for agent in agents:
        assert receiver.signals(agent.name), f"no signal for {agent.name}"
    return sum(seconds) / len(agents)


def _fresh(node: LabNode, number: int) -> Path:
    folder = node.folder / "agents" / str(number)
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "manifests").mkdir(parents=True)
    return folder


def _configure(folder: Path, kubelet: PlayedKubelet) -> dict[str, str]:
    """Write the settings of one of our agents and its kubelet's configuration; give its variables."""
    templates = Path(settings.__file__).parent / "data" / "os-apply-config"
    file = folder / "agent.conf"
    file.write_text(
        f"[agent]\nstate_dir = {folder / 'state'}\nrun_dir = {folder / 'run'}\nsystemd = no\n"
        f"os_apply_config = os-apply-config --templates {templates} --output {folder / 'root'}\n"
        f"[kubelet]\nmanifest_dir = {folder / 'manifests'}\nlog = {folder / 'kubelet.log'}\nnode_name = played\n"
    )
    (folder / "kubelet.log").touch()
    known = settings.load(file)
    kubelet_config.write_kubelet_config(
        known, port=kubelet.port, runtime_endpoint="unix:///run/none.sock", cgroup_driver="cgroupfs"
    )
    kubelet.listen(kubelet_config.own_pki(known))
    return {
        settings.SETTINGS_VARIABLE: str(file),
        "OS_COLLECT_CONFIG_FILE": str(folder / "root" / "etc" / "os-collect-config.conf"),
    }
