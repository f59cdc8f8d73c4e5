"""Samples to one file of a folder of shards, streamed, whole or absent.

Parquet has a row per sample, also where there is no crystal; the columns are those that
``CrystalTable`` reads, and the rest of a sample beside them. Extended XYZ has frames of crystals.
``asked`` counts the samples of the file, so that each can be evaluated alone.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, TextIO

from matgen.atomic import replacing
from matgen.io.extxyz import empty_frame, frame_text
from matgen.io.shard_manifest import ShardFormat
from matgen.io.writing import sample_info
from matgen.records import Sample

ROWS_AT_ONCE: Final = 2048
"""Rows of a row group: what is held in memory, 3 MB of crystals of 20 sites."""
HASH_COLUMN: Final = "structure_hash"


class ShardFile(ABC):
    """A file of samples that is being written."""

    @abstractmethod
    def add(self, sample: Sample, hashed: str) -> None:
        """Write one sample.

        Args:
            sample: With or without a crystal.
            hashed: Its structure hash; empty where it has none.
        """

    @abstractmethod
    def close(self) -> None:
        """Write what is still in memory."""


@contextmanager
def shard_file(
    path: Path,
    file_format: ShardFormat,
    *,
    asked: int,
    requested: Mapping[str, type],
    achieved: Mapping[str, type],
) -> Iterator[ShardFile]:
    """Give a file to add samples to; it is there when the block ends well.

    Args:
        path: Replaced.
        file_format: Of the file.
        asked: Samples that will be added.
        requested: Label to ``float`` or ``str``, for every condition that may be asked for.
        achieved: The same for every one that a crystal may show.
    """
    try:
        with replacing(path) as temporary:
            if file_format == "extxyz":
                with temporary.open("w", encoding="utf-8") as text:
                    frames = _Frames(text, asked)
                    yield frames
                    frames.close()
            else:
                table = _Table(temporary, asked, requested, achieved)
                try:
                    yield table
                finally:
                    table.close()
    except OSError as error:
        if error.errno is None or error.filename is not None:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from None


class _Table(ShardFile):
    """Parquet."""

    def __init__(
        self,
        path: Path,
        asked: int,
        requested: Mapping[str, type],
        achieved: Mapping[str, type],
    ) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        kinds = {float: pa.float64(), str: pa.string()}
        self._labels = {
            f"{what}_{label}": (what, label)
            for what, types in (("requested", requested), ("achieved", achieved))
            for label in types
        }
        self._schema = pa.schema(
            [
                ("index", pa.int64()),
                ("asked", pa.int64()),
                ("numbers", pa.list_(pa.int16())),
                ("lattice", pa.list_(pa.float64())),
                ("frac_coords", pa.list_(pa.float64())),
                ("oxidation", pa.list_(pa.int8())),
                ("log_prob", pa.float64()),
                ("log_mass", pa.float64()),
                ("attempts", pa.int32()),
                *((f"requested_{label}", kinds[kind]) for label, kind in requested.items()),
                *((f"achieved_{label}", kinds[kind]) for label, kind in achieved.items()),
                ("error", pa.string()),
                (HASH_COLUMN, pa.string()),
            ]
        )
        self._asked = asked
        # Python's own file, whose errors say that the disk is full.
        self._file = path.open("wb")
        self._writer = pq.ParquetWriter(
            self._file, self._schema, compression="zstd", use_dictionary=["error"]
        )
        self._rows: list[dict[str, Any]] = []  # values by column

    def add(self, sample: Sample, hashed: str) -> None:
        """Keep a row; write them when they are enough."""
        crystal = sample.crystal
        row: dict[str, Any] = {
            "index": sample.index,
            "asked": self._asked,
            "log_prob": sample.log_prob,
            "log_mass": sample.log_mass,
            "attempts": sample.attempts,
            "error": sample.error or None,
            HASH_COLUMN: hashed or None,
        }
        if crystal is not None:
            row["numbers"] = crystal.numbers
            row["lattice"] = crystal.lattice.ravel()
            row["frac_coords"] = crystal.frac.ravel()
            row["oxidation"] = crystal.oxidation
        for column, (what, label) in self._labels.items():
            values = sample.requested if what == "requested" else sample.achieved
            row[column] = values.get(label)
        self._rows.append(row)
        if len(self._rows) >= ROWS_AT_ONCE:
            self._flush()

    def close(self) -> None:
        """End the file."""
        try:
            self._flush()
            self._writer.close()
        finally:
            self._file.close()

    def _flush(self) -> None:
        import pyarrow as pa

        rows, self._rows = self._rows, []
        if not rows:
            return
        columns = [
            pa.array([row.get(each.name) for row in rows], type=each.type) for each in self._schema
        ]
        self._writer.write_table(pa.Table.from_arrays(columns, schema=self._schema))


class _Frames(ShardFile):
    """Extended XYZ."""

    def __init__(self, file: TextIO, asked: int) -> None:
        self._file = file
        self._asked = asked
        self._n_frames = 0

    def add(self, sample: Sample, hashed: str) -> None:
        """Write a frame, if there is a crystal."""
        if sample.crystal is None:
            return
        info = sample_info(sample, self._asked)
        if hashed:
            info[HASH_COLUMN] = hashed
        self._file.write(frame_text(sample.crystal, info))
        self._n_frames += 1

    def close(self) -> None:
        """Leave the count where there is no frame to carry it."""
        if not self._n_frames:
            self._file.write(empty_frame({"asked": self._asked}))
