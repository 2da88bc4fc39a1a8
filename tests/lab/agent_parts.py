"""What the agent of an image has to be able to do, whichever distributions its environment has.

Runs os-collect-config with each of its collectors, os-apply-config, and our own commands up to signals by each
transport, by the programs of one virtual environment, with services that answer well and with services that fail.
What is imported on the way is noted by each process: `Trial.modules`.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from . import deployments
from .receiver import PASSWORD, PROJECT, REGION, USER, Fault, Receiver

COLLECTORS = ("cfn", "ec2", "heat", "heat_local", "local", "request", "zaqar")
"""All that there are: `COLLECTORS` in os_collect_config/collect.py."""

_NOTED = """
import atexit, json, os, sys, tempfile

def note(folder=os.environ["NOTED_MODULES"]):
    files = {name: getattr(module, "__file__", None) for name, module in list(sys.modules.items())}
    with tempfile.NamedTemporaryFile("w", dir=folder, suffix=".json", delete=False) as stream:
        json.dump({name: file for name, file in files.items() if file}, stream)

atexit.register(note)
"""
"""Python runs it at its start where it is found as `sitecustomize`."""

_PATIENCE = 60.0
_METADATA = {"deployments": [], "marker": "from-the-service"}
_REFUSED = "http://127.0.0.1:1"
"""Nobody listens there."""


class PartError(AssertionError):
    """A part of the agent does not do what it is for; the message has what it said."""


class Trial:
    """The programs of one virtual environment, tried one after the other in a folder."""

    def __init__(self, environment: Path, folder: Path, receiver: Receiver) -> None:
        """`environment` is the virtual environment; the folder is for what the programs write."""
        self._bin = environment / "bin"
        self._folder = folder
        self._receiver = receiver
        self._noted = folder / "noted"
        self._noted.mkdir(parents=True)
        hook = folder / "hook"
        hook.mkdir()
        (hook / "sitecustomize.py").write_text(_NOTED)
        kept = {name: os.environ[name] for name in ("HOME", "LANG") if name in os.environ}
        self._variables = {
            **kept,
            "PATH": f"{self._bin}:{os.defpath}",
            "LC_ALL": "C",
            "NOTED_MODULES": str(self._noted),
            "PYTHONPATH": str(hook),
        }

    @property
    def modules(self) -> dict[str, Path]:
        """The modules that any of the processes has imported, and their files."""
        found: dict[str, Path] = {}
        for file in self._noted.glob("*.json"):
            found.update({name: Path(path) for name, path in json.loads(file.read_text()).items()})
        return found

    # --- os-collect-config

    def collect(self, name: str) -> Any:
        """Collect once with one collector from a service that answers well; give what it collected."""
        done = self._collected(name, self._settings(name, self._receiver.url("")))
        collected = json.loads(done.stdout)
        if name not in collected and name != "local":
            raise PartError(f"{name} collected nothing: {done.stderr}")
        return collected

    def collect_in_vain(self, name: str, *, fault: Fault | None = None) -> str:
        """Collect from a service that fails, or is not there; give what is logged."""
        url = self._receiver.url("") if fault else _REFUSED
        if fault:
            self._receiver.fail("/", fault)
        try:
            done = self._collected(name, self._settings(name, url))
        finally:
            self._receiver.mend()
        if json.loads(done.stdout) != {} or f"Source [{name}] Unavailable" not in done.stderr:
            raise PartError(f"{name}: {done.stdout}{done.stderr}")
        return done.stderr

    def run_daemon(self, command: str) -> None:
        """Let os-collect-config call its command once for what the collector "local" found."""
        settings = self._settings("local", "")
        self._collected("local", {**settings, "command": command}, "--one-time")

    def _collected(self, name: str, settings: Mapping[str, Any], *arguments: str) -> subprocess.CompletedProcess[str]:
        base = self._folder / name
        base.mkdir(exist_ok=True)
        lines = [f"[DEFAULT]\ncollectors = {name}\ncachedir = {base}/cache\nbackup_cachedir = {base}/backup"]
        if "command" in settings:
            lines.append(f"command = {settings['command']}")
        lines += [f"[{name}]", *(f"{key} = {value}" for key, value in settings.items() if key != "command")]
        lines += ["[keystone]", f"cache_dir = {base}/keystone"]
        config = base / "os-collect-config.conf"
        config.write_text("\n".join(lines).replace("$", "$$") + "\n")
        config.chmod(0o600)
        return self.run(["os-collect-config", "--config-file", str(config), *(arguments or ("--print",))])

    def _settings(self, name: str, url: str) -> dict[str, Any]:
        """The settings of one collector, and what it is to find at the service or on disk."""
        keystone = {"auth_url": f"{url}/v3", "user_id": USER, "password": PASSWORD, "project_id": PROJECT}
        keystone["region_name"] = REGION
        local = self._folder / "given"
        local.mkdir(mode=0o700, exist_ok=True)
        (local / "data").write_text(json.dumps(_METADATA))
        (local / "data").chmod(0o600)
        store = self._receiver.store
        content = json.dumps(_METADATA)
        if name == "cfn":
            detail = f"<StackResourceDetail><Metadata>{content}</Metadata></StackResourceDetail>"
            result = f"<DescribeStackResourceResult>{detail}</DescribeStackResourceResult>"
            store("/cfn/v1/", f"<DescribeStackResourceResponse>{result}</DescribeStackResourceResponse>".encode())
            keys = {"access_key_id": "key", "secret_access_key": "secret"}
            return {"metadata_url": f"{url}/cfn/v1/", "stack_name": "lab", "path": "server.Metadata", **keys}
        if name == "ec2":
            store("/ec2/", b"instance-id\npublic-keys/")
            store("/ec2/instance-id", b"i-1")
            store("/ec2/public-keys/", b"0=mine")
            store("/ec2/public-keys/0/", b"openssh-key")
            store("/ec2/public-keys/0/openssh-key", b"ssh-rsa AAAA")
            return {"metadata_url": f"{url}/ec2", "timeout": 5}
        if name == "heat":
            path = f"/heat/v1/{PROJECT}/stacks/{deployments.STACK}/resources/server/metadata"
            self._receiver.put(path, {"metadata": _METADATA})
            return {**keystone, "stack_id": deployments.STACK, "resource_name": "server"}
        if name == "request":
            self._receiver.put(f"/v1/AUTH_{PROJECT}/server/metadata", _METADATA)
            return {"metadata_url": f"{url}/v1/AUTH_{PROJECT}/server/metadata", "timeout": 5}
        if name == "zaqar":
            self._receiver.put("/zaqar/v2/queues/server", _METADATA)
            return {**keystone, "queue_id": "server"}
        return {"path": local / "data" if name == "heat_local" else local}

    # --- os-apply-config and ours

    def apply(self) -> str:
        """Render our template by os-apply-config; give the file."""
        package = self.run(["python", "-c", "import heat_config_kubelet as it; print(it.__path__[0])"]).stdout.strip()
        metadata = self._folder / "metadata.json"
        metadata.write_text(json.dumps({"os-collect-config": {"polling_interval": 5}}))
        out = self._folder / "rendered"
        templates = f"{package}/data/os-apply-config"
        self.run(["os-apply-config", "-t", templates, "-o", str(out), "-m", str(metadata)])
        return (out / "etc" / "os-collect-config.conf").read_text()

    def signal(self, transport: str) -> Mapping[str, Any]:
        """Run a pass with a deployment that our checks refuse; give the signal that arrives for it."""
        resource = transport.lower().replace("_", "")
        state = self._folder / transport
        state.mkdir()
        settings = state / "agent.conf"
        folders = f"state_dir = {state}\nrun_dir = {state}/run\ndeployed_dir = {state}/deployed\n"
        settings.write_text(
            f"[agent]\nsystemd = no\nos_apply_config =\n{folders}[kubelet]\nmanifest_dir = {state}/manifests\n"
        )
        (state / "manifests").mkdir()
        metadata = state / "heat.json"
        refused = deployments.deployment(resource, {"kind": "Pod"}, self._receiver, transport=transport)
        metadata.write_text(json.dumps(deployments.metadata(refused)))
        self._variables["OS_CONFIG_FILES"] = str(metadata)
        try:
            self.run(["heat-config-kubelet", "--settings", str(settings), "run"])
        finally:
            del self._variables["OS_CONFIG_FILES"]
        return self._receiver.wait_for_signal(resource, timeout=_PATIENCE).signal

    def run(self, command: Sequence[str]) -> subprocess.CompletedProcess[str]:
        """Run a program of the environment. Raises PartError where it fails, or lacks a module."""
        program = self._bin / command[0]
        done = subprocess.run(
            [str(program), *command[1:]],
            env=self._variables,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=_PATIENCE,
            cwd=self._folder,
            check=False,
        )
        if done.returncode or "No module named" in done.stderr or "ImportError" in done.stderr:
            raise PartError(f"{' '.join(command)}: exit status {done.returncode}\n{done.stdout}{done.stderr}")
        return done
