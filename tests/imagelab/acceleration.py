"""Whether this machine's KVM really works: where a machine is itself a guest, it may be there and stall."""

from __future__ import annotations

import functools
import os
import subprocess
import tempfile
import time
from pathlib import Path

_KVM = ["-accel", "kvm", "-cpu", "host"]
_SECONDS = 5.0
_BIOS_ENDS = b"No bootable device"
"""The last word of SeaBIOS (src/boot.c) where it has found nothing to boot from."""


@functools.cache
def accelerator() -> list[str]:
    """Give QEMU's arguments: kvm where its BIOS comes to its end with that, else emulation, a thread for each CPU."""
    if os.access("/dev/kvm", os.R_OK | os.W_OK) and _bios_ends():
        return _KVM
    return ["-accel", "tcg,thread=multi,tb-size=512", "-cpu", "max"]


def _bios_ends() -> bool:
    with tempfile.TemporaryDirectory() as folder:
        told = Path(folder, "bios")
        # The very processor too: QEMU may not be able to set it up where another one does.
        command = ["qemu-system-x86_64", *_KVM, "-smp", "2", "-nodefaults", "-display", "none", "-m", "32"]
        command += ["-chardev", f"file,id=bios,path={told}", "-device", "isa-debugcon,iobase=0x402,chardev=bios"]
        end = time.monotonic() + _SECONDS
        with subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            try:
                while process.poll() is None and time.monotonic() < end:
                    if told.exists() and _BIOS_ENDS in told.read_bytes():
                        return True
                    time.sleep(0.05)
                return False
            finally:
                process.kill()
