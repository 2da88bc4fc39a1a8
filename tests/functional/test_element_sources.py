"""Where the elements kubelet and containerd take programs from: their own scripts, with a server that stands in.

What runs in the chroot is seen by building images.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import tarfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

ELEMENTS = Path(__file__).parents[2] / "element"
PROGRAM = b"\x7fELF a program"
SUM = hashlib.sha256(PROGRAM).hexdigest()


@dataclass
class Site:
    """What is published, by path, and what was asked for."""

    url: str
    files: dict[str, bytes] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)


@pytest.fixture
def site() -> Iterator[Site]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found.asked.append(self.path)
            content = found.files.get(self.path)
            self.send_response(404 if content is None else 200)
            self.end_headers()
            self.wfile.write(content or b"")

        def log_message(self, *arguments: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        found = Site(f"http://127.0.0.1:{server.server_port}")
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield found
        server.shutdown()


class Build:
    """What diskimage-builder gives to an element's script outside the chroot."""

    def __init__(self, folder: Path) -> None:
        self.hooks = folder / "hooks"
        (self.hooks / "bin").mkdir(parents=True)
        for program in ELEMENTS.glob("*/bin/*"):
            (self.hooks / "bin" / program.name).symlink_to(program)
        self.cache = folder / "cache"
        self.variables: dict[str, str] = {}

    def run(self, element: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run the element's root.d with its environment.d, kubelet's first."""
        sourced = " ".join(f". {file};" for name in ("kubelet", element) for file in self._environment(name))
        script = ELEMENTS / element / "root.d" / f"04-{element}"
        return self._run(["bash", "-euc", f"{sourced} exec {script}"], variables)

    def download(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run verified-download."""
        return self._run([str(self.hooks / "bin" / "verified-download"), *arguments], variables)

    def _run(self, command: list[str], variables: dict[str, str]) -> subprocess.CompletedProcess[str]:
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.cache),
            "TMP_HOOKS_PATH": str(self.hooks),
            "DIB_IMAGE_CACHE": str(self.cache),
            "ARCH": "amd64",
            **variables,
        }
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    @staticmethod
    def _environment(element: str) -> list[Path]:
        return sorted((ELEMENTS / element / "environment.d").glob("*"))


@pytest.fixture
def build(tmp_path: Path) -> Build:
    return Build(tmp_path)


def _error(done: subprocess.CompletedProcess[str]) -> str:
    """The one error of a script that failed as it should."""
    assert done.returncode == 1, done.stdout + done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith("ERROR: ")
    return line


@pytest.mark.parametrize(
    "sums",
    [
        f"{SUM}\n",
        SUM,
        f"{SUM}  program\n",
        f"{'0' * 64}  another\n{SUM} *program\n",
        f"{'0' * 64}  program.sig\n{SUM}  ./bin/program\n",
    ],
)
def test_a_download_is_kept_by_its_checksum(build: Build, site: Site, tmp_path: Path, sums: str) -> None:
    site.files = {"/program": PROGRAM, "/sums": sums.encode()}
    arguments = ("it", f"{site.url}/program", f"{site.url}/sums", str(tmp_path / "a" / "program"))
    assert build.download(*arguments).returncode == 0
    assert (tmp_path / "a" / "program").read_bytes() == PROGRAM
    assert build.download(*arguments).returncode == 0
    assert site.asked.count("/program") == 1
    assert list((build.cache / "verified").iterdir()) == [build.cache / "verified" / SUM]


def test_a_kept_file_that_has_changed_is_downloaded_anew(build: Build, site: Site, tmp_path: Path) -> None:
    site.files = {"/program": PROGRAM}
    arguments = ("it", f"{site.url}/program", SUM, str(tmp_path / "program"))
    build.download(*arguments)
    (build.cache / "verified" / SUM).write_bytes(b"broken")
    assert build.download(*arguments).returncode == 0
    assert (tmp_path / "program").read_bytes() == PROGRAM


@pytest.mark.parametrize(
    ("files", "checksum", "told"),
    [
        ({"/program": PROGRAM}, "0" * 64, f"its SHA-256 is {SUM}, not {'0' * 64}: not used"),
        ({"/program": PROGRAM, "/sums": f"{SUM}  a\n{SUM}  b\n".encode()}, "/sums", "holds no SHA-256 of program"),
        ({"/program": PROGRAM, "/sums": b"<html>"}, "/sums", "holds no SHA-256 of program"),
        ({"/program": PROGRAM}, "/sums", "/sums cannot be had: curl: (22) The requested URL returned error: 404"),
        ({}, SUM, "/program cannot be had: curl: (22)"),
        ({"/program": PROGRAM}, SUM.upper(), "is neither a SHA-256 in lower-case hexadecimal nor a URL of one"),
    ],
)
def test_what_is_not_as_published_is_not_used(
    build: Build, site: Site, tmp_path: Path, files: dict[str, bytes], checksum: str, told: str
) -> None:
    site.files = files
    checksum = f"{site.url}{checksum}" if checksum.startswith("/") else checksum
    done = build.download("it", f"{site.url}/program", checksum, str(tmp_path / "program"))
    assert told in _error(done)
    assert not (tmp_path / "program").exists()
    assert list((build.cache / "verified").iterdir()) == []


def test_nothing_is_asked_for_offline(build: Build, site: Site, tmp_path: Path) -> None:
    site.files = {"/program": PROGRAM, "/program.sha256": SUM.encode()}
    url, target = f"{site.url}/program", str(tmp_path / "program")
    told = _error(build.download("it", url, f"{url}.sha256", target, DIB_OFFLINE="1"))
    assert "give the SHA-256 itself" in told
    assert "is not in" in _error(build.download("it", url, SUM, target, DIB_OFFLINE="1"))
    assert site.asked == []
    build.download("it", url, SUM, target)
    assert build.download("it", url, SUM, target, DIB_OFFLINE="1").returncode == 0


def test_the_official_kubelet_has_its_published_checksum(build: Build, site: Site) -> None:
    path = "/release/v1.36.3/bin/linux/amd64/kubelet"
    site.files = {path: PROGRAM, f"{path}.sha256": SUM.encode()}
    done = build.run("kubelet", DIB_KUBELET_URL=f"{site.url}{path}", DIB_KUBELET_VERSION="1.36.3")
    assert done.returncode == 0, done.stderr
    assert (build.hooks / "kubelet" / "kubelet").read_bytes() == PROGRAM
    assert site.asked == [f"{path}.sha256", path]


def test_a_checksum_of_ones_own_comes_before_the_published_one(build: Build, site: Site) -> None:
    site.files = {"/kubelet": PROGRAM, "/kubelet.sha256": SUM.encode()}
    told = _error(build.run("kubelet", DIB_KUBELET_URL=f"{site.url}/kubelet", DIB_KUBELET_SHA256="1" * 64))
    assert f"not {'1' * 64}: not used" in told
    assert site.asked == ["/kubelet"]


@pytest.mark.parametrize(
    ("variables", "told"),
    [
        ({"DIB_KUBELET_SOURCE": "web"}, "DIB_KUBELET_SOURCE is 'web': choose official, repository or file"),
        ({"DIB_KUBELET_VERSION": "v1.37"}, "DIB_KUBELET_VERSION is 'v1.37': give a release such as 1.37.2"),
        ({"DIB_KUBELET_SHA256": "abc"}, "DIB_KUBELET_SHA256 is 'abc': give 64 hexadecimal digits in lower case"),
        ({"DIB_KUBELET_SOURCE": "file"}, "name the binary by DIB_KUBELET_FILE"),
        ({"DIB_KUBELET_SOURCE": "file", "DIB_KUBELET_FILE": "/absent"}, "'/absent': there is no such file"),
        (
            {"DIB_KUBELET_SOURCE": "file", "DIB_KUBELET_FILE": __file__, "DIB_KUBELET_SHA256": "1" * 64},
            "its SHA-256 is not DIB_KUBELET_SHA256",
        ),
        (
            {"DIB_KUBELET_SOURCE": "repository", "DIB_KUBELET_SHA256": "1" * 64},
            "packages of a repository are checked by their signature",
        ),
        (
            {"DIB_KUBELET_SOURCE": "repository", "DIB_KUBELET_REGISTRY_CREDENTIALS": __file__},
            "give a file as docker login writes it",
        ),
        (
            {"DIB_KUBELET_SOURCE": "repository", "DIB_KUBELET_CREDENTIAL_PROVIDERS": "/absent"},
            "give a folder with config.yaml",
        ),
    ],
)
def test_a_wrong_setting_of_the_kubelet_is_named(build: Build, variables: dict[str, str], told: str) -> None:
    assert told in _error(build.run("kubelet", **variables))


def test_credentials_of_registries_are_for_root_alone(build: Build, tmp_path: Path) -> None:
    credentials = tmp_path / "config.json"
    credentials.write_text(json.dumps({"auths": {"registry.example": {"auth": "dTpw"}}}))
    done = build.run("kubelet", DIB_KUBELET_SOURCE="repository", DIB_KUBELET_REGISTRY_CREDENTIALS=str(credentials))
    assert done.returncode == 0, done.stderr
    kept = build.hooks / "kubelet" / "registry-credentials.json"
    assert kept.stat().st_mode & 0o777 == 0o600
    assert "dTpw" not in done.stdout + done.stderr


def _release(names: tuple[str, ...] = ("containerd", "containerd-shim-runc-v2", "ctr", "containerd-stress")) -> bytes:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w:gz") as archive:
        for name in names:
            entry = tarfile.TarInfo(f"bin/{name}")
            entry.size = len(name)
            archive.addfile(entry, io.BytesIO(name.encode()))
    return target.getvalue()


def _publish(site: Site, content: bytes) -> str:
    name = "/containerd-static-2.4.2-linux-amd64.tar.gz"
    digest = hashlib.sha256(content).hexdigest()
    site.files = {name: content, f"{name}.sha256sum": f"{digest}  {name[1:]}\n".encode()}
    return f"{site.url}{name}"


def test_of_containerds_release_what_a_node_needs_is_taken(build: Build, site: Site) -> None:
    done = build.run("containerd", DIB_CONTAINERD_URL=_publish(site, _release()))
    assert done.returncode == 0, done.stderr
    brought = sorted(path.name for path in (build.hooks / "containerd").rglob("*") if path.is_file())
    assert brought == ["containerd", "containerd-shim-runc-v2", "ctr"]


def test_a_release_that_lacks_a_program_is_named(build: Build, site: Site) -> None:
    done = build.run("containerd", DIB_CONTAINERD_URL=_publish(site, _release(("containerd",))))
    assert done.returncode == 1
    assert "does not hold containerd containerd-shim-runc-v2 ctr" in done.stderr


@pytest.mark.parametrize(
    ("containerd", "kubelet", "supported"),
    [
        ("1.6.20", "1.35.4", True),
        ("1.7.24", "1.36.0", False),
        ("1.7.24", "1.37.2", False),
        ("2.0.0", "1.35.4", True),
        ("2.4.2", "1.37.2", True),
        ("2.4.2", "1.9.0", True),
    ],
)
def test_pairs_that_kubernetes_supports(build: Build, containerd: str, kubelet: str, supported: bool) -> None:
    variables = {"DIB_CONTAINERD_VERSION": containerd, "DIB_KUBELET_VERSION": kubelet}
    done = build.run("containerd", DIB_CONTAINERD_URL="file:///absent", **variables)
    told = _error(done)
    refused = f"containerd {containerd} is not supported by kubelet {kubelet}: from 1.36 on it needs containerd 2.x"
    assert (refused in told) != supported
    forced = build.run("containerd", DIB_CONTAINERD_URL="file:///absent", DIB_CONTAINERD_ANY_KUBELET="1", **variables)
    assert "cannot be had" in _error(forced)


def test_images_come_from_archives_and_folders(build: Build, site: Site, tmp_path: Path) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    for name in ("b.tar", "a.tar.gz", "c.tgz", "d.tar.zst", "README"):
        (folder / name).write_text(name)
    (tmp_path / "one").write_text("one")
    pause = tmp_path / "pause.tar"
    pause.write_text("pause")
    done = build.run(
        "containerd",
        DIB_CONTAINERD_URL=_publish(site, _release()),
        DIB_CONTAINERD_IMAGES=f"{tmp_path / 'one'}:{folder}:",
        DIB_CONTAINERD_PAUSE=str(pause),
    )
    assert done.returncode == 0, done.stderr
    images = build.hooks / "containerd" / "images"
    assert [file.read_text() for file in sorted(images.iterdir())] == ["one", "b.tar", "a.tar.gz", "c.tgz", "d.tar.zst"]
    assert (build.hooks / "containerd" / "pause.tar").read_text() == "pause"


@pytest.mark.parametrize(
    ("variables", "told"),
    [
        ({"DIB_CONTAINERD_SOURCE": "web"}, "choose one of: official distribution files"),
        ({"DIB_CONTAINERD_OCI_RUNTIME": "youki"}, "choose one of: runc crun"),
        ({"DIB_CONTAINERD_CTR": "no"}, "DIB_CONTAINERD_CTR is 'no': choose one of: 0 1"),
        ({"DIB_CONTAINERD_VERSION": "2.4"}, "give a release such as 2.4.2"),
        ({"DIB_CONTAINERD_POD_SUBNET": "10.0.0.0"}, "give an IPv4 network such as 10.88.0.0/16"),
        ({"DIB_CONTAINERD_SOURCE": "files"}, "name the folder of containerd and its shim"),
        ({"DIB_CONTAINERD_SOURCE": "files", "DIB_CONTAINERD_FILES": "/etc"}, "/etc/containerd is missing"),
        ({"DIB_CONTAINERD_CNI": "files", "DIB_CONTAINERD_CNI_FILES": "/etc"}, "the plugin bridge is missing there"),
        ({"DIB_CONTAINERD_IMAGES": "/absent.tar"}, "DIB_CONTAINERD_IMAGES: there is no '/absent.tar'"),
        ({"DIB_CONTAINERD_IMAGES": "/proc/self/fd"}, "the folder '/proc/self/fd' holds no archive"),
        ({"DIB_CONTAINERD_PAUSE": "/absent.tar"}, "DIB_CONTAINERD_PAUSE: there is no '/absent.tar'"),
        ({"DIB_CONTAINERD_PAUSE": "a b"}, "give an image's name or an archive's path"),
        ({"DIB_CONTAINERD_REGISTRIES": "/absent"}, "there is no folder '/absent'"),
        ({"DIB_CONTAINERD_REGISTRIES": "/proc/self/fd"}, "has no REGISTRY/hosts.toml"),
    ],
)
def test_a_wrong_setting_of_containerd_is_named(build: Build, variables: dict[str, str], told: str) -> None:
    source = variables.get("DIB_CONTAINERD_SOURCE", "distribution")
    assert told in _error(build.run("containerd", **{"DIB_CONTAINERD_SOURCE": source, **variables}))
