"""A virtual machine by QEMU: started from an image that stays as it is, cut off, saved and restored, and asked by ssh.

The kubelet's port of the guest's loopback is carried to this machine as well.

It ends with this process, in whatever way that comes. Its network reaches what `apart.enter` leaves, and nothing else.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TypeVar

from heatlab.processes import Service
from lab.node import free_ports
from lab.progress import Progress

from heat_config_kubelet.kubelet_config import DEFAULT_PORT

from .acceleration import accelerator
from .qmp import Qmp

MEMORY_MIB = 768
CPUS = 2
DISK = "4G"
"""Larger than any image, as a server's is."""
BOOT_SECONDS = 900.0
"""Emulated on a busy machine; a quiet one needs 40."""
_SHELL_SECONDS = 300.0
_CONNECT_SECONDS = 20
_START_SECONDS = 30.0
_LOOK_SECONDS = 1.0
_STORY_SECONDS = 60.0

Seen = TypeVar("Seen")


class MachineError(Exception):
    """The machine did not do what was asked or waited for; the message says what, with the ends of its logs."""


@dataclass(frozen=True)
class Instance:
    """What a cloud gives to the server that a machine is."""

    id: str
    config_drive: Path | None = None


class Machine:
    """A virtual machine, as a context manager: off at first, wholly gone on exit but for its console's file."""

    def __init__(
        self,
        folder: Path,
        name: str,
        image: Path,
        instance: Instance,
        key: Path,
        progress: Progress,
        *,
        user: str = "root",
    ) -> None:
        """`image` is a whole disk, raw; `key` is what ssh as `user` shows, who is root or may be so by sudo."""
        self.folder = folder
        self.name = name
        self.console = folder / "console.log"
        self.disk = folder / "disk.qcow2"
        self.started = 0.0
        """When it was last switched on, steady seconds."""
        self._image = image
        self._instance = instance
        self._key = key
        self._user = user
        self._progress = progress
        self._port, self.kubelet_port = free_ports(2)
        self._service: Service | None = None
        self._qmp: Qmp | None = None

    def __enter__(self) -> Machine:
        self.folder.mkdir(parents=True, exist_ok=True)
        backing = ["-b", str(self._image), "-F", "raw"]
        _run(["qemu-img", "create", "-q", "-f", "qcow2", *backing, str(self.disk), DISK])
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.cut_power()
        self.disk.unlink(missing_ok=True)

    # --- its life

    def switch_on(self) -> None:
        """Start it; `wait_for_shell` waits until it has booted."""
        socket = self.folder / "qmp"
        self._service = Service("qemu", self._command(socket), self.folder / "qemu.log", keeper=True)
        self.started = time.monotonic()
        self._service.start()
        end = self.started + _START_SECONDS
        while not self._qmp:
            with contextlib.suppress(OSError):
                self._qmp = Qmp(socket)
            if not self._qmp and (not self._service.running or time.monotonic() > end):
                raise MachineError(f"{self.name}: QEMU does not start\n{self._service.last_lines()}")
            time.sleep(0.05)

    def cut_power(self) -> None:
        """End it without warning, if it runs: what it has not written to its disk is lost."""
        self._hang_up()
        if self._qmp:
            self._qmp.close()
            self._qmp = None
        if self._service:
            self._service.kill()
            self._service = None
            (self.folder / "qmp").unlink(missing_ok=True)

    def switch_off(self) -> None:
        """Let it shut down in order, and wait for that."""
        self.run("systemctl poweroff --no-block")
        self._wait_for_end()
        self.cut_power()

    def reboot(self) -> None:
        """Let it boot again in order; `wait_for_shell` waits until it has."""
        before = self.boot_id()
        self.run("systemctl reboot --no-block")
        self._hang_up()
        self.started = time.monotonic()
        self.wait_for(lambda: self._answers() and self.boot_id() != before, "it to boot again", BOOT_SECONDS)

    def save(self, name: str) -> None:
        """Keep the running machine as it is now, disk and memory, for `restore`."""
        assert self._qmp
        began = time.monotonic()
        self._qmp.monitor(f"savevm {name}")
        self._progress.say(f"{self.name}: saved as {name} in {time.monotonic() - began:.1f} s")

    def restore(self, name: str) -> None:
        """Have the running machine as it was at `save`, but for its clock."""
        assert self._qmp
        began = time.monotonic()
        self._hang_up()
        self._qmp.monitor(f"loadvm {name}")
        self.run(f"date --utc --set=@{time.time():.2f}")
        self._progress.say(f"{self.name}: as it was saved in {time.monotonic() - began:.1f} s")

    # --- what it is asked

    def wait_for_shell(self) -> float:
        """Wait until it has booted so far that it can be asked; give the seconds since it was switched on."""
        self.wait_for(self._answers, "ssh to answer", BOOT_SECONDS)
        took = time.monotonic() - self.started
        self._progress.say(f"{self.name}: can be asked after {took:.0f} s")
        return took

    def run(self, script: str, *, check: bool = True, stdin: str = "", timeout: float = _SHELL_SECONDS) -> str:
        """Run a script of its shell as root and give its standard output; MachineError where it fails."""
        done = self._ssh(script, stdin=stdin, timeout=timeout)
        if check and done.returncode:
            raise MachineError(
                f"{self.name}: {script}: exit status {done.returncode}\n{done.stdout}{done.stderr}\n{self.story()}"
            )
        return done.stdout

    def succeeds(self, script: str) -> bool:
        """Whether a script of its shell ends with status 0."""
        return self._ssh(script, stdin="", timeout=_SHELL_SECONDS).returncode == 0

    def boot_id(self) -> str:
        """What the kernel calls this boot."""
        return self.run("cat /proc/sys/kernel/random/boot_id").strip()

    def wait_for(self, look: Callable[[], Seen | None], what: str, timeout: float = _SHELL_SECONDS) -> Seen:
        """Look again and again until it gives something true, and give that.

        Raises MachineError after `timeout` seconds, or where QEMU has ended, with what was waited for, what was last
        seen, and the ends of its logs.
        """
        end = time.monotonic() + timeout
        seen: object = None
        while True:
            try:
                found = look()
                if found:
                    return found
                seen = found
            except (OSError, ValueError, subprocess.TimeoutExpired) as error:
                seen = error
            ended = not self._service or not self._service.running
            if ended or time.monotonic() > end:
                why = "QEMU has ended" if ended else f"not within {timeout:g} s"
                raise MachineError(f"{self.name}: waited for {what}: {why}; last seen: {seen!r}\n{self.story()}")
            time.sleep(_LOOK_SECONDS)

    def story(self, count: int = 25) -> str:
        """The ends of its console, and of its journal if it still tells."""
        told = [f"--- console of {self.name}", *_last_lines(self.console, count)]
        if self._service:
            told.append(self._service.last_lines(5))
        script = f"systemctl --failed --no-legend; journalctl --no-pager --output=short-monotonic --lines={2 * count}"
        with contextlib.suppress(subprocess.TimeoutExpired):
            done = self._ssh(script, stdin="", timeout=_STORY_SECONDS)
            told += ["--- journal", *(line[:400] for line in (done.stdout + done.stderr).splitlines())]
        return "\n".join(told)

    # --- how

    def _command(self, socket: Path) -> Sequence[str]:
        """QEMU's command line: what Nova's libvirt driver gives a server, as far as that matters."""
        drives = [f"file={self.disk},if=virtio,format=qcow2,discard=unmap"]
        command = ["qemu-system-x86_64", "-name", self.name, *accelerator(), "-machine", "pc", "-nodefaults"]
        command += ["-no-user-config", "-display", "none", "-m", str(MEMORY_MIB), "-smp", str(CPUS)]
        command += [
            "-smbios",
            f"type=1,manufacturer=OpenStack Foundation,product=OpenStack Nova,uuid={self._instance.id}",
        ]
        command += ["-qmp", f"unix:{socket},server=on,wait=off"]
        command += ["-chardev", f"file,id=console,path={self.console},append=on", "-serial", "chardev:console"]
        command += ["-netdev", f"user,id=net,ipv6=off,hostfwd=tcp:127.0.0.1:{self._port}-:22"]
        command += ["-device", "virtio-net-pci,netdev=net", "-device", "virtio-rng-pci"]
        if self._instance.config_drive:
            drives.append(f"file={self._instance.config_drive},if=ide,format=raw,readonly=on,media=cdrom")
        return [*command, *(part for drive in drives for part in ("-drive", drive))]

    def _answers(self) -> bool:
        return self._ssh("true", stdin="", timeout=2 * _CONNECT_SECONDS).returncode == 0

    def _ssh(self, script: str, *, stdin: str, timeout: float) -> subprocess.CompletedProcess[str]:
        """Run a script over the one connection that all of them share: emulated, a new one takes seconds."""
        options = {
            "ConnectTimeout": _CONNECT_SECONDS,
            "ControlMaster": "auto",
            "ControlPath": self._control,
            "ControlPersist": 600,
            "IdentitiesOnly": "yes",
            "LocalForward": f"127.0.0.1:{self.kubelet_port} 127.0.0.1:{DEFAULT_PORT}",
            "LogLevel": "ERROR",
            "PasswordAuthentication": "no",
            "ServerAliveInterval": 30,
            "StrictHostKeyChecking": "accept-new",
            "UserKnownHostsFile": self.folder / "known_hosts",
        }
        settings = [part for name, value in options.items() for part in ("-o", f"{name}={value}")]
        place = f"{self._user}@127.0.0.1"
        command = ["ssh", "-F", "none", "-i", str(self._key), "-p", str(self._port), *settings, place]
        if self._user != "root":
            script = quoted("sudo", "--non-interactive", "bash", "-c", script)
        with (self.folder / "ssh.log").open("a+") as log:  # what stays in the background would keep a pipe open
            begin = log.seek(0, os.SEEK_END)
            done = subprocess.run(
                [*command, script],
                input=stdin,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                timeout=timeout,
                check=False,
            )
            log.seek(begin)
            return subprocess.CompletedProcess(command, done.returncode, done.stdout, log.read())

    def _hang_up(self) -> None:
        """End the shared connection, if there is one."""
        if self._control.exists():
            command = ["ssh", "-F", "none", "-o", f"ControlPath={self._control}", "-O", "exit", "127.0.0.1"]
            subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)

    @property
    def _control(self) -> Path:
        return self.folder / "ssh"

    def _wait_for_end(self) -> None:
        end = time.monotonic() + BOOT_SECONDS
        while self._service and self._service.running:
            if time.monotonic() > end:
                raise MachineError(f"{self.name}: has not shut down within {BOOT_SECONDS:g} s\n{self.story()}")
            time.sleep(_LOOK_SECONDS)


def make_key(file: Path) -> str:
    """Make a key pair at `file`, and give its public half."""
    _run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "lab", "-f", str(file)])
    return file.with_suffix(".pub").read_text().strip()


def quoted(*words: str) -> str:
    """Words as one command of a shell."""
    return shlex.join(words)


def _run(command: Sequence[str]) -> None:
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL, capture_output=True)


def _last_lines(file: Path, count: int) -> list[str]:
    return file.read_text(errors="replace").splitlines()[-count:] if file.exists() else []
