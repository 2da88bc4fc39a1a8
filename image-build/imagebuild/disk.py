"""Runs diskimage-builder to a raw disk, shows what it is at, and leaves nothing mounted or attached behind.

It runs in namespaces of its own for mounts and processes, which end with it in whatever way that comes.
Not for: what goes into the image (`builder.py` and the elements).
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from lab.progress import Progress

PHASES = {
    "root": "settings, programs, and the base system (debootstrap, from the second time on out of the cache)",
    "extra-data": "what the installation needs of this machine",
    "pre-install": "preparing the installation",
    "install": "installing packages and programs",
    "post-install": "container images, the first file system, what is left out",
    "finalise": "the disk and its boot loader",
    "cleanup": "nothing of this machine stays in",
}
"""diskimage-builder's phases, for a person who waits."""

_STEP = re.compile(r"(?:dib-run-parts Running|Running hooks from) \S*/(?P<phase>[a-z-]+)\.d(?:/(?P<step>\S+))?")
_ERROR = re.compile(r"(?:^|[|>] )(?:ERROR: |E: )(?P<text>.+)$")
_TIME = re.compile(r"^\S+ \S+ \| ")
_NO_ERRORS = ("Can not write log",)
"""What apt says in every chroot."""
_LOOK_SECONDS = 0.5
_TELL_SECONDS = 10.0
_END_SECONDS = 20.0


class BuildError(Exception):
    """The image cannot be built; the message is one line and says why."""


def create(
    arguments: Sequence[str], *, environment: Mapping[str, str], work: Path, log: Path, progress: Progress
) -> None:
    """Run disk-image-create with `arguments`; what it writes goes to `log`, its own files below `work`.

    Raises BuildError with the error that it met.
    """
    temporary = work / "tmp"
    clean(temporary)
    temporary.mkdir(parents=True)
    namespaces = ["setpriv", "--pdeathsig", "KILL", "unshare", "--mount", "--pid", "--fork", "--kill-child"]
    with log.open("wb") as out:
        process = subprocess.Popen(
            [*namespaces, "--mount-proc", "disk-image-create", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            env={**environment, "TMP_DIR": str(temporary)},
            cwd=work,
            start_new_session=True,
        )
    try:
        code = _watch(process, log, progress)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
            try:
                process.wait(_END_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        clean(temporary)
    if code:
        raise BuildError(f"{first_error(log.read_text(errors='replace'))} (all of it: {log})")


def clean(temporary: Path) -> None:
    """Detach the loop devices whose files are below `temporary`, and remove it."""
    told = subprocess.run(
        ["losetup", "--list", "--noheadings", "--raw", "--output", "NAME,BACK-FILE"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    for line in told.splitlines():
        device, _, file = line.partition(" ")
        if file.startswith(f"{temporary}/"):
            name = Path(device).name
            subprocess.run(["partx", "--delete", device], check=False, capture_output=True)
            subprocess.run(["losetup", "--detach", device], check=False, capture_output=True)
            for link in Path("/dev/mapper").glob(f"{name}p*"):
                if link.is_symlink() and not link.exists():
                    link.unlink()
    shutil.rmtree(temporary, ignore_errors=True)


def first_error(log: str) -> str:
    """Give the first error in what diskimage-builder wrote, else its last line."""
    lines = [_TIME.sub("", line).strip() for line in log.splitlines()]
    for line in lines:
        match = _ERROR.search(line)
        if match and not match.group("text").startswith(_NO_ERRORS):
            return match.group("text")
    told = [line for line in lines if line and "INFO diskimage_builder" not in line and not line.startswith("Unmount")]
    return told[-1] if told else "diskimage-builder said nothing"


def _watch(process: subprocess.Popen[bytes], log: Path, progress: Progress) -> int:
    began = told = time.monotonic()
    phase, step, seen = "", "", 0
    while True:
        code = process.poll()
        with log.open("rb") as stream:
            stream.seek(seen)
            fresh = stream.read()
        end = len(fresh) if code is not None else fresh.rfind(b"\n") + 1
        seen += end
        for line in fresh[:end].decode(errors="replace").splitlines():
            match = _STEP.search(line)
            if not match:
                continue
            if match.group("phase") in PHASES and match.group("phase") != phase:
                phase, told = match.group("phase"), time.monotonic()
                progress.say(f"diskimage-builder: {phase}: {PHASES[phase]}")
            step = match.group("step") or ""
        if code is not None:
            return code
        if time.monotonic() - told >= _TELL_SECONDS:
            told = time.monotonic()
            where = f"{phase}/{step}" if step else phase or "starting"
            progress.say(f"diskimage-builder: {where}: still running after {told - began:.0f} s")
        time.sleep(_LOOK_SECONDS)
