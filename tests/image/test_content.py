"""What is in an image, and what is not: read from its file, without a boot."""

from __future__ import annotations

import json
import os
import re
import socket
import stat
import subprocess
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from imagelab import images
from imagelab.images import KINDS, ROOT, Image, Kind

IMAGES = KINDS
OFFICIAL = ("deb.debian.org", "security.debian.org", "pypi.org", "files.pythonhosted.org", "proxy.golang.org")
"""Places that a build machine may have as anybody has; they are no trace of it."""
_URL = re.compile(r"https?://[^\s\"'<>]+")
_COMMENT = re.compile(r"^\s*(?:#|//).*$", re.MULTILINE)
_BUILD_SETTINGS = ("GOPROXY", "GOSUMDB", "PIP_EXTRA_INDEX_URL", "PIP_INDEX_URL", "UV_INDEX_URL")
_APT_AND_PIP = ("etc/apt/sources.list", "etc/apt/sources.list.d", "etc/apt/apt.conf.d", "etc/pip.conf")
_PRIVATE_KEY = re.compile(rb"^-----BEGIN (?:[A-Z]+ )?PRIVATE KEY-----\n", re.MULTILINE)


@pytest.fixture(scope="module", params=KINDS, ids=lambda kind: kind.name)
def root(request: pytest.FixtureRequest, built: dict[Kind, Image], folder: Path) -> Iterator[Path]:
    """The root of an image's file system, read-only."""
    image = built[request.param]
    with images.mounted(image.raw, folder / f"content-{image.kind.name}") as found:
        yield found


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_the_packed_image_is_sound_and_the_same(built: dict[Kind, Image], kind: Kind) -> None:
    image = built[kind]
    subprocess.run(["qemu-img", "check", "-q", str(image.qcow2)], check=True)
    subprocess.run(["qemu-img", "compare", "-q", str(image.qcow2), str(image.raw)], check=True)
    about = json.loads(subprocess.check_output(["qemu-img", "info", "--output=json", str(image.qcow2)]))
    assert about["format-specific"]["data"]["compression-type"] == "zstd"
    assert "backing-filename" not in about


def test_no_command_of_the_build_is_in_it(root: Path) -> None:
    names = {path.name for path in root.glob("usr/local/*bin/*")}
    assert {"kubelet", "heat-config-kubelet", "heat-config-kubelet-collector"} <= names
    folders = [ROOT / "element", resources.files("diskimage_builder") / "elements"]
    of_builds = {path.name for folder in folders for path in Path(str(folder)).glob("*/bin/*")}
    assert {"install-packages", "pkg-map", "containerd-kubelet-pair"} <= of_builds
    assert names & of_builds == set()


def files(root: Path) -> Iterator[Path]:
    """All ordinary files."""
    for path in root.rglob("*"):
        if path.is_file() and not path.is_symlink():
            yield path


def test_no_key_is_in_it(root: Path) -> None:
    assert list(root.glob("etc/ssh/ssh_host_*")) == []
    assert list(root.glob("**/authorized_keys")) == []
    keys = [str(path.relative_to(root)) for path in files(root) if _PRIVATE_KEY.search(path.read_bytes())]
    assert keys == []
    passwords = [line.split(":")[:2] for line in (root / "etc/shadow").read_text().splitlines()]
    assert [name for name, password in passwords if not password.startswith(("*", "!"))] == []


def test_what_each_machine_has_of_its_own_is_not_in_it(root: Path) -> None:
    machine_id = root / "etc/machine-id"
    assert machine_id.read_text() in ("", "uninitialized\n")
    bus = root / "var/lib/dbus/machine-id"
    assert not bus.exists() or bus.is_symlink()
    assert not (root / "var/lib/systemd/random-seed").exists()
    assert list(root.glob("var/log/journal/*")) == []
    assert list(root.glob("var/lib/cloud/instance*")) == []
    assert list(root.glob("var/lib/heat-config-kubelet/*")) == []


def traces() -> dict[str, str]:
    """Texts that tell of the machine that builds, by what each is."""
    found = {"checkout": str(ROOT), "home": f"{Path.home()}/.cache"}
    if len(socket.gethostname()) >= 6:
        found["host name"] = socket.gethostname()
    for file in Path("/usr/local/share/ca-certificates").glob("*.crt"):
        lines = file.read_text().splitlines()
        found[f"CA {file.name}"] = lines[len(lines) // 2]
    texts = {name: value for name, value in os.environ.items() if name in _BUILD_SETTINGS or "proxy" in name.lower()}
    for name in _APT_AND_PIP:
        place = Path("/", name)
        for file in sorted(place.rglob("*")) if place.is_dir() else [place]:
            if file.is_file():
                texts[str(file)] = _COMMENT.sub("", file.read_text(errors="replace"))
    for name, text in texts.items():
        for url in _URL.findall(text):
            host = urlsplit(url).hostname
            if host and host not in (*OFFICIAL, "localhost", "127.0.0.1"):
                found[f"{host}, of {name}"] = host
    return found


def test_nothing_of_the_build_machine_is_in_it(root: Path) -> None:
    told = {what: text.encode() for what, text in traces().items()}
    found = {
        f"{path.relative_to(root)}: {what}"
        for path in files(root)
        for content in [path.read_bytes()]
        for what, text in told.items()
        if text in content
    }
    assert found == set()
    given = [path.name for path in (root / "usr/local/share/ca-certificates").glob("*")]
    assert given == ["heat-config-kubelet-1.crt"], "the CA that the build was given for Heat, and no other"
    assert [
        name
        for name in ("tmp", "var/tmp", "root")
        if any(each.name not in _ROOTS_OWN for each in (root / name).iterdir())
    ] == []


_ROOTS_OWN = {".bashrc", ".profile", ".ssh"}


def test_packages_come_from_debian(root: Path) -> None:
    sources = [*root.glob("etc/apt/sources.list"), *root.glob("etc/apt/sources.list.d/*")]
    hosts = {urlsplit(url).hostname for file in sources for url in _URL.findall(file.read_text())}
    assert hosts <= {"deb.debian.org", "security.debian.org"}
    assert "deb.debian.org" in hosts


def test_modes(root: Path) -> None:
    writable, owned = [], []
    for path in root.rglob("*"):
        about = path.lstat()
        if stat.S_ISLNK(about.st_mode) or stat.S_ISCHR(about.st_mode):
            continue
        sticky = stat.S_ISDIR(about.st_mode) and about.st_mode & stat.S_ISVTX
        if about.st_mode & stat.S_IWOTH and not sticky:
            writable.append(str(path.relative_to(root)))
        if path.is_relative_to(root / "opt") and about.st_uid:
            owned.append(str(path.relative_to(root)))
    assert writable == []
    assert owned == []
    for name in ("var/lib/heat-config-kubelet", "var/lib/os-collect-config"):
        place = root / name
        assert not place.exists() or stat.S_IMODE(place.stat().st_mode) == 0o700, name
    settings = root / "etc/os-collect-config.conf"
    assert not settings.exists() or stat.S_IMODE(settings.stat().st_mode) == 0o600


def test_what_a_node_needs_is_in_it(root: Path) -> None:
    assert (root / "etc/ssl/certs/ca-certificates.crt").stat().st_size > 100_000
    assert (root / "usr/lib/locale/C.utf8").is_dir()
    for unit in ("ssh", "systemd-timesyncd", "containerd", "kubelet", "os-collect-config"):
        assert enabled(root, f"{unit}.service"), unit
    assert enabled(root, "heat-config-kubelet.path")
    resolver = root / "etc/resolv.conf"
    assert resolver.is_symlink() or resolver.exists()
    commands = (
        "bash",
        "ctr",
        "curl",
        "df",
        "dmesg",
        "free",
        "grep",
        "ip",
        "journalctl",
        "less",
        "ping",
        "ps",
        "ss",
        "vi",
    )
    folders = [root / name for name in ("usr/local/bin", "usr/local/sbin", "usr/bin", "usr/sbin")]
    absent = [name for name in commands if not any(os.path.lexists(place / name) for place in folders)]
    assert absent == []


def enabled(root: Path, unit: str) -> bool:
    """Whether a target wants a unit."""
    return unit in {place.name for place in root.glob("etc/systemd/system/*.wants/*")}


def test_the_journal_is_bounded(root: Path) -> None:
    texts = [
        file.read_text()
        for file in (*root.glob("etc/systemd/journald.conf.d/*"), *root.glob("usr/lib/systemd/journald.conf.d/*"))
    ]
    assert any(re.search(r"^SystemMaxUse=\d+M$", text, re.MULTILINE) for text in texts)


def test_the_agents_first_start_need_not_compile(root: Path) -> None:
    (packages,) = root.glob("opt/heat-config-kubelet/lib/python3*/site-packages")
    for name in ("heat_config_kubelet", "os_collect_config", "os_apply_config", "requests"):
        sources = list((packages / name).glob("*.py"))
        assert sources
        assert [
            source.name
            for source in sources
            if not list((packages / name / "__pycache__").glob(f"{source.stem}.*.pyc"))
        ] == []
