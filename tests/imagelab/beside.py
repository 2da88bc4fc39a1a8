"""The agent's container beside a node of the lab: what it is given of the node, and how it is run.

The shipped unit and static pod are used as they are, but for the folders, which are this node's own, and for times.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from lab import deployments as heat
from lab.deployments import Metadata
from lab.node import LabNode
from lab.receiver import Receiver

from heat_config_kubelet.pki import Pki

from .container import NAME, ROOT, Podman

SHIPPED = ROOT / "image-build" / "container"
UNIT = SHIPPED / "heat-config-kubelet-container.service"
POD = SHIPPED / "heat-config-kubelet.yaml"
POD_NAME = "heat-config-kubelet"
QUICK = {"min_ready_seconds": 0, "poll_period": 0.2}
_MANIFESTS = "/etc/kubernetes/manifests"
_THE_MACHINES = ("/etc/machine-id", "/sys/fs/cgroup")
_WORK_SECONDS = 90.0


class Beside:
    """What a node gives to the agent's container: folders at the places where a real node has its own."""

    def __init__(self, node: LabNode, receiver: Receiver, folder: Path) -> None:
        self.node = node
        self.receiver = receiver
        self.settings = folder / "settings"
        self.state = folder / "state"
        self.hooks = folder / "hooks"
        self.collected = folder / "collected"
        self._user_data = folder / "user-data"
        self._owner = 0
        self.places = {
            "/etc/heat-config-kubelet": self.settings,
            _MANIFESTS: node.manifests,
            "/var/lib/kubelet/config.yaml": node.state_dir / "kubelet.json",
            "/var/lib/heat-cfntools": self._user_data,
            "/var/lib/heat-config": self.hooks,
            "/var/lib/heat-config-kubelet": self.state,
            "/var/lib/os-collect-config": self.collected,
            "/var/log": node.log,
        }
        for path in self.places.values():
            if path != node.state_dir / "kubelet.json":
                path.mkdir(parents=True, exist_ok=True)
        pki = Pki(node.state_dir / "pki")
        self.trust(pki.ca)
        shutil.copy(pki.client, self.settings / "client.pem")
        self.write_settings(client="client.pem")
        self.deploy()

    def write_settings(self, *, client: str = "", node_name: str = "") -> None:
        """Write the agent's settings, with this certificate for the kubelet's API; a loop reads them as it starts."""
        self.wait_until_idle()
        lines = ["[kubelet]", f"node_name = {node_name or self.node.name}", "log = /run/log/kubelet.log"]
        lines += ["ca = /etc/heat-config-kubelet/kubelet-ca.crt"]
        lines += [f"client_cert = /etc/heat-config-kubelet/{client}"] if client else []
        aside = self.settings / ".new"
        aside.write_text("\n".join(lines) + "\n")
        aside.rename(self.settings / "heat-config-kubelet.conf")

    def wait_until_idle(self) -> None:
        """Wait until the loop has ended, as it does when nothing is pending."""
        self.node.wait_for(lambda: not (self.state / "pending").exists(), "the loop to end")

    def trust(self, certificate: Path) -> None:
        """Let the agent expect a certificate of the kubelet that this one has signed."""
        shutil.copy(certificate, self.settings / "kubelet-ca.crt")

    def give_to(self, user: int) -> None:
        """Make everything that the container is given this user's; the kubelet's configuration is there as a copy."""
        self._owner = user
        config = self.settings.parent / "kubelet.json"
        shutil.copy(self.node.state_dir / "kubelet.json", config)
        self.places["/var/lib/kubelet/config.yaml"] = config
        for place in self.places.values():
            if place != self.node.log:
                for path in [place, *place.rglob("*")]:
                    os.chown(path, user, user)

    # --- deployments

    def entry(self, name: str, config: object, **fields: Any) -> Metadata:
        """Give an entry of the metadata that is signalled to the receiver."""
        fields["options"] = {**QUICK, **fields.get("options", {})}
        return heat.deployment(name, config, self.receiver, **fields)

    def deploy(self, *entries: Metadata) -> None:
        """Make these entries all that the user data says, and add settings of os-collect-config."""
        settings = {"polling_interval": 1, "collectors": ["heat_local", "local"]}
        aside = self._user_data / ".new"
        aside.touch(mode=0o600)
        aside.write_text(json.dumps(heat.metadata(*entries, **{"os-collect-config": settings})))
        os.chown(aside, self._owner, self._owner)
        aside.rename(self._user_data / "cfn-init-data")

    def signal(self, name: str, count: int = 1) -> dict[str, Any]:
        """Wait for a deployment's signal, the count-th, and give what Heat gets to see."""
        try:
            found = self.receiver.wait_for_signal(name, count=count, timeout=_WORK_SECONDS)
        except TimeoutError as error:
            raise AssertionError(f"{error}\n{self.story()}") from None
        return dict(found.signal)

    def story(self) -> str:
        """What the agent and the node have logged."""
        logs = [self.state / "loop.log", *self.node.log.glob(f"pods/*_{POD_NAME}-*/*/*.log")]
        told = [f"--- {file}\n{file.read_text(errors='replace')[-4000:]}" for file in logs if file.exists()]
        return "\n".join([*told, self.node.last_lines(15)])

    # --- as a static pod

    def pod(self) -> dict[str, Any]:
        """The shipped static pod with this node's folders, and a health check that is soon at its end."""
        pod: dict[str, Any] = yaml.safe_load(POD.read_text())
        (container,) = pod["spec"]["containers"]
        for volume in pod["spec"]["volumes"]:
            path = volume.get("hostPath", {}).get("path")
            if path and path not in _THE_MACHINES:
                volume["hostPath"]["path"] = str(self.places[path])
        for mount in container["volumeMounts"]:
            if mount["mountPath"] == _MANIFESTS:
                mount["mountPath"] = str(self.node.manifests)
        container["env"] = [{"name": "SPLAY", "value": "0"}]
        container["livenessProbe"].update(initialDelaySeconds=10, periodSeconds=1)
        container["livenessProbe"]["exec"]["command"] += ["--patience", "10"]
        return pod

    @property
    def manifest(self) -> Path:
        """The static pod's file."""
        return self.node.manifests / POD.name

    @contextmanager
    def as_pod(self) -> Iterator[None]:
        """Have it run as a static pod."""
        aside = self.node.folder / POD.name
        aside.write_text(yaml.safe_dump(self.pod()))
        aside.rename(self.manifest)
        try:
            self.wait_until_started()
            yield
        finally:
            self.manifest.unlink()
            self.node.wait_for(lambda: not self.node.pod(POD_NAME), "the agent's own pod to be gone")

    def wait_until_started(self) -> None:
        """Wait until the kubelet says that it runs."""
        self.node.wait_for(lambda: self._status().get("started"), "the agent's own pod")

    def _status(self) -> Mapping[str, Any]:
        pod = self.node.pod(POD_NAME) or {}
        found: Mapping[str, Any] = next(iter(pod.get("status", {}).get("containerStatuses", ())), {})
        return found

    @property
    def restarts(self) -> int:
        """How often its container was started anew."""
        return int(self._status().get("restartCount", 0))

    def wait_until_restarted(self, before: int) -> None:
        """Wait until it runs anew."""
        self.node.wait_for(
            lambda: self.restarts > before and self._status().get("started"), "a new container", timeout=_WORK_SECONDS
        )

    def execute(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command within its container."""
        container = str(self._status()["containerID"]).removeprefix("containerd://")
        return self.node.execute(container, *command)

    def process(self, *words: str, part: str = "kubepods") -> int:
        """The id of the one process with these words in its command line, as this machine has it."""

        def look() -> int | None:
            found = [pid for pid in self.node.slot.cgroup.processes(part) if _has(pid, words)]
            return found[0] if len(found) == 1 else None

        return self.node.wait_for(look, f"one process with {words}")

    # --- by the unit

    def unit_command(self, podman: Podman, *options: str) -> list[str]:
        """What the shipped unit runs, as systemd gives it to the system, with this node's folders."""
        text = UNIT.read_text().replace("\\\n", " ")
        given = dict(re.findall(r"^Environment=(\w+)=(.*)$", text, re.MULTILINE))
        given |= {
            "IMAGE": NAME,
            "KUBELET_CONFIG": str(self.places["/var/lib/kubelet/config.yaml"]),
            "MANIFESTS": str(self.node.manifests),
            "LOG": str(self.node.log),
            "OPTIONS": " ".join([*podman.options, "--env", "SPLAY=0", *options]),
        }
        (line,) = re.findall(r"^ExecStart=env \$\{ENGINE\} (.*)$", text, re.MULTILINE)
        words: list[str] = []
        for word in shlex.split(line):
            whole = re.fullmatch(r"\$(\w+)", word)
            words += given[whole[1]].split() if whole else [re.sub(r"\$\{(\w+)\}", lambda name: given[name[1]], word)]
        return podman.command(*(self._here(word) for word in words))

    def _here(self, word: str) -> str:
        """An option with the folder of this node in place of a real one's."""
        source = re.search(r"source=([^,]+)", word)
        here = self.places.get(source[1]) if source else None
        return word.replace(f"source={source[1]}", f"source={here}") if source and here else word


def _has(pid: int, words: Sequence[str]) -> bool:
    try:
        line = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return False
    return all(any(part == word or part.endswith(f"/{word}") for part in line) for word in words)
