"""A node of the tests' lab as the guest that stands behind a server of a stack.

It boots as a real one: user data bring Heat's settings for os-collect-config (source heat_local), the image brings
the others (source local). The first pass reads both, os-apply-config renders os-collect-config's file from them, and
os-collect-config starts itself again and polls Heat, Swift or Zaqar.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lab import deployments
from lab.collector import TEMPLATE, write_private
from lab.node import LabNode
from lab.readiness import is_ready

from .stacks import Stack

_MACHINES_CAS = "/etc/ssl/certs/ca-certificates.crt"
"""python-heatclient, by which the collector heat polls, knows no other file of CAs on Debian."""

_IMAGE = "image"
"""The local source that has the image's own settings of os-collect-config."""


class Guest:
    """What is done on one node for a server."""

    def __init__(
        self,
        node: LabNode,
        *,
        ca: Path | None = None,
        polling_interval: float | None = 1.0,
        variables: Mapping[str, str] | None = None,
    ) -> None:
        """`ca`: the CA of Heat's endpoints, where they have TLS; `polling_interval`: the image's, None for none.

        `variables` are of os-collect-config's environment, as a drop-in of its unit sets them.
        """
        self.node = node
        self._variables = variables or {}
        self._ca = ca
        self._polling_interval = polling_interval

    def boot(self, stack: Stack, server: str = "server") -> None:
        """Boot as this server: wait for Heat to have made it, then start os-collect-config."""
        stack.wait_for_resource(server, "CREATE_COMPLETE")
        self.boot_with(stack.attribute(server, "os_collect_config"))

    def boot_with(self, settings: Mapping[str, Any]) -> None:
        """Boot with what Heat gives a server for os-collect-config."""
        collector = self.node.collector
        collector.prepare()
        write_private(collector.boot_file, {"deployments": [], "os-collect-config": settings})
        image = self._image_settings()
        collector.set({"os-collect-config": image}, _IMAGE)
        first = {"os-collect-config": {**image, "collectors": ["heat_local", "local"]}}
        done = subprocess.run(
            [str(TEMPLATE)],
            input=json.dumps(first),
            capture_output=True,
            text=True,
            check=True,
            env=self.node.environment,
        )
        collector.variables = {**self._variables, **({"REQUESTS_CA_BUNDLE": _MACHINES_CAS} if self._ca else {})}
        collector.wrapper = _with_machines_ca(self._ca) if self._ca else []
        collector.config_file.touch(mode=0o600)
        collector.config_file.write_text(done.stdout)
        collector.resume()

    def gated(self, name: str) -> dict[str, Any]:
        """Give a pod that becomes ready when `open_gate` is called with its name."""
        folder = self._gate(name)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "open").unlink(missing_ok=True)
        probe = {"exec": {"command": ["/bin/test", "-e", "/gate/open"]}, "periodSeconds": 1}
        container = {"volumeMounts": [{"name": "gate", "mountPath": "/gate"}], "readinessProbe": probe}
        volumes = [{"name": "gate", "hostPath": {"path": str(folder), "type": "Directory"}}]
        return deployments.pod(name, container=container, volumes=volumes)

    def open_gate(self, name: str) -> None:
        """Let the pod that `gated` gave become ready."""
        (self._gate(name) / "open").touch()

    def running_pods(self) -> dict[str, dict[str, Any]]:
        """The pods that are ready, as the kubelet's `/pods` gives them, by the names that their manifests give."""
        found = {}
        for pod in self.node.pods():
            if is_ready(pod):
                found[pod["metadata"]["name"].removesuffix(f"-{self.node.name}")] = pod
        return found

    def containers(self) -> dict[str, str]:
        """The id of the first container of each pod that is ready."""
        return {name: pod["status"]["containerStatuses"][0]["containerID"] for name, pod in self.running_pods().items()}

    def command(self, name: str) -> str:
        """The last word of the command of a pod that is ready: where `lab.deployments.pod` made it, its script."""
        return str(self.running_pods()[name]["spec"]["containers"][0]["command"][-1])

    def deployments(self) -> list[dict[str, Any]]:
        """What the agent's `status` shows: a map for each live deployment."""
        rows: list[dict[str, Any]] = json.loads(self.node.agent("status", "--json").stdout)
        return rows

    def states(self) -> list[str]:
        """The state of each live deployment, sorted."""
        return sorted(row["state"] for row in self.deployments())

    def wait_until_idle(self, timeout: float = 60.0) -> None:
        """Wait until the agent's loop has ended, as it does when nothing is pending."""
        self.node.wait_for(lambda: not (self.node.state_dir / "pending").exists(), "the loop to end", timeout)

    def wait_until_only(self, *names: str, timeout: float = 60.0) -> None:
        """Wait until these pods are there, and nothing is left of any other."""

        def look() -> bool:
            there = sorted(pod["metadata"]["name"].removesuffix(f"-{self.node.name}") for pod in self.node.pods())
            return there == sorted(names) and len(self.node.pods_left()) == len(names)

        self.node.wait_for(look, f"no other pods than {', '.join(names) or 'none'}", timeout)

    def _gate(self, name: str) -> Path:
        return self.node.folder / "gates" / name

    def _image_settings(self) -> dict[str, Any]:
        collector = self.node.collector
        cache = collector.cache
        settings: dict[str, Any] = {
            "cachedir": str(cache),
            "backup_cachedir": str(cache.with_name("backup")),
            "heat_local": {"path": str(collector.boot_file)},
            "local": {"path": str(collector.local)},
        }
        if self._polling_interval is not None:
            settings["polling_interval"] = self._polling_interval
            settings["min_polling_interval"] = min(self._polling_interval, 1)
        if self._ca:
            settings["zaqar"] = {"ca_file": _MACHINES_CAS, "ssl_certificate_validation": True}
        return settings


def _with_machines_ca(ca: Path) -> list[str]:
    """Give the start of a command line whose command, in a mount namespace of its own, has this CA as the machine's."""
    script = f'mount --bind "$0" {_MACHINES_CAS}; exec "$@"'
    return ["unshare", "--mount", "/bin/sh", "-ec", script, str(ca)]
