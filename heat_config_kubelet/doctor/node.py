"""The node as the checks look at it: read once, when it is first asked for; every edge is an argument."""

from __future__ import annotations

import os
import socket
import struct
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from ..commands.node_view import NodeView
from ..kubelet_config import Machine, read_configuration
from ..settings import Settings
from . import processes
from .collector_file import DEFAULT_FILE, FILE_VARIABLE, CollectorFile
from .processes import Process, Ran

COLLECTOR_UNIT = "os-collect-config.service"
_COLLECTORS = ("os-collect-config", "heat-config-kubelet-collector")
"""The daemon as it comes, and as our unit runs it (`collector.py`)."""
_UNIT_FIELDS = "LoadState,ActiveState,SubState,UnitFileState,NRestarts,MainPID,Environment,Result"
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\x04\0\0\0\0\0"
"""How a client of HTTP/2, and so of gRPC, begins (RFC 9113, 3.4): the magic and an empty SETTINGS frame."""
_SOCKET_SECONDS = 3.0


@dataclass(frozen=True)
class Runtime:
    """The container runtime that the kubelet is told to use."""

    socket: Path
    problem: str = ""
    """Why it does not answer; empty where it does."""
    process: Process | None = None
    """The one that listens; None where nobody answers."""

    @property
    def name(self) -> str:
        """Which one it is: containerd or crio."""
        return self.process.program if self.process else "crio" if "crio" in self.socket.name else "containerd"

    @property
    def config_file(self) -> Path | None:
        """Its settings; None where that is not known: it does not run, and its socket is none of the usual ones."""
        named = self.process.option("config") if self.process else ""
        if named:
            return Path(named)
        usual = {"containerd": Path("/etc/containerd/config.toml"), "crio": Path("/etc/crio/crio.conf")}
        known = self.process is not None or self.socket.parts[1:2] == ("run",)
        return usual.get(self.name) if known else None


@dataclass
class Node:
    """A node; `now` gives seconds since the epoch, `pause` waits for some, `run` asks a command."""

    settings: Settings
    environment: Mapping[str, str] = field(default_factory=lambda: os.environ, repr=False)
    settings_faults: tuple[str, ...] = ()
    """What of the settings file is not in force, for it cannot be read."""
    machine: Machine = field(default_factory=Machine)
    proc: Path = Path("/proc")
    now: Callable[[], float] = time.time
    pause: Callable[[float], None] = time.sleep
    run: Callable[[Sequence[str]], Ran | None] = processes.run
    offline: bool = False
    """Whether no endpoint outside the node is asked."""
    _units: dict[str, Mapping[str, str]] = field(default_factory=dict)

    @cached_property
    def view(self) -> NodeView:
        """Store, manifests and kubelet, as other commands see them."""
        return NodeView(self.settings)

    @property
    def systemd(self) -> bool:
        """Whether units are used on this node."""
        chosen = self.settings.systemd
        return self.machine.systemd if chosen == "auto" else chosen == "yes"

    def unit(self, name: str) -> Mapping[str, str]:
        """What systemd says of a unit, by property; nothing without systemd."""
        if name not in self._units:
            told = self.run(("systemctl", "show", f"--property={_UNIT_FIELDS}", name)) if self.systemd else None
            lines = told.text.splitlines() if told else []
            self._units[name] = dict(line.partition("=")[::2] for line in lines)
        return self._units[name]

    # --- os-collect-config

    @property
    def collector_path(self) -> Path:
        """Where os-collect-config's settings are."""
        return Path(self.environment.get(FILE_VARIABLE) or self.machine.at(str(DEFAULT_FILE)))

    @cached_property
    def collector(self) -> CollectorFile:
        """Its settings. Raises OSError where there are none to be read."""
        return CollectorFile.read(self.collector_path)

    @cached_property
    def _processes(self) -> tuple[Process, ...]:
        return tuple(processes.processes(self.proc))

    @cached_property
    def os_collect_config(self) -> Process | None:
        """The daemon with these settings, if it runs."""
        for process in self._processes:
            if process.program in _COLLECTORS:
                named = process.option("config-file")
                if Path(named or self.machine.at(str(DEFAULT_FILE))) == self.collector_path:
                    return process
        return None

    @cached_property
    def loop(self) -> Process | None:
        """The loop's process with these settings, if it runs."""
        for process in self._processes:
            ours = any(Path(word).name in ("heat-config-kubelet", "heat_config_kubelet") for word in process.command)
            if ours and "loop" in process.command:
                named = process.option("settings")
                if not named or Path(named) == self.settings.file:
                    return process
        return None

    # --- the kubelet and its runtime

    @cached_property
    def kubelet_fields(self) -> Mapping[str, Any]:
        """The kubelet's configuration file; nothing where none is known. Raises OSError or ValueError."""
        file = self.view.access.config_file if self.view.access else None
        return read_configuration(file) if file else {}

    @cached_property
    def kubelet(self) -> Process | None:
        """The kubelet with this configuration, if it runs; else that of its unit."""
        found = [process for process in self._processes if process.program == "kubelet"]
        file = self.view.access.config_file if self.view.access else None
        for process in found:
            if file and process.option("config") == str(file):
                return process
        main = self.unit(self.settings.kubelet_unit).get("MainPID")
        return next((process for process in found if str(process.pid) == main), None)

    @cached_property
    def is_apart(self) -> bool:
        """Whether the kubelet runs where its process is not to be seen from here: the agent is in a container."""
        from ..kubelet_api import KubeletApi

        access = self.view.access
        return self.kubelet is None and access is not None and KubeletApi(access).healthy()

    @cached_property
    def runtime(self) -> Runtime:
        """The runtime, asked for a sign of life."""
        told = self.kubelet.option("container-runtime-endpoint") if self.kubelet else ""
        endpoint = str(self.kubelet_fields.get("containerRuntimeEndpoint") or told or self.machine.runtime_endpoint())
        return self._asked(Path(endpoint.removeprefix("unix://")))

    def _asked(self, path: Path) -> Runtime:
        process = None
        with socket.socket(socket.AF_UNIX) as link:
            link.settimeout(_SOCKET_SECONDS)
            try:
                link.connect(str(path))
                pid = struct.unpack("3i", link.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0]
                process = next((each for each in self._processes if each.pid == pid), None)
                if process is None or process.state != "T":  # that one would not answer: no need to wait for it
                    link.sendall(_PREFACE)
                    heard = link.recv(9)
                    return Runtime(path, "" if heard else "closes the connection", process)
            except PermissionError:
                raise
            except TimeoutError:
                return Runtime(path, f"says nothing within {_SOCKET_SECONDS:g} s", process)
            except OSError as error:
                return Runtime(path, error.strerror or str(error), process)
        return Runtime(path, "is paused (SIGSTOP)", process)

    # --- what is told to a person

    def restart(self, unit: str, otherwise: str) -> str:
        """How a service is started anew on this node."""
        return f"systemctl restart {unit}" if self.systemd else otherwise
