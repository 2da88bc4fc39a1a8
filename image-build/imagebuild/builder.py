"""Builds one image: brings what goes in, has diskimage-builder make the disk, and packs it as a qcow2.

Runs with the system's Python and its standard library alone.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from dataclasses import dataclass, field
from pathlib import Path

from lab import binaries, images
from lab.binaries import cache_folder, locked
from lab.progress import Progress, run_shown

from . import disk, filesystem, machine, tools
from .disk import BuildError

ROOT = Path(__file__).parents[2]
RELEASES = ("bookworm", "trixie")
OCI_RUNTIMES = {"bookworm": "runc", "trixie": "crun"}
"""crun is the smaller one, by 2.5 MiB packed; Debian 12's, 1.8.1, refuses what containerd 2 writes."""
ELEMENTS = ("debian-minimal", "block-device-mbr", "extlinux", "slim-debian")
"""The system; the agent's element comes on top."""
PAUSE = "registry.k8s.io/pause:3.10.2"

_JOURNAL_MIB = 32
_FILE_SYSTEM = "-O ^64bit,^metadata_csum_seed,^orphan_file -m 1 -i 16384"
"""For mkfs.ext4: what extlinux can read; inodes as mke2fs.conf has them; diskimage-builder makes four times more."""


@dataclass(frozen=True)
class Order:
    """What is to be built."""

    output: Path
    """The qcow2's file."""
    release: str = RELEASES[-1]
    raw: bool = False
    kubelet: str = binaries.KUBELET_VERSIONS[0]
    images: tuple[Path, ...] = ()
    pause: str = ""
    """An archive's path or an image's name; empty: Kubernetes' own, else one made here."""
    elements: tuple[str, ...] = ("heat-config-kubelet",)
    size: float = 2.0
    """Of the disk, GiB."""
    level: int = 19
    """Of zstd."""
    cluster_bits: int = 19
    further: tuple[str, ...] = ()
    """Arguments of disk-image-create."""
    variables: dict[str, str] = field(default_factory=dict)
    """DIB_ variables of the caller, which come before ours."""


def build(order: Order, progress: Progress) -> None:
    """Build what is ordered.

    Raises BuildError, ImageError, BinaryError, PackageError, CommandError; nothing is left of it then.
    """
    for archive in order.images:
        if not archive.exists():
            raise BuildError(f"--image {archive}: there is no such file")
    environment = tools.environment(progress)
    programs = binaries.get(progress, kubelet_version=order.kubelet)
    cache = cache_folder() / "image-build" / order.release
    cache.mkdir(parents=True, exist_ok=True)
    with locked(cache / "lock", progress, f"image of {order.release}"):
        work = cache / "work"
        disk.clean(work / "tmp")
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir()
        try:
            _make(order, environment, programs, cache, work, progress)
        finally:
            shutil.rmtree(work, ignore_errors=True)


def _make(
    order: Order, environment: Path, programs: binaries.Binaries, cache: Path, work: Path, progress: Progress
) -> None:
    log = order.output.with_suffix(".log")
    order.output.parent.mkdir(parents=True, exist_ok=True)
    variables = {
        **machine.bare_environment(),
        **machine.apt_proxy(os.environ),
        **machine.mirrors(machine.apt_sources()),
        "ELEMENTS_PATH": ":".join(filter(None, [str(ROOT / "element"), os.environ.get("ELEMENTS_PATH")])),
        "DIB_RELEASE": order.release,
        "DIB_IMAGE_CACHE": str(cache / "dib"),
        "DIB_LOCKFILES": str(cache / "locks"),
        "DIB_DEBOOTSTRAP_CACHE": "1",
        "DIB_DEBIAN_USE_DEBOOTSTRAP_CACHE": "1",
        "DIB_IMAGE_SIZE": str(order.size),
        "DIB_JOURNAL_SIZE": str(_JOURNAL_MIB),
        "DIB_KUBELET_SOURCE": "file",
        "DIB_KUBELET_FILE": str(programs.kubelet),
        "DIB_CONTAINERD_SOURCE": "files",
        "DIB_CONTAINERD_FILES": str(programs.folder),
        "DIB_CONTAINERD_OCI_RUNTIME": OCI_RUNTIMES[order.release],
        "DIB_CONTAINERD_IMAGES": ":".join(str(path.resolve()) for path in order.images),
        "DIB_CONTAINERD_PAUSE": _pause(order.pause, work, progress),
        **order.variables,
    }
    folders = (
        [str(environment / "bin")] if machine.has_device_mapper() else [str(machine.STAND_INS), f"{environment}/bin"]
    )
    variables["PATH"] = ":".join([*folders, variables.get("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")])
    raw = work / "image.raw"
    arguments = ["-n", "-t", "raw", "-o", str(raw.with_suffix("")), "--mkfs-options", _FILE_SYSTEM]
    arguments += [*order.further, *ELEMENTS, *order.elements]
    disk.create(arguments, environment=variables, work=work, log=log, progress=progress)
    progress.say("emptying what the file system does not use")
    filesystem.empty_the_unused(raw, journal_mib=int(variables["DIB_JOURNAL_SIZE"]))
    fresh = work / "image.qcow2"
    packing = ["--level", str(order.level), "--cluster-bits", str(order.cluster_bits)]
    run_shown(
        [str(environment / "bin" / "python"), "-m", "imagebuild.qcow2", str(raw), str(fresh), *packing],
        progress,
        f"packing the disk (zstd, level {order.level})",
        cwd=ROOT / "image-build",
    )
    _write_manifest(order, work, log)
    shutil.move(fresh, order.output)
    if order.raw:
        run_shown(["cp", "--sparse=always", str(raw), str(order.output.with_suffix(".raw"))], progress, "the raw disk")
    progress.say(f"{order.output}: {order.output.stat().st_size / 2**20:.1f} MiB")


def _pause(given: str, work: Path, progress: Progress) -> str:
    if given:
        return str(Path(given).resolve()) if Path(given).exists() else given
    if machine.reaches(PAUSE.partition("/")[0]):
        return PAUSE
    progress.say(f"{PAUSE.partition('/')[0]} cannot be reached: the pause image is one of busybox, made here")
    return str(images.write_pause(work / "pause.tar"))


def _write_manifest(order: Order, work: Path, log: Path) -> None:
    """Tell what went in, in a file beside the image; nothing of this machine."""
    lines = [f"release {order.release}", f"elements {' '.join([*ELEMENTS, *order.elements])}"]
    told = log.read_text(errors="replace")
    lines += [f"kubelet {version}" for version in re.findall(r"kubelet: Kubernetes v(\S+)", told)]
    lines += [f"containerd {version}" for version in re.findall(r"containerd: version (\S+)", told)]
    lines += [f"image {name}" for name in re.findall(r"containerd: preloaded and pinned: (\S+)", told)]
    for file in sorted(work.glob("image.d/dib-manifests/dib-manifest-dpkg-*")):
        packages = json.loads(file.read_text())["packages"]
        lines += [f"package {item['package']} {item['version']}" for item in packages]
    order.output.with_suffix(".manifest").write_text("\n".join(lines) + "\n")
