"""What a build has to know of its machine: its mirror of Debian, whether it has a device mapper, what it reaches."""

from __future__ import annotations

import os
import re
import socket
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path

STAND_INS = Path(__file__).parents[1] / "stand-ins"
"""Programs for machines whose kernel has no device mapper: see `stand-ins/sudo`."""

_DEBIAN = "http://deb.debian.org/debian"
_SECURITY = "http://deb.debian.org/debian-security"
_CONNECT_SECONDS = 4


def mirrors(sources: Iterable[str]) -> dict[str, str]:
    """Give diskimage-builder's settings for the mirrors in `sources`, texts of apt's files; Debian's own by default.

    Both of apt's formats (sources.list(5)).
    """
    debian, security = "", ""
    for text in sources:
        found = re.findall(r"^deb +(?:\[[^]]*\] +)?(\S+) +(\S+)", text, re.MULTILINE)
        for part in re.split(r"\n[ \t]*\n", text):
            if re.search(r"^Types:.*\bdeb\b", part, re.MULTILINE) and "\nEnabled: no" not in part:
                urls = re.search(r"^URIs: *(\S+)", part, re.MULTILINE)
                suites = re.search(r"^Suites: *(\S+)", part, re.MULTILINE)
                if urls and suites:
                    found.append((urls.group(1), suites.group(1)))
        for url, suite in found:
            if not url.startswith(("http://", "https://")):
                continue
            if re.fullmatch(r"[a-z]+-security(/updates)?", suite):
                security = security or url
            elif re.search(r"/debian/?$", url):
                debian = debian or url
    return {
        "DIB_DISTRIBUTION_MIRROR": (debian or _DEBIAN).rstrip("/"),
        "DIB_DEBIAN_SECURITY_MIRROR": (security or _SECURITY).rstrip("/"),
    }


def apt_sources(folder: Path = Path("/etc/apt")) -> list[str]:
    """Give the texts of apt's files on this machine, if it is a Debian."""
    release = Path("/etc/os-release")
    if not release.exists() or "\nID=debian\n" not in f"\n{release.read_text()}\n":
        return []
    files = [
        folder / "sources.list",
        *sorted(folder.glob("sources.list.d/*.list")),
        *sorted(folder.glob("*/*.sources")),
    ]
    return [file.read_text() for file in files if file.is_file()]


def apt_proxy(environment: Mapping[str, str]) -> dict[str, str]:
    """Give `http_proxy` as apt has it, where the environment has none."""
    if "http_proxy" in environment:
        return {}
    told = subprocess.run(
        ["apt-config", "shell", "proxy", "Acquire::http::Proxy"], capture_output=True, text=True, check=False
    ).stdout
    match = re.fullmatch(r"proxy='(\S+)'\n", told)
    return {"http_proxy": match.group(1)} if match and match.group(1) != "DIRECT" else {}


def has_device_mapper() -> bool:
    """Whether the kernel has what kpartx works with."""
    return "device-mapper" in Path("/proc/misc").read_text()


def reaches(host: str, port: int = 443) -> bool:
    """Whether a host answers on the internet, found out quickly."""
    try:
        with socket.create_connection((host, port), _CONNECT_SECONDS):
            return True
    except OSError:
        return False


def bare_environment() -> dict[str, str]:
    """Give this process's environment without what misleads programs in a chroot or another Python."""
    return {name: value for name, value in os.environ.items() if name not in ("TMPDIR", "PYTHONPATH", "VIRTUAL_ENV")}
