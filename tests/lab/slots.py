"""Gives each node of the lab a number of its own on this machine, and with it what must not be shared.

A node holds its number by a lock, which ends with its process whatever happens to that. A guard, a process of its
own, then ends what the node has left running; should that fail too, whoever takes the number next does it.
"""

from __future__ import annotations

import fcntl
import os
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

from .cgroup import Cgroup

_FOLDER = Path("/run/heat-config-kubelet-lab")
_MOST = 100
_LOCK_SECONDS = 3.0
"""A process that is killed may lose its pipes a little before its locks."""
_REMOVE_SECONDS = 30.0


class SlotError(Exception):
    """No number is free."""


class Slot:
    """A number, while it is held."""

    def __init__(self, number: int, lock: int) -> None:
        self.number = number
        self._lock = lock
        self._guard: subprocess.Popen[bytes] | None = None

    @property
    def cgroup(self) -> Cgroup:
        """The control group of all its processes."""
        return cgroup_of(self.number)

    @property
    def bridge(self) -> str:
        """The network interface that its pods are connected to."""
        return bridge_of(self.number)

    @property
    def subnet(self) -> str:
        """The addresses of its pods; of the range that RFC 2544 keeps for labs."""
        return f"198.18.{self.number}.0/24"

    def watch(self, folder: Path) -> None:
        """Start the guard: when this process ends without `release` it cleans up, and removes `folder` too."""
        program = [sys.executable, "-m", "lab.slots", str(self.number), str(folder)]
        self._guard = subprocess.Popen(
            program, cwd=Path(__file__).parents[1], stdin=subprocess.PIPE, start_new_session=True
        )

    def release(self) -> None:
        """End all that runs in it, leave nothing behind, and give the number back."""
        clean(self.number)
        if self._guard and self._guard.stdin:
            self._guard.stdin.write(b"released")
            self._guard.stdin.close()
            self._guard.wait()
            self._guard = None
        os.close(self._lock)


def claim() -> Slot:
    """Take the lowest free number; raises SlotError."""
    _FOLDER.mkdir(exist_ok=True, mode=0o755)
    for number in range(_MOST):
        lock = os.open(_FOLDER / str(number), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            continue
        clean(number)
        return Slot(number, lock)
    raise SlotError(f"all {_MOST} numbers for nodes of the lab are taken; see {_FOLDER}")


def cgroup_of(number: int) -> Cgroup:
    """The control group that goes with a number."""
    return Cgroup(f"lab-{number}")


def bridge_of(number: int) -> str:
    """The bridge that goes with a number."""
    return f"lab{number}"


def clean(number: int) -> None:
    """End and remove whatever a node with this number has left."""
    group = cgroup_of(number)
    group.kill()
    group.remove()
    if Path("/sys/class/net", bridge_of(number)).exists():
        subprocess.run(["ip", "link", "delete", bridge_of(number)], check=True)
    close_host_ports(bridge_of(number))


def close_host_ports(network: str) -> None:
    """Take away what CNI's portmap has for a network: of pods that were killed, it would lead that port nowhere."""
    if not shutil.which("iptables-save"):
        return
    told = subprocess.run(["iptables-save", "-t", "nat"], capture_output=True, text=True, check=True).stdout
    for line in told.splitlines():
        words = shlex.split(line)
        if words[:2] == ["-A", "CNI-HOSTPORT-DNAT"] and f'dnat name: "{network}" ' in " ".join(words):
            for command in (["-D", *words[1:]], ["-F", words[-1]], ["-X", words[-1]]):
                subprocess.run(["iptables", "-w", "-t", "nat", *command], check=True)


def _guard(number: int, folder: Path) -> None:
    """Wait for the end of the process that has started us, and clean up where it has not."""
    if sys.stdin.buffer.read() == b"released":
        return
    lock = os.open(_FOLDER / str(number), os.O_RDWR)
    end = time.monotonic() + _LOCK_SECONDS
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:  # the kernel is still about it, or somebody else has the number and has cleaned up
            if time.monotonic() > end:
                return
            time.sleep(0.02)
        else:
            break
    clean(number)
    end = time.monotonic() + _REMOVE_SECONDS
    while folder.exists() and time.monotonic() < end:  # who else has files there may still be ending
        shutil.rmtree(folder, ignore_errors=True)
        time.sleep(0.1)


if __name__ == "__main__":
    _guard(int(sys.argv[1]), Path(sys.argv[2]))
