"""image-build's qcow2 beside QEMU's own tools, and its report on a disk whose files are known."""

from __future__ import annotations

import os
import random
import re
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from imagebuild import filesystem, pieces, qcow2

ROOT = Path(__file__).parents[2]
MIB = 1 << 20


def _disk(file: Path, parts: list[tuple[int, bytes]], size: int) -> Path:
    with file.open("wb") as out:
        for place, data in parts:
            out.seek(place)
            out.write(data)
        out.truncate(size)
    return file


def _qemu(*arguments: object) -> str:
    done = subprocess.run(["qemu-img", *map(str, arguments)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("bits", [16, 19, 21])
def test_qemu_reads_the_same(tmp_path: Path, bits: int) -> None:
    chance = random.Random(7)
    parts = [
        (0, b"\xeb\x63boot" * 50),
        (3 * MIB - 100, chance.randbytes(5 * MIB)),
        (20 * MIB, b"a line that comes again and again\n" * 60_000),
        (40 * MIB + 4096, b"\0" * MIB + b"x"),
        (700 * MIB - 512, b"the end".ljust(512, b".")),
    ]
    raw = _disk(tmp_path / "raw", parts, 700 * MIB)
    packed = tmp_path / "packed.qcow2"
    qcow2.write(raw, packed, level=5, cluster_bits=bits)
    assert "No errors were found" in _qemu("check", packed)
    assert "identical" in _qemu("compare", raw, packed)
    told = _qemu("info", packed)
    assert "compression type: zstd" in told
    assert f"cluster_size: {1 << bits}" in told
    assert packed.stat().st_size < 7 * MIB + 8 * (1 << bits)


def test_it_can_be_written_to(tmp_path: Path) -> None:
    raw = _disk(tmp_path / "raw", [(0, b"before" * 100_000)], 64 * MIB)
    packed = tmp_path / "packed.qcow2"
    qcow2.write(raw, packed, level=3, cluster_bits=16)
    for command in ("write -P 7 4k 200k", "write -P 9 60M 1M"):
        subprocess.run(["qemu-io", "-f", "qcow2", "-c", command, str(packed)], check=True, capture_output=True)
    with raw.open("r+b") as stream:
        for place, byte, size in ((4096, 7, 200 * 1024), (60 * MIB, 9, MIB)):
            stream.seek(place)
            stream.write(bytes([byte]) * size)
    assert "No errors were found" in _qemu("check", packed)
    assert "identical" in _qemu("compare", raw, packed)


def test_a_disk_of_odd_size(tmp_path: Path) -> None:
    raw = _disk(tmp_path / "raw", [(0, b"x" * 700)], 3 * MIB + 512)
    packed = tmp_path / "packed.qcow2"
    qcow2.write(raw, packed, level=3, cluster_bits=16)
    assert "identical" in _qemu("compare", raw, packed)
    assert "No errors were found" in _qemu("check", packed)


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    """A raw disk with an MBR and an ext4 in which the agent has 3 MiB of files."""
    chance = random.Random(1)
    tree = tmp_path / "tree"
    for name, size in {
        "opt/heat-config-kubelet/lib/a.py": 2 * MIB,
        "opt/heat-config-kubelet/lib/b.py": MIB,
        "usr/local/bin/kubelet": 5 * MIB,
        "boot/vmlinuz-6": 100,
        "etc/hostname": 10,
    }.items():
        file = tree / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(chance.randbytes(size))
    (tree / "etc/link").symlink_to("hostname")
    raw = tmp_path / "raw"
    entry = struct.pack("<BxxxBxxxII", 0x80, 0x83, 2048, 63 * 2048)
    _disk(raw, [(446, entry), (510, b"\x55\xaa")], 64 * MIB)
    command = ["mke2fs", "-q", "-t", "ext4", "-E", "offset=1048576", "-d", str(tree), str(raw), "63M"]
    subprocess.run(command, check=True)
    return raw


@pytest.fixture
def image(disk: Path, tmp_path: Path) -> Path:
    """The same, packed."""
    packed = tmp_path / "image.qcow2"
    qcow2.write(disk, packed, level=3)
    return packed


def test_what_files_left_behind_is_emptied(disk: Path) -> None:
    place = filesystem.file_system(disk, disk)
    gone = random.Random(2).randbytes(2 * MIB)
    junk = disk.with_name("junk")
    junk.write_bytes(gone)
    for request in (f"write {junk} junk", "rm junk"):
        subprocess.run(["debugfs", "-w", "-R", request, place], check=True, capture_output=True)
    assert gone[:4096] in disk.read_bytes()
    read = ["debugfs", "-R", "cat /usr/local/bin/kubelet", place]
    kept = subprocess.run(read, check=True, capture_output=True).stdout
    filesystem.empty_the_unused(disk, journal_mib=4)
    assert gone[:4096] not in disk.read_bytes()
    assert subprocess.run(read, check=True, capture_output=True).stdout == kept
    assert len(kept) == 5 * MIB
    told = subprocess.run(["dumpe2fs", "-h", place], check=True, capture_output=True, text=True).stdout
    assert re.search(r"^Total journal size: +(4M|4096k)$", told, re.MULTILINE)
    subprocess.run(["e2fsck", "-f", "-n", place], check=True, capture_output=True)


def test_a_file_system_that_e2fsprogs_refuses_is_named(disk: Path) -> None:
    with disk.open("r+b") as stream:
        stream.seek((1 << 20) + 1024)
        stream.write(bytes(1024))
    with pytest.raises(filesystem.ImageError, match=r"tune2fs .*raw\?offset=1048576: "):
        filesystem.empty_the_unused(disk, journal_mib=4)


def test_files_are_sorted_into_pieces(image: Path) -> None:
    found = pieces.read(image, level=3)
    assert found.piece("agent") == pieces.Piece("agent", 2, 3 * MIB, found.piece("agent").packed)
    assert 3 * MIB < found.piece("agent").packed < 3.1 * MIB
    assert found.piece("kubelet").on_disk == 5 * MIB
    assert found.piece("kernel").files == 1
    assert found.piece("system").files == 1
    assert 8 * MIB < found.used < 9 * MIB
    assert found.packed == image.stat().st_size


@pytest.mark.parametrize(("limit", "code"), [("4", 0), ("2.9", 1)])
def test_the_report_fails_above_the_budget(image: Path, tmp_path: Path, limit: str, code: int) -> None:
    file = tmp_path / "budget.ini"
    file.write_text(f"[agent]\nused = {limit}\n")
    done = _report(str(image), "--budget", str(file))
    assert done.returncode == code
    assert ("ABOVE" in done.stdout) == bool(code)
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("content", "told"), [(None, "there is no such file"), (bytes(MIB), "neither an ext4 nor a disk with an MBR")]
)
def test_what_is_no_image_is_named(tmp_path: Path, content: bytes | None, told: str) -> None:
    file = tmp_path / "x.qcow2"
    if content is not None:
        raw = tmp_path / "raw"
        raw.write_bytes(content)
        qcow2.write(raw, file, level=1)
    done = _report(str(file))
    assert done.returncode == 2
    assert told in done.stderr
    assert len(done.stderr.splitlines()) == 1


def _report(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "imagebuild.report", *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT / "image-build")},
        capture_output=True,
        text=True,
        check=False,
    )
