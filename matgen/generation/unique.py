"""The first of each group of equal crystals in a folder of shards, with memory that stays small.

Crystals with one structure hash count as equal. The hashes are looked through in several passes,
each over those with one remainder, so that only a part of them is in memory at once; beside them
there are four bytes per sample.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from matgen.atomic import replacing
from matgen.io.digests import sha256_of
from matgen.io.shard_manifest import UNIQUE, ShardManifest, UniqueCounts
from matgen.io.shard_writing import HASH_COLUMN

HASHES_AT_ONCE: Final = 4_000_000
"""About 200 MB while they are sorted."""
_ROWS_AT_ONCE: Final = 1_000_000
_FRAME_INDEX: Final = re.compile(r" index=(\d+)")
_FRAME_HASH: Final = re.compile(rf' {HASH_COLUMN}="([0-9a-f]{{16}})"')
_FRAME_START: Final = 'Lattice="'


def write_unique(
    folder: Path, manifest: ShardManifest, *, hashes_at_once: int = HASHES_AT_ONCE
) -> UniqueCounts:
    """Write ``unique.parquet``: ``index`` of each first crystal, and how many ``copies`` it has.

    The crystal of the lowest index is the first; it counts among its copies. Crystals without a
    hash are not among them.

    Args:
        folder: With every shard.
        manifest: Of the folder, complete.
        hashes_at_once: Bounds the memory.
    """
    n_passes = max(1, -(-manifest.asked // hashes_at_once))
    copies = np.zeros(manifest.asked, dtype=np.int32)
    n_hashed = 0
    for remainder in range(n_passes):
        parts = []
        for indices, hashes in _hashes(folder, manifest):
            chosen = hashes % np.uint64(n_passes) == remainder
            parts.append((indices[chosen], hashes[chosen]))
        indices = np.concatenate([part[0] for part in parts])
        hashes = np.concatenate([part[1] for part in parts])
        # Shards come by index, and the first place of each value is the one that is returned.
        _, places, counts = np.unique(hashes, return_index=True, return_counts=True)
        copies[indices[places]] = counts
        n_hashed += len(hashes)
    _write(folder / UNIQUE, copies)
    n_unique = int(np.count_nonzero(copies))
    n_crystals = sum(shard.written for shard in manifest.shards.values())
    return UniqueCounts(
        unique=n_unique,
        duplicates=n_hashed - n_unique,
        without_hash=n_crystals - n_hashed,
        sha256=sha256_of(folder / UNIQUE),
    )


def _hashes(
    folder: Path, manifest: ShardManifest
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.uint64]]]:
    """Yield the indices and hashes of each shard."""
    read = _of_frames if manifest.file_format == "extxyz" else _of_table
    for number in range(manifest.n_shards):
        yield read(manifest.path_of(number, folder))


def _of_table(path: Path) -> tuple[NDArray[np.int64], NDArray[np.uint64]]:
    import pyarrow.parquet as pq

    table = pq.read_table(path, columns=["index", HASH_COLUMN], use_threads=False)
    texts = table[HASH_COLUMN].to_pylist()
    known = np.array([text is not None for text in texts], dtype=np.bool_)
    hashes = [int(text, 16) for text in texts if text is not None]
    return table["index"].to_numpy()[known], np.array(hashes, dtype=np.uint64)


def _of_frames(path: Path) -> tuple[NDArray[np.int64], NDArray[np.uint64]]:
    indices, hashes = [], []
    with path.open(encoding="utf-8") as file:
        for line in file:
            if not line.startswith(_FRAME_START):
                continue
            index, hashed = _FRAME_INDEX.search(line), _FRAME_HASH.search(line)
            if index and hashed:
                indices.append(int(index[1]))
                hashes.append(int(hashed[1], 16))
    return np.array(indices, dtype=np.int64), np.array(hashes, dtype=np.uint64)


def _write(path: Path, copies: NDArray[np.int32]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.schema([("index", pa.int64()), ("copies", pa.int32())])
    # Python's own file, whose errors say that the disk is full.
    with (
        replacing(path) as temporary,
        temporary.open("wb") as file,
        pq.ParquetWriter(file, schema, compression="zstd") as writer,
    ):
        for first in range(0, len(copies), _ROWS_AT_ONCE):
            part = copies[first : first + _ROWS_AT_ONCE]
            there = np.flatnonzero(part)
            writer.write_table(pa.table([there + first, part[there]], schema=schema))
