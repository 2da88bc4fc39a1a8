"""A network and mounts of this process's own: nothing of the machine is changed, and nothing outside can be reached.

What is started afterwards has them too. They end with the last process that has them.
"""

from __future__ import annotations

import ctypes
import functools
import os
import subprocess

HEAT = "192.0.2.1"
"""Where Heat is called, by this machine and by a guest; of the addresses that RFC 5737 keeps for examples.

QEMU's user network carries a guest's connections to addresses of this machine, 10.0.2.2 alone is another one for it.
"""
METADATA = "169.254.169.254"
"""Where a cloud's metadata service is."""

_CLONE_NEWNS, _CLONE_NEWNET = 0x00020000, 0x40000000
_MS_REC, _MS_PRIVATE = 0x4000, 1 << 18
"""linux/sched.h and linux/mount.h."""


@functools.cache
def enter() -> None:
    """Give them to this thread and all that it starts from now on; a second time does nothing. Needs root."""
    libc = ctypes.CDLL(None, use_errno=True)
    _check(libc.unshare(_CLONE_NEWNS | _CLONE_NEWNET))
    _check(libc.mount(b"none", b"/", None, _MS_REC | _MS_PRIVATE, None))
    for command in (
        ["ip", "link", "set", "lo", "up"],
        ["ip", "address", "add", f"{HEAT}/32", "dev", "lo"],
        ["ip", "address", "add", f"{METADATA}/32", "dev", "lo"],
    ):
        subprocess.run(command, check=True)


def _check(result: int) -> None:
    if result:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
