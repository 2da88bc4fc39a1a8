"""Gets kubelet and containerd: the official release where the internet answers, else built from Go modules.

Both are cached for the user, by version, outside the checkout; a second call takes no time.
Not for: runc and the CNI plugins, which are Debian packages (see `packages.py`).
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import tarfile
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from .progress import Progress, run_shown

KUBELET_VERSIONS = ("1.37.2", "1.36.3", "1.35.4")
"""The newest patch release of each supported minor release that is also a Go module; newest first."""

CONTAINERD_VERSION = "2.4.2"
"""Supported by every kubelet above: 1.35 takes containerd 1.x and 2.x, later ones 2.x only."""

CONTAINERD_PROGRAMS = ("containerd", "containerd-shim-runc-v2", "ctr")

_CONNECT_SECONDS = 4
_GO_NEEDED = (1, 21)
"""From this release on the go command fetches the toolchain that a module asks for."""
_GO_RELEASE = "1.26.6"
"""The newest release of Go that one of the modules asks for: containerd 2.4.2's go.mod does."""
_TOOLCHAIN_MODULE = f"golang.org/toolchain@v0.0.1-go{_GO_RELEASE}.linux-amd64"


class BinaryError(Exception):
    """A program of the lab can be neither downloaded nor built; the message says why."""


@dataclass(frozen=True)
class Binaries:
    """The programs of one node."""

    kubelet: Path
    containerd: Path
    ctr: Path
    kubelet_version: str
    containerd_version: str

    @property
    def folder(self) -> Path:
        """The folder of containerd and its shim, to be put on PATH."""
        return self.containerd.parent


def cache_folder() -> Path:
    """The user's own cache: `$XDG_CACHE_HOME/heat-config-kubelet`, by default below ~/.cache."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "heat-config-kubelet"


def get(progress: Progress, *, kubelet_version: str = KUBELET_VERSIONS[0], cache: Path | None = None) -> Binaries:
    """Give the programs of a node, from the cache or brought into it.

    Raises BinaryError where neither a download nor a build works.
    """
    folder = cache or cache_folder()
    kubelet = _cached(
        folder / f"kubelet-{kubelet_version}",
        ("kubelet",),
        progress,
        f"kubelet {kubelet_version}",
        lambda target: _bring_kubelet(kubelet_version, target, progress),
    )
    containerd = _cached(
        folder / f"containerd-{CONTAINERD_VERSION}",
        CONTAINERD_PROGRAMS,
        progress,
        f"containerd {CONTAINERD_VERSION}",
        lambda target: _bring_containerd(CONTAINERD_VERSION, target, progress),
    )
    return Binaries(
        kubelet / "kubelet",
        containerd / "containerd",
        containerd / "ctr",
        kubelet_version,
        CONTAINERD_VERSION,
    )


def _cached(folder: Path, names: Sequence[str], progress: Progress, what: str, bring) -> Path:  # type: ignore[no-untyped-def]
    if all((folder / name).is_file() for name in names):
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with locked(folder.with_name(folder.name + ".lock"), progress, what):
        if all((folder / name).is_file() for name in names):
            return folder
        fresh = Path(tempfile.mkdtemp(prefix=folder.name + ".", dir=folder.parent))
        try:
            bring(fresh)
            fresh.chmod(0o755)
            shutil.rmtree(folder, ignore_errors=True)
            fresh.rename(folder)
        finally:
            shutil.rmtree(fresh, ignore_errors=True)
    return folder


@contextlib.contextmanager
def locked(path: Path, progress: Progress, what: str) -> Iterator[None]:
    """Keep others that bring `what` waiting meanwhile, by a lock on `path`, and say so where it is us who wait."""
    with path.open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            progress.say(f"{what}: waiting for another process that is bringing it")
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _bring_kubelet(version: str, target: Path, progress: Progress) -> None:
    url = f"https://dl.k8s.io/release/v{version}/bin/linux/amd64/kubelet"
    try:
        checksum = _download(url + ".sha256").decode().split()[0]
        progress.say(f"kubelet {version}: downloading the official binary")
        _checked(url, checksum, target / "kubelet")
    except _UnreachableError as error:
        progress.say(f"kubelet {version}: {error}; building it from Go modules (about 6 minutes on 2 cores)")
        _build_kubelet(version, target, progress)
    (target / "kubelet").chmod(0o755)


def _bring_containerd(version: str, target: Path, progress: Progress) -> None:
    name = f"containerd-static-{version}-linux-amd64.tar.gz"
    url = f"https://github.com/containerd/containerd/releases/download/v{version}/{name}"
    try:
        checksum = _download(url + ".sha256sum").decode().split()[0]
        progress.say(f"containerd {version}: downloading the official release")
        archive = target / name
        _checked(url, checksum, archive)
        with tarfile.open(archive) as content:
            for member in content:
                base = os.path.basename(member.name)
                stream = content.extractfile(member) if base in CONTAINERD_PROGRAMS else None
                if stream:
                    (target / base).write_bytes(stream.read())
        archive.unlink()
    except _UnreachableError as error:
        progress.say(f"containerd {version}: {error}; building it from Go modules (about 90 seconds)")
        _build_containerd(version, target, progress)
    for program in CONTAINERD_PROGRAMS:
        (target / program).chmod(0o755)


class _UnreachableError(Exception):
    """The public internet does not answer."""


def _download(url: str, *, seconds: float = _CONNECT_SECONDS) -> bytes:
    try:
        with urllib.request.urlopen(url, timeout=seconds) as answer:
            return bytes(answer.read())
    except (urllib.error.URLError, OSError) as error:
        host = url.split("/")[2]
        raise _UnreachableError(f"{host} cannot be reached ({getattr(error, 'reason', error)})") from error


def _checked(url: str, checksum: str, target: Path) -> None:
    content = _download(url, seconds=120)
    seen = hashlib.sha256(content).hexdigest()
    if seen != checksum:
        raise BinaryError(f"{url}: its SHA-256 is {seen}, not {checksum} as published: not used")
    target.write_bytes(content)


def _build_kubelet(version: str, target: Path, progress: Progress) -> None:
    go = _go(progress)
    staging = "v0." + version.split(".", 1)[1]
    with _workspace() as work:
        (work / "go.mod").write_text(f"module build\n\ngo {_GO_RELEASE}\n")
        told = run_shown(
            [go, "mod", "download", "-json", f"k8s.io/kubernetes@v{version}"],
            progress,
            f"kubelet {version}: source",
            cwd=work,
            env=_go_environment(),
        )
        found = re.search(r'"GoMod": "([^"]+)"', told)
        if not found:
            raise BinaryError(f"go mod download did not say where k8s.io/kubernetes@v{version} is")
        own = Path(found.group(1)).read_text()
        modules = re.findall(r"^\s*(?:replace )?(k8s\.io/\S+) => \./staging/", own, re.MULTILINE)
        (work / "go.mod").write_text(
            f"module build\n\ngo {_GO_RELEASE}\n\n"
            f"require k8s.io/kubernetes v{version}\n\n"
            + "".join(f"replace {module} => {module} {staging}\n" for module in modules)
        )
        _build(
            go,
            work,
            {"k8s.io/kubernetes/cmd/kubelet": target / "kubelet"},
            f"-s -w -X k8s.io/component-base/version.gitVersion=v{version}",
            progress,
            f"kubelet {version}: build",
        )


def _build_containerd(version: str, target: Path, progress: Progress) -> None:
    module = "github.com/containerd/containerd/v2"
    with _workspace() as work:
        (work / "go.mod").write_text(f"module build\n\ngo {_GO_RELEASE}\n\nrequire {module} v{version}\n")
        _build(
            _go(progress),
            work,
            {f"{module}/cmd/{name}": target / name for name in CONTAINERD_PROGRAMS},
            f"-s -w -X {module}/version.Version=v{version}",
            progress,
            f"containerd {version}: build",
        )


def _build(go: str, work: Path, programs: dict[str, Path], flags: str, progress: Progress, what: str) -> None:
    for package, target in programs.items():
        run_shown(
            [go, "build", "-mod=mod", "-trimpath", "-ldflags", flags, "-o", str(target), package],
            progress,
            f"{what} {target.name}",
            cwd=work,
            env=_go_environment(),
        )


@contextlib.contextmanager
def _workspace() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="go-build-") as folder:
        yield Path(folder)


def _go_environment() -> dict[str, str]:
    return {**os.environ, "CGO_ENABLED": "0", "GOTOOLCHAIN": "auto", "GOFLAGS": "-buildvcs=false"}


def _go(progress: Progress) -> str:
    """A go command new enough for the modules: the machine's, else Debian's brought up by a module."""
    found = shutil.which("go")
    if found and _go_release(found) >= _GO_NEEDED:
        return found
    if not found:
        run_shown(["apt-get", "install", "-y", "--no-install-recommends", "golang-go"], progress, "install golang-go")
        found = shutil.which("go")
        if not found:
            raise BinaryError("no go command, and Debian's golang-go brought none")
        if _go_release(found) >= _GO_NEEDED:
            return found
    told = run_shown([found, "mod", "download", "-json", _TOOLCHAIN_MODULE], progress, "newer Go toolchain", cwd="/")
    where = re.search(r'"Dir": "([^"]+)"', told)
    if not where:
        raise BinaryError(f"go mod download did not say where {_TOOLCHAIN_MODULE} is")
    root = Path(where.group(1))
    for folder in (root / "bin", root / "pkg" / "tool"):
        for path in folder.rglob("*"):
            if path.is_file():
                path.chmod(0o755)
    return str(root / "bin" / "go")


def _go_release(go: str) -> tuple[int, int]:
    told = subprocess.run([go, "version"], capture_output=True, text=True, check=False, cwd="/").stdout
    match = re.search(r"go(\d+)\.(\d+)", told)
    return (int(match.group(1)), int(match.group(2))) if match else (0, 0)
