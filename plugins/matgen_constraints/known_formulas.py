"""Reduced formulas as numbers, so that many rows are looked up at once.

A composition's number is the sum over its atoms of a random number per element, modulo 2^64. It
grows by one addition per atom, and that of the k-fold formula is k times that of the formula.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from matgen.crystal.composition import reduced_counts
from matgen.elements import HEAVIEST

_SEED: Final = 20260101

ELEMENT_CODES: Final[NDArray[np.int64]] = np.random.default_rng(_SEED).integers(
    np.iinfo(np.int64).min, np.iinfo(np.int64).max, HEAVIEST + 1, dtype=np.int64
)
"""(119,) the random number of each element. With a hundred thousand compositions known and as many
asked about a day, one is mistaken for another every five million years."""
ELEMENT_CODES.flags.writeable = False


@dataclass(frozen=True, eq=False)
class KnownFormulas:
    """A set of reduced formulas.

    Attributes:
        codes_K: (K,) int64 number of each formula, all different.
        n_atoms_K: (K,) atoms in each.
    """

    codes_K: NDArray[np.int64]
    n_atoms_K: NDArray[np.int64]

    @classmethod
    def of(cls, crystals: Iterable[NDArray[np.int64]]) -> KnownFormulas:
        """Return the formulas of crystals, given as (N,) atomic numbers each."""
        n_atoms: dict[int, int] = {}
        for numbers in crystals:
            elements, counts = reduced_counts(numbers)
            n_atoms[int((ELEMENT_CODES[elements] * counts).sum())] = int(counts.sum())
        return cls(
            np.array(list(n_atoms), dtype=np.int64),
            np.array(list(n_atoms.values()), dtype=np.int64),
        )

    def in_cells(self, max_sites: int) -> NDArray[np.int64]:
        """Return the (M,) ascending numbers of every multiple with at most ``max_sites`` atoms."""
        multiples = [
            self.codes_K[self.n_atoms_K * k <= max_sites] * np.int64(k)
            for k in range(1, max_sites + 1)
        ]
        return np.unique(np.concatenate(multiples))
