"""The parts of an import joined into the folder of the dataset, one part in memory at a time."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from matgen.data.import_piece import (
    COUNTED,
    ORIGIN,
    Counted,
    part_path,
    problem_line,
    problems_path,
)
from matgen.data.imported_folder import CRYSTALS, PROBLEMS, CrystalsWriter

DUPLICATE: str = "duplicate_id"


@dataclass
class Assembled:
    """What the parts held.

    Attributes:
        counted: Of all parts and the joining of them.
        splits: Split to crystals.
        first_problem: As ``problems.jsonl`` has it; empty where there is none.
        examples: Kind of problem to the first such line.
    """

    counted: Counted
    splits: dict[str, int]
    first_problem: str
    examples: dict[str, str]


def counted_in(part: Path) -> Counted:
    """Return what a part file says was counted."""
    import pyarrow.parquet as pq

    with pq.ParquetFile(part) as file:
        return Counted.from_json(file.metadata.metadata[COUNTED])


def counted_parts(work: Path, n_parts: int) -> Counted:
    """Return what all parts together counted."""
    total = Counted()
    for number in range(n_parts):
        total.add(counted_in(part_path(work, number)))
    return total


def assemble(
    work: Path,
    n_parts: int,
    folder: Path,
    units: Mapping[str, str],
    sourced: Sequence[str],
    counted: Counted,
) -> Assembled:
    """Write crystals and problems of all parts to a folder; of equal ids the first is kept.

    Args:
        work: Where the parts are.
        n_parts: How many there are, from 0.
        folder: Exists.
        units: Property to unit.
        sourced: Properties whose rows say where the value is from.
        counted: Of all parts; what the joining leaves out is counted, too.
    """
    repeated = _repeated_ids(work, n_parts)
    held: dict[str, str] = {}
    splits: dict[str, int] = {}
    with (
        (folder / PROBLEMS).open("w", encoding="utf-8") as file,
        CrystalsWriter(folder / CRYSTALS, units, sourced) as writer,
    ):
        problems = _Problems(file)
        for number in range(n_parts):
            problems.copy(problems_path(work, number))
            for table, digests in _tables(part_path(work, number)):
                again = _second_uses(table, digests, repeated, held)
                for row, first in again.items():
                    name, origin = table["id"][row].as_py(), table[ORIGIN][row].as_py()
                    reason = f"the id {name!r} is used twice; kept is the first, of {first}"
                    problems.write(DUPLICATE, problem_line(origin, name, DUPLICATE, reason))
                    counted.kinds[DUPLICATE] += 1
                    counted.n_crystals -= 1
                kept = table
                if again:
                    mask = np.ones(table.num_rows, dtype=np.bool_)
                    mask[list(again)] = False
                    kept = table.filter(mask)
                for pair in kept["split"].value_counts().to_pylist():
                    splits[pair["values"]] = splits.get(pair["values"], 0) + pair["counts"]
                writer.add_table(kept)
    return Assembled(counted, splits, problems.first, problems.examples)


class _Problems:
    """Writes ``problems.jsonl`` and remembers the first of each kind."""

    def __init__(self, file: IO[str]) -> None:
        self._file = file
        self.first = ""
        self.examples: dict[str, str] = {}

    def copy(self, path: Path) -> None:
        """Write what a worker reported."""
        import json

        if path.exists():
            with path.open(encoding="utf-8") as lines:
                for line in lines:
                    self.write(json.loads(line)["kind"], line)

    def write(self, kind: str, line: str) -> None:
        """Write a line."""
        self._file.write(line)
        self.first = self.first or line
        self.examples.setdefault(kind, line)


def _tables(part: Path) -> Iterator[tuple[Any, NDArray[np.uint64]]]:  # arrow tables
    """Yield the row groups of a part with the digests of their ids."""
    import pyarrow.parquet as pq

    with pq.ParquetFile(part) as file:
        for group in range(file.num_row_groups):
            table = file.read_row_group(group)
            yield table, _digests(table["id"])


def _digests(ids: Any) -> NDArray[np.uint64]:  # an arrow column of texts
    """Return 8 bytes for each id: all that is kept of millions of them at once."""
    found = (hashlib.blake2b(name.encode(), digest_size=8).digest() for name in ids.to_pylist())
    return np.frombuffer(b"".join(found), dtype=np.uint64)


def _repeated_ids(work: Path, n_parts: int) -> NDArray[np.uint64]:
    """Return the digests that occur more than once, sorted."""
    import pyarrow.parquet as pq

    found = [
        _digests(pq.read_table(part_path(work, number), columns=["id"])["id"])
        for number in range(n_parts)
    ]
    digests, n_uses = np.unique(np.concatenate(found), return_counts=True)
    repeated: NDArray[np.uint64] = digests[n_uses > 1]
    return repeated


def _second_uses(
    table: Any,  # an arrow table
    digests: NDArray[np.uint64],
    repeated: NDArray[np.uint64],
    held: dict[str, str],
) -> dict[int, str]:
    """Return the rows whose id was used before, with where that was.

    Args:
        table: Rows of a part.
        digests: Those of their ids.
        repeated: Digests that occur more than once; of equal digests the ids themselves decide.
        held: Id to where it was first used, of ids with such a digest; added to.
    """
    again = {}
    for row in np.flatnonzero(np.isin(digests, repeated)).tolist():
        name = table["id"][row].as_py()
        if name in held:
            again[row] = held[name]
        else:
            held[name] = table[ORIGIN][row].as_py()
    return again
