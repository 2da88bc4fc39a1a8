"""A node of the lab: containerd, a standalone kubelet, and the agent's settings, all of its own.

Everything is below one folder and one control group, and its mounts are in a mount namespace of its own, so that
several nodes run side by side on one machine and nothing is left of one when its processes have ended.
The kubelet is configured by the package's own `write_kubelet_config`.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import socket
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from heat_config_kubelet import kubelet_config
from heat_config_kubelet.settings import SETTINGS_VARIABLE, Settings, load

from . import images, runtime, slots
from .binaries import Binaries
from .collector import Collector
from .progress import Progress

_LONGEST_FOLDER = 60
"""Paths of sockets end at 108 characters, and the kubelet's are 45 longer than its folder."""

_SHARED_FOLDERS = ("/run/containerd", "/var/lib/kubelet", "/var/log/containers")
"""Folders that containerd's shims and the kubelet use whatever they are told: each node sees its own there."""

_KEPT_STATE = ("kubelet.json", "pki")
"""What stays in the agent's state directory when the node is emptied: it is the kubelet's."""

_DAEMONS, _AGENT = "daemons", "agent"
"""The parts of its control group."""

Seen = TypeVar("Seen")


class LabError(Exception):
    """The node did not do what was waited for; the message says what, and the last lines of its logs."""


class LabNode:
    """A node, as a context manager: started on entry, wholly gone on exit; its logs stay in `folder`/log.

    `folder` is made if need be; `name` is the node's name for the kubelet (lower case).
    """

    def __init__(self, folder: Path, name: str, binaries: Binaries, progress: Progress) -> None:
        if len(str(folder)) > _LONGEST_FOLDER:
            raise LabError(f"{folder}: sockets need a shorter path, of {_LONGEST_FOLDER} characters at most")
        self.folder = folder
        self.name = name
        self.binaries = binaries
        self.log = folder / "log"
        self.state_dir = folder / "agent"
        self.run_dir = folder / "run" / "agent"
        self.manifests = folder / "manifests"
        self.deployed = folder / "deployed"
        self.hooks = folder / "hooks"
        self.registries = folder / "certs.d"
        """The host files of its runtime (containerd docs/hosts.md), read at every pull."""
        self.settings_file = folder / "agent.conf"
        self.kubelet_log = self.log / "kubelet.log"
        self.containerd_log = self.log / "containerd.log"
        self._progress = progress
        self._socket = folder / "run" / "containerd.sock"
        self._slot: slots.Slot | None = None
        self._ports: list[int] = []
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self.collector = Collector(self)

    def __enter__(self) -> LabNode:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # --- its life

    def start(self) -> None:
        """Start containerd and the kubelet, and wait until both answer; also after `kill_all` and `stop`."""
        began = time.monotonic()
        self._prepare()
        self.start_containerd()
        self.start_kubelet()
        self._progress.say(f"node {self.name}: up after {time.monotonic() - began:.1f} s")

    def stop(self) -> None:
        """End all of its processes, and remove mounts, control groups and network; its files stay."""
        if self._slot:
            slot, self._slot = self._slot, None
            try:
                slot.release()
            finally:
                self._forget()

    def close(self) -> None:
        """Stop, and remove its files except the logs."""
        self.stop()
        for path in self.folder.iterdir() if self.folder.is_dir() else ():
            if path == self.log:
                continue
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()

    def kill_all(self) -> None:
        """End all of it without warning, as a loss of power does; what a reboot clears is cleared."""
        self.slot.cgroup.kill()
        self._forget()
        for part in ("kubepods", _AGENT):
            self.slot.cgroup.remove(part)
        slots.close_host_ports(self.slot.bridge)
        shutil.rmtree(self.folder / "run")

    def start_containerd(self) -> None:
        """Start containerd and wait until it answers."""
        self._spawn("containerd", self._containerd_command(), self.containerd_log)
        self.wait_for(lambda: self._ctr("version").returncode == 0, "containerd to answer")
        if not self._has_image(images.PAUSE):
            for write in (images.write_pause, images.write_busybox):
                self.import_image(write(self.folder / "image.tar"))

    def start_kubelet(self) -> None:
        """Start the kubelet and wait until it is healthy."""
        self._spawn("kubelet", self._kubelet_command(), self.kubelet_log)
        self.wait_for(self.healthy, "the kubelet to be healthy")

    def stop_kubelet(self) -> None:
        """End the kubelet; its pods go on."""
        self._end("kubelet")

    def stop_containerd(self) -> None:
        """End containerd; its containers go on."""
        self._end("containerd")

    @property
    def slot(self) -> slots.Slot:
        """Its number on this machine; LabError while it is stopped."""
        if not self._slot:
            raise LabError(f"node {self.name} is not started")
        return self._slot

    # --- what it is asked

    @property
    def settings(self) -> Settings:
        """The agent's settings on this node."""
        return load(self.settings_file)

    @property
    def access(self) -> kubelet_config.KubeletAccess:
        """How to reach its kubelet."""
        return kubelet_config.discover(self.settings)

    def daemon(self, name: str) -> int:
        """The process id of its containerd or kubelet; LabError where that does not run."""
        process = self._running.get(name)
        if not process or process.poll() is not None:
            raise LabError(f"node {self.name}: {name} does not run")
        return process.pid

    def healthy(self) -> bool:
        """Whether its kubelet says that it is well."""
        url = f"http://127.0.0.1:{self.access.healthz_port}/healthz"
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                return bool(answer.read() == b"ok")
        except OSError:
            return False

    def get(self, path: str) -> bytes:
        """GET from the kubelet's API with the agent's certificate; OSError where it does not answer."""
        access = self.access
        assert access.client_cert and access.client_key
        context = ssl.create_default_context(cafile=str(access.ca))
        context.load_cert_chain(access.client_cert, access.client_key)
        with urllib.request.urlopen(f"https://127.0.0.1:{access.port}{path}", timeout=10, context=context) as answer:
            return bytes(answer.read())

    def pods(self) -> list[dict[str, Any]]:
        """The pods as the kubelet's `/pods` gives them (v1 PodList, its items)."""
        return list(json.loads(self.get("/pods"))["items"] or [])

    def pod(self, name: str) -> dict[str, Any] | None:
        """The pod of this name (as its manifest gives it) if there is one, newest first."""
        full = f"{name}-{self.name}"
        found = [pod for pod in self.pods() if pod["metadata"]["name"] == full]
        return found[0] if found else None

    def running_containers(self) -> set[str]:
        """The ids of all containers that the runtime says are running, sandboxes included."""
        told = self._ctr("tasks", "ls").stdout.splitlines()[1:]
        return {line.split()[0] for line in told if line.split()[2] == "RUNNING"}

    def pods_left(self) -> set[str]:
        """The UIDs of pods that are not wholly gone: they still have a control group."""
        return self.slot.cgroup.pods()

    def wait_for(self, look: Callable[[], Seen | None], what: str, timeout: float = 60.0) -> Seen:
        """Look again and again until it gives something true, and give that.

        Raises LabError after `timeout` seconds with what was waited for, what was last seen, and the ends of the
        logs; at once where one of the node's daemons has ended.
        """
        end = time.monotonic() + timeout
        seen: object = None
        while True:
            try:
                found = look()
                if found:
                    return found
                seen = found
            except (OSError, ValueError) as error:
                seen = error
            dead = [name for name, process in self._running.items() if process.poll() is not None]
            if dead or time.monotonic() > end:
                why = f"{', '.join(dead)} ended" if dead else f"not within {timeout:g} s"
                raise LabError(f"node {self.name}: waited for {what}: {why}; last seen: {seen!r}\n{self.last_lines()}")
            time.sleep(0.05)

    def last_lines(self, count: int = 8) -> str:
        """The ends of all its logs."""
        told = []
        for file in (*sorted(self.log.glob("*.log")), *self.state_dir.glob("*.log")):
            lines = file.read_text(errors="replace").splitlines()[-count:]
            told += [f"--- {file.name}", *(line[:400] for line in lines)]
        return "\n".join(told)

    # --- what is done to it

    def import_image(self, archive: Path) -> None:
        """Put a docker archive's image into its runtime."""
        done = self._ctr("images", "import", str(archive))
        if done.returncode:
            raise LabError(f"node {self.name}: {archive} cannot be imported: {done.stderr.strip()}")

    def execute(self, container: str, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command within a running container."""
        # /run/containerd is the node's own, and not seen from here.
        options = ["--exec-id", uuid.uuid4().hex, "--fifo-dir", str(self.folder / "run" / "fifos")]
        return self._ctr("tasks", "exec", *options, container, *command)

    def agent(
        self,
        *arguments: str,
        files: Sequence[Path] | None = None,
        environment: Mapping[str, str] | None = None,
        timeout: float = 60.0,
        stdin: str = "",
    ) -> subprocess.CompletedProcess[str]:
        """Run `heat-config-kubelet` with `arguments` on this node, and wait for its end.

        `files` are os-collect-config's, passed as OS_CONFIG_FILES.
        """
        extra = {"OS_CONFIG_FILES": ":".join(str(file) for file in files)} if files is not None else {}
        program = str(Path(sys.executable).parent / "heat-config-kubelet")
        return subprocess.run(
            [*self.slot.cgroup.joining(_AGENT), program, *arguments],
            capture_output=True,
            text=True,
            input=stdin,
            timeout=timeout,
            check=False,
            cwd="/",
            env={**self.environment, **extra, **(environment or {})},
            start_new_session=True,
        )

    def kill_agent(self) -> None:
        """End os-collect-config and everything of the agent, without warning."""
        self.collector.forget()
        self.slot.cgroup.kill(_AGENT)

    def empty(self) -> None:
        """Make it a node on which nothing was ever deployed; containerd and the kubelet run on."""
        self.kill_agent()
        for name, start in (("containerd", self.start_containerd), ("kubelet", self.start_kubelet)):
            if name not in self._running or self._running[name].poll() is not None:
                start()
        _clear(self.manifests)
        self.wait_for(lambda: not self.pods(), "no pod in /pods")
        self.wait_for(self._no_pod_left, "all pods to be gone", timeout=60)
        for folder in (self.state_dir, self.deployed, self.hooks, self.registries, *self.collector.folders):
            _clear(folder, keep=_KEPT_STATE)
        self._write_settings({})

    def configure(self, **settings: Mapping[str, object]) -> None:
        """Change the agent's settings: `configure(signals={"timeout": 5})`; until `empty`."""
        self._write_settings(settings)

    @property
    def environment(self) -> dict[str, str]:
        """The environment of the agent on this node."""
        own = str(Path(sys.executable).parent)
        return {
            "PATH": f"{own}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": str(self.folder),
            "LC_ALL": "C",
            SETTINGS_VARIABLE: str(self.settings_file),
            "OS_COLLECT_CONFIG_FILE": str(self.collector.config_file),
        }

    # --- how

    def _prepare(self) -> None:
        if self._slot:
            if "namespace" in self._running:
                raise LabError(f"node {self.name} is started already")
        else:
            self._slot = slots.claim()
            self._slot.watch(self.folder)
        for name in ("run", "log", "lib/containerd", "lib/kubelet", "lib/cni", "manifests", "deployed", "hooks"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        self.folder.chmod(0o755)
        self.collector.prepare()
        self.slot.cgroup.create(_DAEMONS, _AGENT)
        cni = self.folder / "cni"
        runtime.write_cni(cni, bridge=self.slot.bridge, subnet=self.slot.subnet, data=self.folder / "lib" / "cni")
        runtime.write_containerd(
            self.folder / "containerd.toml",
            folder=self.folder,
            socket=self._socket,
            cni=cni,
            registries=self.registries,
        )
        self._write_kubelet()
        self._open_namespace()

    def _write_kubelet(self) -> None:
        if not self.settings_file.exists():
            self._write_settings({})
        self._ports = self._ports or free_ports(2)  # the same after a reboot
        kubelet_config.write_kubelet_config(
            self.settings,
            port=self._ports[0],
            healthz_port=self._ports[1],
            runtime_endpoint=f"unix://{self._socket}",
            cgroup_driver="cgroupfs",
            extra={"cgroupRoot": f"/{self.slot.cgroup.name}", "podLogsDir": str(self.log / "pods")},
        )

    def _write_settings(self, settings: Mapping[str, Mapping[str, object]]) -> None:
        templates = Path(kubelet_config.__file__).parent / "data" / "os-apply-config"
        base: dict[str, dict[str, object]] = {
            "agent": {
                "state_dir": self.state_dir,
                "run_dir": self.run_dir,
                "systemd": "no",
                "log_level": "debug",
                "os_apply_config": f"os-apply-config -t {templates} -o {self.collector.root}",
                "os_collect_config_cache": self.collector.cache,
                "hooks_dirs": self.hooks,
                "deployed_dir": self.deployed,
            },
            "kubelet": {"manifest_dir": self.manifests, "log": self.kubelet_log, "node_name": self.name},
            "signals": {},
            "defaults": {},
        }
        for section, values in settings.items():
            base[section].update(values)
        text = "".join(
            f"[{section}]\n" + "".join(f"{name} = {value}\n" for name, value in values.items())
            for section, values in base.items()
        )
        self.settings_file.write_text(text)

    def _open_namespace(self) -> None:
        """Make the node's mount namespace, held by a process that waits; the others join it."""
        binds = []
        for shared in _SHARED_FOLDERS:
            own = self.folder / ("lib/kubelet" if shared == "/var/lib/kubelet" else f"run/own{shared}")
            for path in (own, Path(shared)):
                path.mkdir(parents=True, exist_ok=True)
            binds.append(f"mount --bind '{own}' '{shared}'")
        script = "; ".join(["set -e", "mount --make-rshared /", *binds, "echo ready", "exec sleep 2147483647"])
        process = subprocess.Popen(
            [
                *self.slot.cgroup.joining(_DAEMONS),
                "unshare",
                "--mount",
                "--propagation",
                "private",
                "/bin/sh",
                "-c",
                script,
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        assert process.stdout
        with process.stdout as told:
            if told.readline() != b"ready\n":
                raise LabError(f"node {self.name}: no mount namespace (exit status {process.wait()})")
        self._running["namespace"] = process

    def _inside(self) -> list[str]:
        holder = f"/proc/{self._running['namespace'].pid}"
        # The root too: joining a mount namespace leaves a chroot.
        return [*self.slot.cgroup.joining(_DAEMONS), "nsenter", f"--mount={holder}/ns/mnt", f"--root={holder}/root"]

    def _containerd_command(self) -> list[str]:
        return [str(self.binaries.containerd), "--config", str(self.folder / "containerd.toml")]

    def _kubelet_command(self) -> list[str]:
        return [
            str(self.binaries.kubelet),
            f"--config={kubelet_config.own_file(self.settings)}",
            f"--root-dir={self.folder / 'lib' / 'kubelet'}",
            f"--hostname-override={self.name}",
            "-v=2",
        ]

    def _spawn(self, name: str, command: Sequence[str], log: Path) -> None:
        path = f"{self.binaries.folder}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        with log.open("ab") as output:
            self._running[name] = subprocess.Popen(
                [*self._inside(), *command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd="/",
                env={"PATH": path, "HOME": str(self.folder)},
                start_new_session=True,
            )

    def _end(self, name: str) -> None:
        process = self._running.pop(name, None)
        if process:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _forget(self) -> None:
        """Reap what has been killed."""
        self.collector.forget()
        for process in self._running.values():
            process.wait(10)
        self._running.clear()

    def _ctr(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [str(self.binaries.ctr), "--address", str(self._socket), "--namespace", "k8s.io", *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)

    def _has_image(self, name: str) -> bool:
        return name in self._ctr("images", "ls", "-q").stdout.splitlines()

    def _no_pod_left(self) -> bool:
        """Whether no pod is left; the containers of those that are terminating are ended without grace."""
        if not self.pods_left():
            return True
        with contextlib.suppress(Exception):
            self.slot.cgroup.kill("kubepods", seconds=0.5)
        return False


def free_ports(count: int) -> list[int]:
    """Give ports of 127.0.0.1 that nobody listens on now."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for item in sockets:
            item.bind(("127.0.0.1", 0))
        return [int(item.getsockname()[1]) for item in sockets]


def _clear(folder: Path, *, keep: Sequence[str] = ()) -> None:
    for path in folder.iterdir() if folder.is_dir() else ():
        if path.name in keep:
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
