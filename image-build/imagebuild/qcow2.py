"""Writes a qcow2 whose clusters are packed by zstd at a level of one's choice; qemu-img knows the third level only.

Format: QEMU's docs/interop/qcow2.rst, version 3. Any QEMU since 5.1 reads it: the level is no matter for reading.
Not for: images with a backing file, snapshots or encryption.
"""

from __future__ import annotations

import argparse
import os
import struct
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import zstandard

_MAGIC = 0x514649FB
_HEADER_LENGTH = 112
_INCOMPATIBLE_COMPRESSION_TYPE = 1 << 3
_COMPRESSION_ZSTD = 1
_COMPRESSED = 1 << 62
_USED_ALONE = 1 << 63
"""Of an entry of the tables: the cluster's reference count is one."""
_REFCOUNT_ORDER = 4
_REFCOUNT_BITS = 1 << _REFCOUNT_ORDER
_SECTOR = 512


def write(raw: Path, target: Path, *, level: int, cluster_bits: int = 19, threads: int | None = None) -> None:
    """Write `raw` as a qcow2 to `target`, packed at zstd's `level` (1 to 22) in clusters of 2^`cluster_bits` bytes.

    Clusters of zeros take no room. A cluster that cannot be packed is stored as it is.
    """
    cluster = 1 << cluster_bits
    size = raw.stat().st_size
    count = -(-size // cluster)
    in_a_table = cluster // 8
    tables = -(-count // in_a_table)
    # Header, the first level's table, then the second level's tables, then what is packed; reference counts at last.
    first_level_at = cluster
    second_level_at = first_level_at + -(-tables * 8 // cluster) * cluster
    place = second_level_at + tables * cluster
    entries = [0] * (tables * in_a_table)
    references: dict[int, int] = dict.fromkeys(range(place // cluster), 1)
    packed_bits = 62 - (cluster_bits - 8)
    with target.open("wb") as out:
        for index, data in _packed(raw, cluster, level, threads or os.cpu_count() or 1):
            if data is None:
                continue
            if len(data) >= cluster:
                place = -(-place // cluster) * cluster
                entries[index] = place | _USED_ALONE
                touched = range(place // cluster, place // cluster + 1)
            else:
                sectors = (place + len(data) - 1) // _SECTOR - place // _SECTOR
                entries[index] = _COMPRESSED | sectors << packed_bits | place
                touched = range(place // cluster, (place + len(data) - 1) // cluster + 1)
            for number in touched:
                references[number] = references.get(number, 0) + 1
            out.seek(place)
            out.write(data)
            place += len(data)
        _write_tables(out.fileno(), entries, first_level_at, second_level_at, tables, cluster)
        end = -(-place // cluster) * cluster
        table_at, table_clusters = _write_references(out.fileno(), references, end, cluster)
        header = struct.pack(
            ">IIQIIQIIQQIIQQQQII",
            _MAGIC,
            3,
            0,
            0,
            cluster_bits,
            size,
            0,
            tables,
            first_level_at,
            table_at,
            table_clusters,
            0,
            0,
            _INCOMPATIBLE_COMPRESSION_TYPE,
            0,
            0,
            _REFCOUNT_ORDER,
            _HEADER_LENGTH,
        )
        header += struct.pack(">B7x", _COMPRESSION_ZSTD)
        os.pwrite(out.fileno(), header.ljust(_HEADER_LENGTH + 8, b"\0"), 0)


def _packed(raw: Path, cluster: int, level: int, threads: int) -> Iterator[tuple[int, bytes | None]]:
    """Give each cluster in order: None where it holds zeros only, itself where packing gains nothing."""
    with raw.open("rb") as source, ThreadPoolExecutor(threads) as pool:
        waiting: deque[Future[bytes | None]] = deque()
        index = 0
        for data in iter(lambda: source.read(cluster), b""):
            waiting.append(pool.submit(_pack, data.ljust(cluster, b"\0"), level))
            if len(waiting) > 2 * threads:
                yield index, waiting.popleft().result()
                index += 1
        while waiting:
            yield index, waiting.popleft().result()
            index += 1


def _pack(data: bytes, level: int) -> bytes | None:
    if not any(data[::4096]) and data.count(0) == len(data):
        return None
    packed = zstandard.ZstdCompressor(level=level, write_content_size=False).compress(data)
    return packed if len(packed) < len(data) else data


def _write_tables(out: int, entries: list[int], first_at: int, second_at: int, tables: int, cluster: int) -> None:
    places = [second_at + number * cluster | _USED_ALONE for number in range(tables)]
    os.pwrite(out, struct.pack(f">{tables}Q", *places), first_at)
    os.pwrite(out, struct.pack(f">{len(entries)}Q", *entries), second_at)


def _write_references(out: int, references: dict[int, int], end: int, cluster: int) -> tuple[int, int]:
    """Write the reference counts behind all else; give where their table is, and how many clusters it has."""
    in_a_block = cluster * 8 // _REFCOUNT_BITS
    used = end // cluster
    table_clusters = blocks = 1
    # They count themselves too.
    while blocks * in_a_block < used + blocks + table_clusters or table_clusters * cluster < blocks * 8:
        blocks = -(-(used + blocks + table_clusters) // in_a_block)
        table_clusters = -(-blocks * 8 // cluster)
    for number in range(used, used + table_clusters + blocks):
        references[number] = 1
    blocks_at = end + table_clusters * cluster
    os.pwrite(out, struct.pack(f">{blocks}Q", *(blocks_at + number * cluster for number in range(blocks))), end)
    counts = [references.get(number, 0) for number in range(blocks * in_a_block)]
    os.pwrite(out, struct.pack(f">{len(counts)}H", *counts), blocks_at)
    os.ftruncate(out, blocks_at + blocks * cluster)
    return end, table_clusters


def main() -> None:
    """Pack the disk that the command line names."""
    parser = argparse.ArgumentParser(prog="imagebuild.qcow2", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("raw", type=Path)
    parser.add_argument("target", type=Path)
    parser.add_argument("--level", type=int, required=True)
    parser.add_argument("--cluster-bits", type=int, required=True)
    given = parser.parse_args()
    write(given.raw, given.target, level=given.level, cluster_bits=given.cluster_bits)


if __name__ == "__main__":
    main()
