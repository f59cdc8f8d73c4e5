"""What distributions are made of: symmetry, size, density and elements of single crystals."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from matgen.crystal.checks import check_crystal
from matgen.crystal.properties import density
from matgen.elements import HEAVIEST
from matgen.errors import BadCrystal
from matgen.evaluation.cohort import Cohort
from matgen.records import Crystal
from matgen.roles.executor import Pool
from matgen_metrics.divergence import Floats, histogram
from matgen_metrics.spglib_groups import space_group

SYMPREC_ANG: Final = 0.01
_ANGLE_TOLERANCE_DEG: Final = 5.0
"""What pymatgen's SpacegroupAnalyzer, and so every published count of groups, hands to spglib."""
_SEED: Final = 0
_LAST_GROUPS: Final = (2, 15, 74, 142, 167, 194, 230)
"""Last space group of each crystal system, triclinic to cubic."""


@dataclass(frozen=True, slots=True)
class Description:
    """One crystal in numbers.

    Attributes:
        space_group: International number, None where spglib finds none.
        volume: Of the cell, Å³.
        density: g/cm³.
        counts: Atomic number to sites in the cell.
    """

    space_group: int | None
    volume: float
    density: float
    counts: dict[int, int]

    @property
    def n_sites(self) -> int:
        """Sites in the cell."""
        return sum(self.counts.values())

    @property
    def crystal_system(self) -> int | None:
        """1 triclinic to 7 cubic."""
        if self.space_group is None:
            return None
        return 1 + sum(self.space_group > last for last in _LAST_GROUPS)


def described(crystals: Sequence[Crystal | None], pool: Pool) -> list[Description | None]:
    """Return the description of each crystal; None where there is none, or it is no crystal."""
    present = [crystal for crystal in crystals if crystal is not None]
    found = iter(pool.map(describe, present))
    return [None if crystal is None else next(found) for crystal in crystals]


def describe(crystal: Crystal) -> Description | None:
    """Return the description of a crystal, None for what is none; overlapping sites may be."""
    try:
        check_crystal(crystal, min_distance=0.0)
    except BadCrystal:
        return None
    numbers, counts = np.unique(crystal.numbers, return_counts=True)
    return Description(
        space_group(crystal, SYMPREC_ANG, _ANGLE_TOLERANCE_DEG),
        crystal.volume,
        density(crystal),
        dict(zip(numbers.tolist(), counts.tolist(), strict=True)),
    )


def compared_with(cohort: Cohort) -> tuple[Iterable[Crystal], str] | None:
    """Return the crystals to compare with: the truth, else the reference; None without either."""
    if cohort.truth is not None:
        return (record.crystal for record in cohort.truth), f"truth ({len(cohort.truth)} crystals)"
    if cohort.reference is not None:
        return cohort.reference, f"reference ({cohort.reference.description})"
    return None


def fewer(crystals: Iterable[Crystal], most: int) -> list[Crystal]:
    """Return at most so many of the crystals, drawn at random; the same ones each time."""
    known = list(crystals)
    if len(known) <= most:
        return known
    chosen = np.random.default_rng(_SEED).choice(len(known), most, replace=False)
    return [known[index] for index in np.sort(chosen)]


def element_counts(descriptions: Iterable[Description]) -> Floats:
    """Return (118,) sites of each element, over all cells together."""
    return _elements(d.counts for d in descriptions)


def element_presence(descriptions: Iterable[Description]) -> Floats:
    """Return (118,) in how many crystals each element is."""
    return _elements(dict.fromkeys(d.counts, 1) for d in descriptions)


def space_groups(descriptions: Iterable[Description]) -> Floats:
    """Return (230,) how often each space group occurs."""
    return histogram([d.space_group for d in descriptions if d.space_group is not None], 230)


def crystal_systems(descriptions: Iterable[Description]) -> Floats:
    """Return (7,) how often each crystal system occurs."""
    return histogram([d.crystal_system for d in descriptions if d.crystal_system is not None], 7)


def _elements(amounts: Iterable[dict[int, int]]) -> Floats:
    totals = np.zeros(HEAVIEST)
    for counts in amounts:
        for number, n in counts.items():
            totals[number - 1] += n
    return totals
