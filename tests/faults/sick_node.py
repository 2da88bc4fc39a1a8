"""A node of the lab that is well, for faults to be put in: os-collect-config polls it, two deployments have succeeded.

One receiver gives metadata by a URL, another one, with TLS by a CA of its own, takes the signals.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from lab import deployments as heat
from lab.deployments import Metadata
from lab.node import LabNode
from lab.receiver import Receiver

from heat_config_kubelet.doctor.node import Node
from heat_config_kubelet.store import DONE, PENDING, Entry, Store

POLL_SECONDS = 0.5
QUICK = {"min_ready_seconds": 0, "poll_period": 0.2}


class SickNode:
    """The node, as a context manager; what is put in is taken out again by who has put it in."""

    def __init__(self, node: LabNode) -> None:
        self.node = node
        self.work = node.folder / "work"
        shutil.rmtree(self.work, ignore_errors=True)
        self.work.mkdir()
        self.source = Receiver()
        """Where metadata come from."""
        self.heat = Receiver(tls=self.work / "tls")
        """Where signals go to."""
        self.standing: tuple[Metadata, ...] = ()
        """The deployments that are always there."""

    def __enter__(self) -> SickNode:
        self.source.listen()
        self.heat.listen()
        self.settings()
        url = self.source.put("/v1/AUTH_p/server/metadata", heat.metadata())
        self.node.collector.metadata_url = url
        self.node.collector.polling_interval = POLL_SECONDS
        self.standing = (self.entry("web"), self.entry("db", transport="HEAT_SIGNAL"))
        self.node.collector.set(heat.metadata(*self.standing))
        self.node.collector.start()
        self.wait_until_settled(*self.standing)
        self.wait_until_idle()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for receiver in (self.source, self.heat):
            receiver.__exit__(None, None, None)
        self.node.collector.metadata_url = ""
        self.node.collector.polling_interval = 1.0

    # --- what it wants

    def settings(self, **sections: Mapping[str, object]) -> None:
        """Set settings of the agent beside the CA of the signals, which may be set otherwise."""
        self.node.configure(
            **{**sections, "signals": {"ca": self.heat.ca, "timeout": 3, **sections.get("signals", {})}}
        )

    def entry(self, name: str, config: object = None, **fields: Any) -> Metadata:
        """Give a deployment that is signalled over TLS, by default one pod that runs."""
        fields["options"] = {**QUICK, **fields.get("options", {})}
        return heat.deployment(name, heat.pod(name) if config is None else config, self.heat, **fields)

    @contextlib.contextmanager
    def deployed(self, *entries: Metadata) -> Iterator[None]:
        """Deploy further entries for a while."""
        self.node.collector.set(heat.metadata(*self.standing, *entries))
        yield
        self.node.collector.set(heat.metadata(*self.standing))
        gone = {entry["id"] for entry in entries}
        self.node.wait_for(lambda: not gone & self.entries().keys(), "the entries to vanish")
        self.wait_until_idle()

    # --- how far it is

    def entries(self) -> dict[str, Entry]:
        """The live entries of its store, by id."""
        store = Store.open(self.node.settings.store_file, create=False)
        try:
            return {entry.deployment.id: entry for entry in store.entries()}
        finally:
            store.close()

    def wait_until(self, entry: Metadata, look: Callable[[Entry], bool], what: str, timeout: float = 90.0) -> Entry:
        """Wait until the store has an entry of which something is so, and give it."""

        def found() -> Entry | None:
            there = self.entries().get(entry["id"]) if self.node.settings.store_file.exists() else None
            return there if there and look(there) else None

        return self.node.wait_for(found, what, timeout)

    def wait_until_settled(self, *entries: Metadata) -> None:
        """Wait until these are decided and nothing of theirs is to be signalled."""
        for entry in entries:
            self.wait_until(
                entry, lambda each: each.state == DONE and each.signal != PENDING, f"{entry['name']} to be settled"
            )

    def wait_until_idle(self) -> None:
        """Wait until the loop has ended."""
        self.node.wait_for(lambda: not (self.node.state_dir / "pending").exists(), "the loop to end")

    def begin_anew(self) -> None:
        """Begin a new store, as one pass does by itself, and wait until everything is in it."""
        assert self.node.agent("run").returncode == 0
        self.wait_until_settled(*self.standing)
        self.wait_until_idle()

    @property
    def loop(self) -> int:
        """The process id of the loop, which must run."""
        found = Node(self.node.settings, self.node.environment).loop
        assert found, "no loop runs"
        return found.pid

    # --- what may be done to it

    def gated(self, name: str) -> Metadata:
        """Give a pod that runs until its gate is opened, and from then on ends with an error whenever it is started."""
        folder = self.gate(name).parent
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        volumes = [{"name": "gate", "hostPath": {"path": str(folder), "type": "Directory"}}]
        mounts = {"volumeMounts": [{"name": "gate", "mountPath": "/gate"}]}
        command = "while [ ! -e /gate/open ]; do sleep 0.2; done; echo the database is gone; exit 9"
        return heat.pod(name, command, container=mounts, volumes=volumes)

    def gate(self, name: str) -> Path:
        """The file that opens the gate of a pod when it is made."""
        return self.work / f"gate-{name}" / "open"

    @contextlib.contextmanager
    def frozen(self, process: int) -> Iterator[None]:
        """Stop a process for a while, as SIGSTOP does."""
        os.kill(process, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(process, signal.SIGCONT)

    @contextlib.contextmanager
    def changed(self, file: Path, change: Callable[[str], str]) -> Iterator[None]:
        """Change a file's text for a while; its times too are afterwards what they were."""
        before, times, mode = file.read_bytes(), file.stat(), file.stat().st_mode
        file.write_text(change(before.decode()))
        try:
            yield
        finally:
            file.write_bytes(before)
            file.chmod(mode)
            os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))

    @contextlib.contextmanager
    def kubelet_said(self, **fields: object) -> Iterator[None]:
        """Change fields of the kubelet's configuration file; the kubelet itself is not restarted."""
        file = self.node.state_dir / "kubelet.json"
        with self.changed(file, lambda text: json.dumps({**json.loads(text), **fields}, indent=2)):
            yield

    @contextlib.contextmanager
    def mounted(self, folder: Path, *options: str, kind: str = "tmpfs") -> Iterator[None]:
        """Mount a file system over a folder, with a copy of what is in it."""
        copy = self.work / "copy"
        shutil.copytree(folder, copy, symlinks=True, ignore=_pipes)
        subprocess.run(["mount", "-t", kind, "-o", ",".join(options) or "rw", "lab", str(folder)], check=True)
        try:
            folder.chmod(0o700)
            subprocess.run(["cp", "-a", f"{copy}/.", str(folder)], check=True)
            yield
        finally:
            subprocess.run(["umount", "--lazy", str(folder)], check=True)
            shutil.rmtree(copy)

    @contextlib.contextmanager
    def read_only(self, folder: Path) -> Iterator[None]:
        """Make a folder read-only for all but the kubelet, which has a mount namespace of its own."""
        subprocess.run(["mount", "--bind", str(folder), str(folder)], check=True)
        try:
            subprocess.run(["mount", "-o", "remount,bind,ro", str(folder)], check=True)
            yield
        finally:
            subprocess.run(["umount", "--lazy", str(folder)], check=True)

    def fill(self, folder: Path) -> Path:
        """Fill the file system of a folder; give the file that does."""
        file = folder / "filler"
        with contextlib.suppress(OSError), file.open("wb", buffering=0) as stream:
            while True:
                stream.write(bytes(1 << 16))
        return file


class Firewall:
    """Drops what is sent to a port of 127.0.0.1, as a firewall does, while nobody else listens there.

    A socket that takes no connection and whose queue is full answers nothing (tcp(7), listen(2)).
    """

    def __init__(self, port: int) -> None:
        self._stack = contextlib.ExitStack()
        server = self._stack.enter_context(socket.socket())
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind(("127.0.0.1", port))
        server.listen(0)
        for _ in range(8):
            client = self._stack.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex(("127.0.0.1", port))
        deadline = time.monotonic() + 10
        while not self._drops(port):
            if time.monotonic() > deadline:
                raise TimeoutError(f"port {port} still answers")

    def __enter__(self) -> Firewall:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _drops(self, port: int) -> bool:
        client = self._stack.enter_context(socket.socket())
        client.settimeout(0.3)
        try:
            client.connect(("127.0.0.1", port))
        except TimeoutError:
            return True
        return False


def _pipes(folder: str, names: list[str]) -> set[str]:
    return {name for name in names if Path(folder, name).is_fifo()}
