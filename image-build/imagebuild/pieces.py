"""What the room in an image is taken by: its files, sorted into pieces.

Reads the disk with debugfs, so nothing is mounted and no rights are needed.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import zstandard

from .filesystem import ImageError, file_system

_BLOCK = 4096

PIECES: tuple[tuple[str, str], ...] = (
    ("kernel", r"/boot/vmlinuz-|/boot/config-|/boot/System\.map-|/usr/lib/modules/|/lib/modules/"),
    ("first file system, boot loader", r"/boot/"),
    ("agent", r"/opt/heat-config-kubelet/|/usr/share/heat-config-kubelet/|/usr/libexec/os-apply-config/"),
    ("kubelet", r"/usr/(local/)?bin/kubelet$"),
    ("containerd", r"/usr/(local/)?bin/(containerd[^/]*|ctr)$"),
    ("OCI runtime", r"/usr/s?bin/(runc|crun)$|/usr/lib/[^/]+/libyajl\."),
    ("CNI plugins", r"/usr/lib(exec)?/cni/|/opt/cni/"),
    ("container images", r"/var/lib/containerd/"),
    ("cloud-init", r"/usr/lib/python3/dist-packages/(cloudinit|jinja2|jsonschema|oauthlib|configobj|yaml|requests)"),
    ("Python", r"/usr/bin/python3|/usr/lib/python3|/usr/share/python3|/usr/lib/[^/]+/libpython3"),
    ("system", r"/"),
)
"""Each file belongs to the first piece whose pattern its path begins with."""


@dataclass(frozen=True)
class Piece:
    """What one piece takes."""

    name: str
    files: int
    on_disk: int
    """Bytes, in whole blocks."""
    packed: int
    """Bytes, packed alone as the image's clusters are."""


@dataclass(frozen=True)
class Image:
    """What an image takes."""

    packed: int
    """Bytes of the qcow2."""
    used: int
    """Bytes in use in the file system, as df has them."""
    pieces: tuple[Piece, ...]

    def piece(self, name: str) -> Piece:
        """Give a piece by its name."""
        return next(piece for piece in self.pieces if piece.name == name)


def read(image: Path, *, level: int, cluster_bits: int = 19) -> Image:
    """Sort what is in `image`, a qcow2, into pieces, each packed at zstd's `level`. Raises ImageError."""
    if not image.is_file():
        raise ImageError(f"{image}: there is no such file")
    with tempfile.TemporaryDirectory(prefix="image-report-", dir="/var/tmp") as folder:
        raw, files = Path(folder, "raw"), Path(folder, "files")
        _run(["qemu-img", "convert", "-O", "raw", str(image), str(raw)], image)
        place = file_system(raw, image)
        used = _used(place, image)
        files.mkdir()
        _run(["debugfs", "-R", f"rdump / {files}", place], image)
        raw.unlink()
        found = _sorted(files)
        pieces = tuple(_measure(name, found.get(name, []), level, 1 << cluster_bits) for name, _ in PIECES)
    return Image(image.stat().st_size, used, pieces)


def _run(command: list[str], image: Path) -> str:
    if not shutil.which(command[0]):
        raise ImageError(f"the command {command[0]} is missing: install qemu-utils and e2fsprogs")
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ImageError(f"{image}: {' '.join(done.stderr.split())}")
    return done.stdout


def _used(place: str, image: Path) -> int:
    """Give what df would: all blocks but the free ones and those of the file system's own tables."""
    told = _run(["debugfs", "-R", "stats -h", place], image)

    def number(name: str) -> int:
        match = re.search(rf"^{name}:\s+(\d+)", told, re.MULTILINE)
        if not match:
            raise ImageError(f"{image}: its file system does not say its {name}")
        return int(match.group(1))

    overhead = re.search(r"^Overhead clusters:\s+(\d+)", told, re.MULTILINE)
    own = int(overhead.group(1)) if overhead else 0
    return (number("Block count") - number("Free blocks") - own) * number("Block size")


def _sorted(root: Path) -> dict[str, list[Path]]:
    patterns = [(name, re.compile(pattern)) for name, pattern in PIECES]
    found: dict[str, list[Path]] = {}
    for path in sorted(root.rglob("*")):
        if path.is_symlink() or not path.is_file():
            continue
        place = f"/{path.relative_to(root)}"
        name = next(name for name, pattern in patterns if pattern.match(place))
        found.setdefault(name, []).append(path)
    return found


def _measure(name: str, files: list[Path], level: int, cluster: int) -> Piece:
    on_disk = sum(-(-path.stat().st_size // _BLOCK) * _BLOCK for path in files)
    with ThreadPoolExecutor() as pool:
        waiting: deque[Future[int]] = deque()
        packed = 0
        for data in _clusters(files, cluster):
            waiting.append(pool.submit(_packed_size, data, level))
            if len(waiting) > 4:
                packed += waiting.popleft().result()
        packed += sum(each.result() for each in waiting)
    return Piece(name, len(files), on_disk, packed)


def _clusters(files: list[Path], cluster: int) -> Iterator[bytes]:
    """Give the files' blocks one after the other, in the image's clusters."""
    kept = bytearray()
    for path in files:
        with path.open("rb") as stream:
            for data in iter(lambda: stream.read(cluster), b""):
                kept += data
        kept += bytes(-len(kept) % _BLOCK)
        while len(kept) >= cluster:
            yield bytes(kept[:cluster])
            del kept[:cluster]
    if kept:
        yield bytes(kept)


def _packed_size(data: bytes, level: int) -> int:
    return len(zstandard.ZstdCompressor(level=level, write_content_size=False).compress(data))
