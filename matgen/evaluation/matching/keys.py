"""Which crystals can be compared at all, and which never need to be."""

from __future__ import annotations

import math
from typing import Final, TypeAlias

import numpy as np

from matgen.crystal.composition import reduced_counts
from matgen.elements import HEAVIEST
from matgen.records import Crystal

CompositionKey: TypeAlias = "tuple[tuple[int, int], ...]"
"""(atomic number, count) pairs, ascending, divided by their greatest common divisor."""

_REACH: Final = 1.2
_LARGEST_LATTICE_SEARCH: Final = 2e6
"""Lattice points within 1.2 times the longest cell vector. A needle or sheet thinner than this
makes pymatgen enumerate them for minutes; no crystal comes near (a 3 × 3 × 100 Å cell: 8,000)."""


def composition_key(crystal: Crystal) -> CompositionKey:
    """Return the key of a crystal's reduced formula; equal exactly where the formulas are."""
    elements, counts = reduced_counts(crystal.numbers)
    return tuple(zip(elements.tolist(), counts.tolist(), strict=True))


def comparable(crystal: Crystal) -> bool:
    """Return whether the matcher can look at this crystal in bounded time at all."""
    if not (np.isfinite(crystal.lattice).all() and np.isfinite(crystal.frac).all()):
        return False
    if crystal.n_sites == 0 or crystal.volume <= 0.0:
        return False
    if crystal.numbers.min() < 1 or crystal.numbers.max() > HEAVIEST:
        return False
    reach = float(np.linalg.norm(crystal.lattice, axis=1).max()) * _REACH
    return 4.0 / 3.0 * math.pi * reach**3 / crystal.volume < _LARGEST_LATTICE_SEARCH
