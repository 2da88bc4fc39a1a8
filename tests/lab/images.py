"""Small images made on the spot from Debian's static busybox, so that no registry is needed.

Written as docker archives (`manifest.json`, a config and one layer; the format of `docker save`,
github.com/moby/docker-image-spec v1), which `ctr images import` takes.
"""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import tarfile
from collections.abc import Sequence
from pathlib import Path

BUSYBOX = "lab.local/busybox:1"
PAUSE = "lab.local/pause:1"
ABSENT = "127.0.0.1:1/absent:1"
"""An image whose registry cannot be reached, found out at once: nothing listens on port 1."""

_PROGRAM = Path("/bin/busybox")
_FOLDERS = ("bin", "dev", "etc", "proc", "root", "sys", "tmp", "var", "var/log")


def write_busybox(file: Path, name: str = BUSYBOX) -> Path:
    """Write an image with busybox and all its commands; it runs `sh`."""
    return write_image(file, name, ["/bin/sh"])


def write_pause(file: Path, name: str = PAUSE) -> Path:
    """Write the sandbox's image, which waits for ever."""
    return write_image(file, name, ["/bin/sleep", "2147483647"])


def write_image(
    file: Path,
    name: str,
    entrypoint: Sequence[str],
    *,
    command: Sequence[str] = (),
    files: dict[str, bytes] | None = None,
) -> Path:
    """Write an image `name` with busybox and `files` (path to content).

    A pod's `command` takes the place of `entrypoint`, and its `args` that of `command`.
    """
    layer = _layer(files or {})
    config = json.dumps(
        {
            "architecture": "amd64",
            "os": "linux",
            "created": "1970-01-01T00:00:00Z",
            "config": {
                "Entrypoint": list(entrypoint),
                "Cmd": list(command),
                "Env": ["PATH=/bin"],
                "WorkingDir": "/",
            },
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"]},
            "history": [{"created": "1970-01-01T00:00:00Z", "created_by": "lab"}],
        }
    ).encode()
    config_name = f"{hashlib.sha256(config).hexdigest()}.json"
    index = json.dumps([{"Config": config_name, "RepoTags": [name], "Layers": ["layer.tar"]}]).encode()
    file.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(file, "w") as archive:
        for path, content in ((config_name, config), ("layer.tar", layer), ("manifest.json", index)):
            _add(archive, path, content)
    return file


def _layer(files: dict[str, bytes]) -> bytes:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w") as archive:
        for folder in _FOLDERS:
            entry = tarfile.TarInfo(folder)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o1777 if folder == "tmp" else 0o755
            archive.addfile(entry)
        _add(archive, "bin/busybox", _PROGRAM.read_bytes(), mode=0o755)
        for applet in _applets():
            entry = tarfile.TarInfo(f"bin/{applet}")
            entry.type, entry.linkname = tarfile.SYMTYPE, "busybox"
            archive.addfile(entry)
        for path, content in {"etc/passwd": b"root:x:0:0:root:/root:/bin/sh\n", **files}.items():
            _add(archive, path, content, mode=0o755)
    return target.getvalue()


def _applets() -> list[str]:
    told = subprocess.run([str(_PROGRAM), "--list"], capture_output=True, text=True, check=True).stdout
    return [name for name in told.split() if name != "busybox"]


def _add(archive: tarfile.TarFile, path: str, content: bytes, *, mode: int = 0o644) -> None:
    entry = tarfile.TarInfo(path)
    entry.size, entry.mode = len(content), mode
    archive.addfile(entry, io.BytesIO(content))
