"""The agent's container image, built by Podman on a base of debootstrap, and kept in the user's cache by its content.

The base stands for Debian's own slim image on Docker Hub: the packages of that, and its settings.
Not for: what a container of it does (`beside.py`).
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from imagebuild import machine
from lab.binaries import cache_folder
from lab.environment import made_once
from lab.folders import temporary_folder
from lab.progress import Progress, run_shown
from lab.runtime import snapshotter

ROOT = Path(__file__).parents[2]
NAME = "localhost/heat-config-kubelet:latest"
RELEASE = "trixie"

_PIP_SETTINGS = ROOT / "element" / "os-collect-config" / "os-collect-config" / "pip_settings.py"
_REQUIREMENTS = (_PIP_SETTINGS.with_name("requirements.txt"), ROOT / "image-build" / "container" / "hooks.txt")
_GOES_IN_BASE = ("tests/imagelab/container.py",)
_GOES_IN = (
    ".dockerignore",
    "LICENSE",
    "README.md",
    "heat_config_kubelet",
    "image-build/Dockerfile",
    "image-build/container",
    "pyproject.toml",
    "setup.cfg",
    "setup.py",
    "element/os-collect-config/os-collect-config/prune.py",
    "element/os-collect-config/os-collect-config/requirements.txt",
    *_GOES_IN_BASE,
)
_UNUSED_SECONDS = 86400
"""After which an older one goes: another checkout's tests may be using theirs."""
_DIGITS = 16
"""Of a folder's name that tell what is in it."""
_BASE = "localhost/base"
_LIMIT = 8192
"""Of open files and of processes."""
_SOURCES = """\
Types: deb
URIs: {debian}
Suites: {release} {release}-updates
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.pgp

Types: deb
URIs: {security}
Suites: {release}-security
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.pgp
"""
_LEFT_OUT = ("doc", "info", "linda", "lintian", "locale", "man")
"""Of /usr/share, but for copyrights."""
_OF_THE_MACHINE = ("etc/hostname", "etc/resolv.conf", "var/cache/*", "var/lib/apt/lists/*", "var/log/*")


@dataclass(frozen=True)
class Container:
    """A built image."""

    folder: Path

    @property
    def archive(self) -> Path:
        """As `docker save` writes it."""
        return self.folder / "image.tar"

    @property
    def layers(self) -> list[int]:
        """The bytes of each layer as a registry keeps it."""
        manifest = json.loads((self.folder / "manifest.json").read_text())
        return [int(layer["size"]) for layer in manifest["layers"]]


class Podman:
    """The command, with a storage in a folder of its own; what it runs is in a control group of `group`."""

    def __init__(self, folder: Path, group: str = "") -> None:
        self._command = ["podman", "--root", str(folder / "storage"), "--runroot", str(folder / "run")]
        driver = {"overlayfs": "overlay", "native": "vfs"}[snapshotter(folder)]
        self._command += ["--storage-driver", driver, "--cgroup-manager", "cgroupfs", "--runtime", "runc"]
        self._group = group

    @property
    def options(self) -> list[str]:
        """Options of "run": the control group; limits that a root can set who may raise none."""
        limits = [f"--ulimit={name}={_LIMIT}:{_LIMIT}" for name in ("nofile", "nproc")]
        return [*limits, *([f"--cgroup-parent={self._group}"] if self._group else [])]

    def command(self, *arguments: str) -> list[str]:
        """Give a whole command line."""
        return [*self._command, *arguments]

    def run(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run it to its end."""
        return subprocess.run(self.command(*arguments), capture_output=True, text=True, check=check)

    @contextmanager
    def mounted(self) -> Iterator[Path]:
        """Give the image's file system."""
        self.run("image", "mount", NAME)
        place = self.run("image", "mount", "--format", "json").stdout
        try:
            (found,) = json.loads(place)
            yield Path(found["mountpoint"])
        finally:
            self.run("image", "umount", "--all")


def get(progress: Progress) -> Container:
    """Give the image, built where it is not there. Raises CommandError."""
    return Container(_kept("container", _GOES_IN, _build, progress))


def _kept(kind: str, needs: Sequence[str], make: Callable[[Path, Progress], None], progress: Progress) -> Path:
    """Give a folder of the cache that is of these files; where it is not there `make` fills it."""
    folder = cache_folder() / f"{kind}-{_key(needs)}"
    made_once(folder, kind, progress, lambda fresh: make(fresh, progress))
    for old in folder.parent.glob(f"{kind}-{'[0-9a-f]' * _DIGITS}"):
        if old != folder and time.time() - old.stat().st_mtime > _UNUSED_SECONDS:
            shutil.rmtree(old)
    return folder


def _key(names: Sequence[str]) -> str:
    needs = hashlib.sha256()
    for name in names:
        place = ROOT / name
        for path in sorted(place.rglob("*")) if place.is_dir() else [place]:
            if path.is_file() and path.suffix != ".pyc":
                needs.update(f"{path.relative_to(ROOT)}\0{path.stat().st_mode & 0o111}\0".encode())
                needs.update(path.read_bytes() + b"\0")
    return needs.hexdigest()[:_DIGITS]


def _build(folder: Path, progress: Progress) -> None:
    base = _kept("container-base", _GOES_IN_BASE, _bootstrap, progress)
    folder.mkdir()
    with temporary_folder("podman-") as work:  # its paths may not be long
        podman = Podman(work)
        run_shown(podman.command("import", str(base / "base.tar"), _BASE), progress, "container: base")
        command = podman.command(
            "build", "--isolation", "chroot", "--layers=false", "--format", "docker", "--build-arg", f"BASE={_BASE}"
        )
        for file in _secrets(work):
            command += ["--secret", f"id={file.name},src={file}"]
        command += ["--file", str(ROOT / "image-build" / "Dockerfile"), "--tag", NAME, str(ROOT)]
        variables = {**machine.bare_environment(), **machine.apt_proxy(os.environ)}
        run_shown(command, progress, "container: build (about a minute)", env=variables)
        run_shown(podman.command("push", "--compress", NAME, f"dir:{work}/packed"), progress, "container: layers")
        run_shown(podman.command("save", "--output", str(folder / "image.tar"), NAME), progress, "container: archive")
        shutil.copy(work / "packed" / "manifest.json", folder)


def _secrets(work: Path) -> Iterator[Path]:
    """Write what apt and pip have to know of this machine."""
    mirrors = machine.mirrors(machine.apt_sources())
    sources = work / "debian.sources"
    sources.write_text(_sources(mirrors["DIB_DISTRIBUTION_MIRROR"], mirrors["DIB_DEBIAN_SECURITY_MIRROR"]))
    yield sources
    settings = work / "pip"
    arguments = [str(settings), "/run/secrets", *map(str, _REQUIREMENTS)]
    subprocess.run([sys.executable, str(_PIP_SETTINGS), *arguments], check=True)
    for name in ("pip.conf", "cert.pem"):
        if (settings / name).exists():
            yield settings / name


def _sources(debian: str, security: str) -> str:
    return _SOURCES.format(debian=debian, security=security, release=RELEASE)


def _bootstrap(folder: Path, progress: Progress) -> None:
    """Make the base: mounts and processes of it end with debootstrap, in whatever way that ends."""
    mirrors = machine.mirrors(machine.apt_sources())
    root = folder / "root"
    apart = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
    command = [*apart, "debootstrap", "--variant=minbase", RELEASE, str(root), mirrors["DIB_DISTRIBUTION_MIRROR"]]
    variables = {**machine.bare_environment(), **machine.apt_proxy(os.environ)}
    run_shown(command, progress, "container: debootstrap (about a minute)", env=variables)
    (root / "etc/apt/sources.list").unlink()
    official = machine.mirrors([])
    (root / "etc/apt/sources.list.d/debian.sources").write_text(
        _sources(official["DIB_DISTRIBUTION_MIRROR"], official["DIB_DEBIAN_SECURITY_MIRROR"])
    )
    excluded = "".join(f"path-exclude /usr/share/{name}/*\n" for name in _LEFT_OUT)
    (root / "etc/dpkg/dpkg.cfg.d/docker").write_text(f"{excluded}path-include /usr/share/doc/*/copyright\n")
    for name in _LEFT_OUT:
        for path in sorted((root / "usr/share" / name).rglob("*"), reverse=True):
            if path.is_dir() and not path.is_symlink():
                if not any(path.iterdir()):
                    path.rmdir()
            elif path.name != "copyright":
                path.unlink()
    for pattern in _OF_THE_MACHINE:
        for path in root.glob(pattern):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    pack = ["tar", "--create", "--numeric-owner", "--exclude=./dev/*", "--exclude=./proc/*", "--exclude=./sys/*"]
    subprocess.run([*pack, "--file", str(folder / "base.tar"), "--directory", str(root), "."], check=True)
    shutil.rmtree(root)
