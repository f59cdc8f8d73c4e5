"""A dataset of records that a test makes up, and copies of crystals that are the same structure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from typing import Any

import numpy as np
from pydantic import Field

from matgen import Crystal, DatasetSource, Record
from matgen.records import LabelSource, Skipped
from matgen.roles.dataset import Split
from matgen_datasets.mp_le20 import MpLe20


class Listed(DatasetSource):
    """Records as given."""

    name = "listed"

    rows: tuple[tuple[Split, Any], ...]
    """Split and record; a ``Skipped`` in place of a record is an entry that is no crystal."""
    measured_in: dict[str, str] = Field(default_factory=dict)
    sourced: dict[str, tuple[LabelSource, ...]] = Field(default_factory=dict)
    claims_reduced: bool = False

    @property
    def units(self) -> Mapping[str, str]:
        return self.measured_in

    @property
    def label_sources(self) -> Mapping[str, tuple[LabelSource, ...]]:
        return {name: (LabelSource(self.name),) for name in self.units} | self.sourced

    @property
    def splits(self) -> tuple[Split, ...]:
        return ("train", "val", "test")

    @property
    def reduced(self) -> bool:
        return self.claims_reduced

    def records(
        self, split: Split, *, on_skip: Callable[[Skipped], None] | None = None
    ) -> Iterator[Record]:
        for side, row in self.rows:
            if side == split and isinstance(row, Skipped):
                assert on_skip is not None
                on_skip(row)
            elif side == split:
                yield row

    def fingerprint(self) -> str:
        return f"listed-{len(self.rows)}"


def real_crystals(n: int, *, max_sites: int = 10) -> list[Crystal]:
    """Return real crystals, a hundred rows apart."""
    records = islice(MpLe20().records("val"), 0, None, 100)
    small = (r.crystal for r in records if r.crystal.n_sites <= max_sites)
    return list(islice(small, n))


def supercell(crystal: Crystal, matrix: Any) -> Crystal:
    """Return the crystal in the cell ``matrix @ lattice``, for whole numbers of any determinant."""
    change = np.asarray(matrix)
    n_copies = abs(round(float(np.linalg.det(change))))
    # Every lattice point of the old cell in the new one lies on this grid.
    grid = np.stack(np.meshgrid(*[np.arange(-12, 13)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    inside = grid @ np.linalg.inv(change)
    inside = grid[((inside > -1e-9) & (inside < 1 - 1e-9)).all(axis=1)]
    assert len(inside) == n_copies
    frac = (crystal.frac[None] + inside[:, None]).reshape(-1, 3) @ np.linalg.inv(change)
    return Crystal(change @ crystal.lattice, frac, np.tile(crystal.numbers, n_copies))


def another_description(crystal: Crystal, rng: np.random.Generator, *, strain: float) -> Crystal:
    """Return the same structure as a random supercell, turned, shifted, shuffled and strained."""
    while True:
        matrix = rng.integers(-1, 3, (3, 3))
        if 1 <= round(float(np.linalg.det(matrix))) <= 3:
            break
    turned, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    turned *= np.sign(np.linalg.det(turned))
    stretch = rng.uniform(-strain, strain, (3, 3))
    copy = supercell(crystal, matrix)
    lattice = copy.lattice @ (np.eye(3) + (stretch + stretch.T) / 2) @ turned
    moved = Crystal(lattice, (copy.frac + rng.random(3)) % 1.0, copy.numbers)
    return moved.take(rng.permutation(copy.n_sites))
