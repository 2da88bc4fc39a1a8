"""A node of a built image: a virtual machine behind a server of a stack, and what is asked of it."""

from __future__ import annotations

import json
import ssl
import urllib.request
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from heatlab.processes import HeatLabError
from heatlab.stacks import Stack
from lab.readiness import is_ready

from .machine import BOOT_SECONDS, Machine, quoted

_PYTHON = "/opt/heat-config-kubelet/bin/python"
_STORE = "/var/lib/heat-config-kubelet/store.sqlite"
_ACCESS = """
import json, sys
from pathlib import Path
from heat_config_kubelet import kubelet_config, settings
access = kubelet_config.discover(settings.load(Path("/etc/heat-config-kubelet/heat-config-kubelet.conf")))
json.dump([path.read_text() for path in (access.ca, access.client_cert, access.client_key)], sys.stdout)
"""
_CHECK_STORE = f"""
import sqlite3
print(sqlite3.connect("file:{_STORE}?mode=ro", uri=True).execute("pragma integrity_check").fetchone()[0])
"""
_GATES = "/var/lib/gates"

Seen = TypeVar("Seen")


class ImageNode:
    """What is done on one machine for a server."""

    def __init__(self, machine: Machine, stack: Stack) -> None:
        self.machine = machine
        self.stack = stack
        """Of its server."""
        self._access: ssl.SSLContext | None = None

    # --- what it is asked

    def pods(self) -> list[dict[str, Any]]:
        """The pods as the kubelet's `/pods` gives them (v1 PodList, its items); OSError where it does not answer."""
        if not self._access:
            self._access = self._trust()
        url = f"https://127.0.0.1:{self.machine.kubelet_port}/pods"
        with urllib.request.urlopen(url, timeout=60, context=self._access) as answer:
            return list(json.loads(answer.read())["items"] or [])

    def ready_pods(self) -> dict[str, dict[str, Any]]:
        """Those that are ready, by the names that their manifests give."""
        return {self._name(pod): pod for pod in self.pods() if is_ready(pod)}

    def container(self, name: str) -> str:
        """The id of the first container of a pod that is ready."""
        status = self.ready_pods()[name]["status"]["containerStatuses"][0]
        return str(status["containerID"]).rpartition("/")[2]

    def started(self, name: str) -> str:
        """The id of the first container of a pod, ready or not; empty where it does not run."""
        for pod in self.pods():
            for status in pod["status"].get("containerStatuses") or []:
                if self._name(pod) == name and "running" in status["state"]:
                    return str(status["containerID"]).rpartition("/")[2]
        return ""

    def deployments(self) -> list[dict[str, Any]]:
        """What the agent's `status` shows: a map for each live deployment."""
        rows: list[dict[str, Any]] = json.loads(self.machine.run("heat-config-kubelet status --json || test $? -le 2"))
        return rows

    def states(self) -> dict[str, str]:
        """The state of each live deployment by its resource's name."""
        return {row["resource"]: row["state"] for row in self.deployments()}

    def store_is_sound(self) -> bool:
        """Whether SQLite finds nothing wrong with the agent's store."""
        return self._python(_CHECK_STORE).strip() == "ok"

    def unit(self, name: str) -> dict[str, str]:
        """A unit's properties, as `systemctl show` has them."""
        told = self.machine.run(quoted("systemctl", "show", name))
        return dict(line.partition("=")[::2] for line in told.splitlines())

    def journal(self, *units: str) -> list[dict[str, Any]]:
        """The entries of units in this boot, oldest first, with all their fields (systemd.journal-fields(7))."""
        chosen = [f"--unit={unit}" for unit in units]
        told = self.machine.run(quoted("journalctl", "--boot", "--no-pager", "--output=json", *chosen))
        return [json.loads(line) for line in told.splitlines()]

    def all_logs(self) -> str:
        """All that it has logged, in this boot and before: console, journal, agent, and files below /var/log."""
        console = self.machine.console.read_text(errors="replace")
        files = "find /var/log /var/lib/heat-config-kubelet -name '*.log' -type f -exec cat {} +"
        return console + self.machine.run(f"journalctl --no-pager --all --output=cat; {files}")

    # --- what is waited for

    def boot(self) -> None:
        """Switch it on, and wait until it can be asked."""
        self.machine.switch_on()
        self.machine.wait_for_shell()

    def wait_for(self, look: Callable[[], Seen | None], what: str, timeout: float = BOOT_SECONDS) -> Seen:
        """As `Machine.wait_for`."""
        return self.machine.wait_for(look, what, timeout)

    def wait_for_stack(self, status: str) -> None:
        """Wait for the stack's status; raises HeatLabError where its action ends in another way."""

        def look() -> str:
            found = str(self.stack.show()["stack_status"])
            of_this_action = found.partition("_")[0] == status.partition("_")[0]
            return found if of_this_action and not found.endswith("_IN_PROGRESS") else ""

        found = self.wait_for(look, f"the stack to be {status}")
        if found != status:
            raise HeatLabError(f"stack {self.stack.name}: {found}\n{self.stack.story()}\n{self.machine.story()}")

    def wait_until_idle(self) -> None:
        """Wait until the agent's loop has ended, as it does when nothing is pending."""
        script = "test ! -e /var/lib/heat-config-kubelet/pending && ! systemctl is-active --quiet heat-config-kubelet"
        self.wait_for(lambda: self.machine.succeeds(script), "the loop to end")

    def wait_until_only(self, *names: str) -> None:
        """Wait until these pods are ready, and there is no other."""

        def look() -> bool:
            pods = self.pods()
            return sorted(map(self._name, pods)) == sorted(names) and all(map(is_ready, pods))

        self.wait_for(look, f"no other pods than {', '.join(names) or 'none'}")

    # --- what is done to it

    def open_gate(self, name: str) -> None:
        """Let the pod that `gated` gave become ready; also after a boot."""
        self.machine.run(f"mkdir -p {_GATES}/{name} && touch {_GATES}/{name}/open && sync")

    def close_gate(self, name: str) -> None:
        """Have the pod of `gated` wait."""
        self.machine.run(f"mkdir -p {_GATES}/{name} && rm -f {_GATES}/{name}/open && sync")

    @staticmethod
    def _name(pod: Mapping[str, Any]) -> str:
        """The name that a pod's manifest gives, without the node's."""
        return str(pod["metadata"]["name"]).removesuffix(f"-{pod['spec']['nodeName']}")

    def _trust(self) -> ssl.SSLContext:
        """How this node's kubelet is known, and lets itself be asked."""
        texts = json.loads(self._python(_ACCESS))
        names = [self.machine.folder / f"kubelet-{name}" for name in ("ca", "cert", "key")]
        for file, text in zip(names, texts, strict=True):
            file.touch(mode=0o600)
            file.write_text(text)
        context = ssl.create_default_context(cafile=names[0])
        context.load_cert_chain(names[1], names[2])
        return context

    def _python(self, script: str) -> str:
        return self.machine.run(f"{_PYTHON} -", stdin=script)


def gated(pod: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Give a pod that becomes ready when `ImageNode.open_gate` is called with this name."""
    probe = {"exec": {"command": ["/bin/test", "-e", "/gate/open"]}, "periodSeconds": 1}
    volume = {"name": "gate", "hostPath": {"path": f"{_GATES}/{name}", "type": "DirectoryOrCreate"}}
    (container,) = pod["spec"]["containers"]
    waiting = {**container, "volumeMounts": [{"name": "gate", "mountPath": "/gate"}], "readinessProbe": probe}
    return {**pod, "spec": {**pod["spec"], "containers": [waiting], "volumes": [volume]}}


def secrets_of(settings: Mapping[str, Any], deployments: Iterable[Mapping[str, Any]]) -> set[str]:
    """The secrets among what Heat gives a server for os-collect-config, and those of its deployments' inputs."""
    found = {
        str(value)
        for section in settings.values()
        if isinstance(section, dict)
        for name, value in section.items()
        if name in ("password", "secret_access_key")
    }
    values = [str(item["value"]) for each in deployments for item in each["inputs"]]
    urls = [
        str(section["metadata_url"])
        for section in settings.values()
        if isinstance(section, dict) and "metadata_url" in section
    ]
    for text in (*values, *urls):
        for mark in ("temp_url_sig=", "Signature="):
            if mark in text:
                found.add(text.partition(mark)[2].partition("&")[0])
    for each in deployments:
        found |= {str(item["value"]) for item in each["inputs"] if item["name"] == "deploy_password"}
    return {secret for secret in found if len(secret) >= 8}


def readable_by_all(root: Path, texts: Iterable[bytes]) -> dict[str, bytes]:
    """Files below a folder that anybody may read and that hold one of these texts; the text by the file's path."""
    wanted = list(texts)
    found = {}
    for path in root.rglob("*"):
        if path.is_symlink() or not path.is_file() or not path.stat().st_mode & 0o004 or _hidden(path, root):
            continue
        content = path.read_bytes()
        found.update({str(path.relative_to(root)): text for text in wanted if text in content})
    return found


def _hidden(path: Path, root: Path) -> bool:
    """Whether a folder on the way to it lets nobody but its owner in."""
    return any(not (root / parent).stat().st_mode & 0o001 for parent in path.relative_to(root).parents)
