"""Which rows of a dataset are the same material, at millions of rows.

Two rows share a material where they have one reduced formula and either one space group or one
structure. What is kept per row is some forty bytes; the crystals wait in a temporary file.

Structures are compared with ``matgen.evaluation.matching`` and nothing else. What is told apart
without being compared: other reduced formulas, and primitive cells with other numbers of sites;
pymatgen's matcher finds no match for either. Volumes tell nothing, because it scales them away.
"""

from __future__ import annotations

import hashlib
import tempfile
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, islice, product
from typing import TYPE_CHECKING, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from matgen.crystal.symmetry import LOOSE_ANG, TIGHT_ANG, space_group
from matgen.evaluation.matching import (
    Candidate,
    Comparisons,
    OrderedMatcher,
    comparable,
    composition_key,
)
from matgen.records import Crystal

if TYPE_CHECKING:
    from matgen.roles.executor import Pool

T = TypeVar("T")

Observer: TypeAlias = "Callable[[str, int, int | None], None]"
"""Hears the stage, how much of it is done, and of how much where that is known."""

CHUNK = 250
"""Rows that a worker describes at a time."""
_TILE = 32
"""Crystals of a bucket are compared in squares of this many, so that no task takes long."""
_PAIRS = 256
"""Pairs that small buckets are put together to."""
_DIGEST = 16


@dataclass(frozen=True, slots=True)
class Described:
    """What tells materials apart.

    Attributes:
        formula: Equal where the reduced formulas are (64 bits of a digest).
        content: 16 bytes, equal where the arrays are.
        tight: Space group at symprec 0.01 Å, 0 where there is none.
        loose: Space group at symprec 0.1 Å, 0 where there is none.
        comparable: Whether the structure matcher can look at it.
    """

    formula: int
    content: bytes
    tight: int
    loose: int
    comparable: bool


def formula_digest(crystal: Crystal) -> int:
    """Return 64 bits, equal where the reduced formulas are."""
    key = repr(composition_key(crystal)).encode()
    return int.from_bytes(hashlib.sha256(key).digest()[:8], "big")


def describe(crystal: Crystal) -> Described:
    """Return what tells a crystal from others; it need not be a sound one."""
    arrays = (crystal.lattice, crystal.frac, crystal.numbers)
    content = hashlib.sha256(b"".join(np.ascontiguousarray(a).tobytes() for a in arrays))
    sound = comparable(crystal)
    return Described(
        formula_digest(crystal) if crystal.n_sites else 0,
        content.digest()[:_DIGEST],
        (space_group(crystal, symprec=TIGHT_ANG) or 0) if sound else 0,
        (space_group(crystal, symprec=LOOSE_ANG) or 0) if sound else 0,
        sound,
    )


class MaterialTable:
    """The described rows, in the order they came."""

    def __init__(self) -> None:
        self.formulas = array("Q")
        self.tight = bytearray()
        self.loose = bytearray()
        self._comparable = bytearray()
        self._contents = bytearray()
        self._ends = array("Q", [0])
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the table

    def __len__(self) -> int:
        return len(self._comparable)

    def __enter__(self) -> MaterialTable:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def keep(self, crystal: Crystal) -> None:
        """Lay down the crystal of the next row; ``add`` follows in the same order."""
        lattice_frac = np.concatenate([crystal.lattice, crystal.frac]).astype(np.float64)
        parts = (lattice_frac.tobytes(), crystal.numbers.astype(np.int64).tobytes())
        self._file.write(b"".join(parts))
        self._ends.append(self._ends[-1] + sum(map(len, parts)))

    def add(self, described: Described) -> None:
        """Add a row."""
        self.formulas.append(described.formula)
        self.tight.append(described.tight)
        self.loose.append(described.loose)
        self._comparable.append(described.comparable)
        self._contents += described.content

    def content(self, row: int) -> bytes:
        """Return 16 bytes, equal where the arrays of the crystals are."""
        return bytes(self._contents[_DIGEST * row : _DIGEST * (row + 1)])

    def crystal(self, row: int) -> Crystal:
        """Return the crystal of a row, without oxidation states."""
        start, end = self._ends[row], self._ends[row + 1]
        self._file.seek(start)
        values = np.frombuffer(self._file.read(end - start), dtype=np.float64)
        n_sites = (len(values) - 9) // 4
        points = values[: 9 + 3 * n_sites].reshape(-1, 3)
        return Crystal(points[:3], points[3:], values[9 + 3 * n_sites :].view(np.int64))

    def buckets(self) -> list[list[int]]:
        """Return the rows that can be compared, by reduced formula, where there are several."""
        rows = np.flatnonzero(np.frombuffer(self._comparable, dtype=np.uint8))
        formulas = np.frombuffer(self.formulas, dtype=np.uint64)[rows]
        order = np.argsort(formulas, kind="stable")
        starts = np.flatnonzero(np.diff(formulas[order], prepend=formulas[order][:1] + 1))
        groups: list[NDArray[np.int64]] = np.split(rows[order], starts[1:])
        return [group.tolist() for group in groups if len(group) > 1]


def in_chunks(items: Iterable[T], size: int = CHUNK) -> Iterator[list[T]]:
    """Yield lists of ``size`` items, the last one shorter."""
    iterator = iter(items)
    while chunk := list(islice(iterator, size)):
        yield chunk


def described_table(crystals: Iterable[Crystal], pool: Pool, observer: Observer) -> MaterialTable:
    """Return the table of crystals, described by the workers as they come."""
    table = MaterialTable()

    def kept() -> Iterator[list[Crystal]]:
        for chunk in in_chunks(crystals):
            for crystal in chunk:
                table.keep(crystal)
            yield chunk

    for found in pool.map(_describe_all, kept()):
        for described in found:
            table.add(described)
        observer("symmetry", len(table), None)
    observer("symmetry", len(table), len(table))
    return table


def same_structures(
    table: MaterialTable,
    pool: Pool,
    observer: Observer,
    *,
    wanted: Callable[[int, int], bool],
) -> Iterator[tuple[int, int]]:
    """Yield the pairs of rows, lower one first, that the matcher calls one structure.

    pymatgen's answer may depend on which of two is asked about the other, for about one pair in
    two hundred; one yes is enough here.

    Args:
        wanted: Whether a pair of one formula needs comparing; asked once for each.
    """
    buckets = table.buckets()
    total = sum(len(rows) * (len(rows) - 1) // 2 for rows in buckets)
    done = 0
    for n_pairs, found in pool.map(_compare, _tasks(table, buckets, wanted)):
        done += n_pairs
        observer("structures", done, total)
        yield from found
    observer("structures", total, total)


class Groups:
    """Rows in groups that only ever merge (union-find)."""

    def __init__(self, n_rows: int) -> None:
        self._above = list(range(n_rows))

    def of(self, row: int) -> int:
        """Return a row that stands for the group."""
        above = self._above
        while above[row] != row:
            above[row] = above[above[row]]
            row = above[row]
        return row

    def merge(self, row: int, other: int) -> None:
        """Make one group of two; the lowest row stands for it."""
        first, second = sorted((self.of(row), self.of(other)))
        self._above[second] = first


def material_groups(table: MaterialTable, pool: Pool, observer: Observer) -> Groups:
    """Return the rows grouped so that no two groups share a material.

    One formula with one space group (at a symprec of 0.01 or of 0.1 Å), or with one structure, is
    one group, and so is what hangs together through others. Which rows come first is no matter.
    """
    groups = Groups(len(table))
    for labels in (table.tight, table.loose):
        first: dict[tuple[int, int], int] = {}
        for row, label in enumerate(labels):
            if label:
                groups.merge(row, first.setdefault((table.formulas[row], label), row))
    for row, other in same_structures(
        table, pool, observer, wanted=lambda i, j: groups.of(i) != groups.of(j)
    ):
        groups.merge(row, other)
    return groups


_Task: TypeAlias = tuple[list[int], list[Crystal], list[tuple[int, int]]]
"""Rows, their crystals, and pairs of positions among them."""


def _describe_all(crystals: list[Crystal]) -> list[Described]:
    return [describe(crystal) for crystal in crystals]


def _tasks(
    table: MaterialTable, buckets: Iterable[Sequence[int]], wanted: Callable[[int, int], bool]
) -> Iterator[_Task]:
    places: dict[int, int] = {}
    pairs: list[tuple[int, int]] = []

    def task() -> _Task:
        return list(places), [table.crystal(row) for row in places], list(pairs)

    for bucket in buckets:
        for square in _squares(bucket):
            for row, other in square:
                if wanted(row, other):
                    place = places.setdefault(row, len(places))
                    pairs.append((place, places.setdefault(other, len(places))))
            if len(pairs) >= _PAIRS:
                yield task()
                places.clear()
                pairs.clear()
    if pairs:
        yield task()


def _squares(bucket: Sequence[int]) -> Iterator[Iterable[tuple[int, int]]]:
    tiles = list(in_chunks(bucket, _TILE))
    for index, tile in enumerate(tiles):
        yield combinations(tile, 2)
        for other in tiles[index + 1 :]:
            yield product(tile, other)


def _compare(task: _Task) -> tuple[int, list[tuple[int, int]]]:
    rows, crystals, pairs = task
    comparisons = Comparisons(OrderedMatcher(), pair_seconds=0.0)
    candidates = [Candidate(crystal) for crystal in crystals]
    return len(pairs), [
        (rows[i], rows[j])
        for i, j in pairs
        if comparisons.same(candidates[i], candidates[j])
        or comparisons.same(candidates[j], candidates[i])
    ]
