"""Images built by `image-build/build`, in the user's cache: anew where anything that goes into one has changed."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from heatlab import certificates
from lab import heat_agents, images
from lab.binaries import cache_folder
from lab.progress import Progress, run_shown

ROOT = Path(__file__).parents[2]
_GOES_IN = (
    "element",
    "heat_config_kubelet",
    "image-build/build",
    "image-build/imagebuild",
    "image-build/requirements.txt",
    "image-build/stand-ins",
    "setup.cfg",
    "pyproject.toml",
    "tests/imagelab/elements",
    "tests/lab/images.py",
)
_KEPT = 2
"""Builds of each kind that stay in the cache."""
_LEVEL = "3"
"""Of zstd: the best ones take minutes."""
_SECTOR = 512


@dataclass(frozen=True)
class Kind:
    """What an image is built of, beside the test's own container image."""

    release: str
    elements: tuple[str, ...] = ()
    """Beside the product's own."""
    packages: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """For a file."""
        return "-".join([self.release, *self.elements, *self.packages])

    @property
    def user(self) -> str:
        """Whose the server's ssh keys are: Debian's cloud-init gives them to nobody else."""
        return "debian" if "cloud-init" in self.packages else "root"


TRIXIE = Kind("trixie")
BOOKWORM = Kind("bookworm", packages=("cloud-init",))
KINDS = (TRIXIE, BOOKWORM)
"""Those that are booted."""
VARIANT = Kind("bookworm", elements=("distribution", "every-setting", "slim-debian-builds"))
"""Other choices than the defaults, by the elements' test-elements, which look at it while it is built."""
BESIDE = Kind("trixie", elements=("heat-config", "heat-config-script"))
"""Beside heat-agents: its own elements, for which `elements` has what they depend on."""
_TEST_ELEMENTS = sorted((ROOT / "element").glob("*/test-elements"))
_OWN_ELEMENTS = Path(__file__).parent / "elements"


def authority() -> Path:
    """Give the folder of the CA that all images trust, and that is Heat's: ca.crt and ca.key, made once."""
    folder = cache_folder() / "images" / "ca"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_name("ca.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        certificates.make_authority(folder, days=3650)
    return folder


@dataclass(frozen=True)
class Image:
    """A built image; its files stay as they are."""

    kind: Kind
    folder: Path

    @property
    def qcow2(self) -> Path:
        """What is given to Glance."""
        return self.folder / "image.qcow2"

    @property
    def raw(self) -> Path:
        """The same, as Nova unpacks it for servers (nova.conf force_raw_images)."""
        return self.folder / "image.raw"


def get(kinds: Sequence[Kind], progress: Progress) -> dict[Kind, Image]:
    """Give an image of each kind, built at one time where they are not there. Raises CommandError."""
    with ThreadPoolExecutor(len(kinds)) as threads:
        return dict(zip(kinds, threads.map(lambda kind: _get(kind, progress), kinds), strict=True))


def _get(kind: Kind, progress: Progress) -> Image:
    base = cache_folder() / "images"
    base.mkdir(parents=True, exist_ok=True)
    image = Image(kind, base / f"{kind.name}-{_key(kind)}")
    with (base / f"{kind.name}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            progress.say(f"image {kind.name}: waiting for another process that is building it")
            fcntl.flock(lock, fcntl.LOCK_EX)
        if not image.folder.exists():
            fresh = image.folder.with_suffix(".new")
            shutil.rmtree(fresh, ignore_errors=True)
            fresh.mkdir()
            _build(Image(kind, fresh), progress)
            fresh.rename(image.folder)
        os.utime(image.folder)
        _forget_old(base, kind)
    return image


def _build(image: Image, progress: Progress) -> None:
    busybox = images.write_busybox(image.folder / "busybox.tar")
    pause = images.write_pause(image.folder / "pause.tar")
    kind = image.kind
    command = [str(ROOT / "image-build" / "build"), "--release", kind.release, "--output", str(image.qcow2), "--raw"]
    command += ["--level", _LEVEL, "--pause", str(pause), "--image", str(busybox)]
    command += [*(part for name in kind.elements for part in ("--element", name))]
    if kind.packages:
        command += ["--", "-p", ",".join(kind.packages)]
    variables = {
        **os.environ,
        "DIB_HEAT_CONFIG_KUBELET_CA": str(authority() / "ca.crt"),
        "DIB_HEAT_CONFIG_KUBELET_SPLAY": "0",  # each boot of the tests would wait for up to 5 s, by chance
        "DIB_CONTAINERD_ANY_KUBELET": "1",  # a distribution's containerd is of another time than our kubelet
        "ELEMENTS_PATH": ":".join(map(str, _TEST_ELEMENTS)),
    }
    if kind == BESIDE:
        # heat-agents has an element heat-config-kubelet too: the first one of a name is taken.
        variables["ELEMENTS_PATH"] = f"{_OWN_ELEMENTS}:{heat_agents.get(progress).parent}"
    what = f"image {kind.name}: build (about 2 minutes)"
    run_shown(command, progress, what, cwd=ROOT, env=variables, every=30.0)


def _forget_old(base: Path, kind: Kind) -> None:
    """Remove older builds of a kind; what a machine has open of them stays for it."""
    found = [path for path in base.glob(f"{kind.name}-*") if path.name.rpartition("-")[0] == kind.name]
    for path in sorted(found, key=lambda each: each.stat().st_mtime, reverse=True)[_KEPT:]:
        shutil.rmtree(path)


def _key(kind: Kind) -> str:
    needs = hashlib.sha256(repr(kind).encode() + (authority() / "ca.crt").read_bytes())
    for file in _files():
        if ("test-elements" in file.parts and kind != VARIANT) or (_OWN_ELEMENTS in file.parents and kind != BESIDE):
            continue
        needs.update(f"{file.relative_to(ROOT)}\0{file.stat().st_mode & 0o111}\0".encode())
        needs.update(file.read_bytes() + b"\0")
    return needs.hexdigest()[:16]


def _files() -> Iterator[Path]:
    for name in _GOES_IN:
        place = ROOT / name
        for path in sorted(place.rglob("*")) if place.is_dir() else [place]:
            if path.is_file() and path.suffix not in (".pyc", ".rst", ".md"):
                yield path


@contextmanager
def mounted(disk: Path, folder: Path, *, writable: bool = False) -> Iterator[Path]:
    """Give the root of a raw disk's file system; where it is not to be written, as it is: a journal is not played back.

    The mount is seen by this process alone (`apart.enter`); `folder` is made.
    """
    command = ["partx", "--show", "--noheadings", "--output", "SECTORS,START", str(disk)]
    told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    size, start = max([int(number) * _SECTOR for number in line.split()] for line in told.splitlines())
    folder.mkdir()
    options = f"{'rw' if writable else 'ro,noload'},loop,offset={start},sizelimit={size}"
    subprocess.run(["mount", "-t", "ext4", "-o", options, str(disk), str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)
        folder.rmdir()


def write_raw(disk: Path, target: Path) -> Path:
    """Write what is on a machine's disk, which is switched off, as a raw one."""
    subprocess.run(["qemu-img", "convert", "-O", "raw", str(disk), str(target)], check=True, capture_output=True)
    return target
