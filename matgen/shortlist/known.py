"""The known material that is nearest to a crystal."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from matgen.crystal.composition import reduced_formula
from matgen.elements import symbols
from matgen.errors import BadCrystal
from matgen.evaluation.matching import RMSD, Candidate, OrderedMatcher
from matgen.records import Crystal, Record

_MATCHER: Final = OrderedMatcher(RMSD)
"""Wide tolerances: what they cannot map onto each other is another structure."""


@dataclass(frozen=True)
class Neighbour:
    """A known material.

    Attributes:
        id: Of the material, as its dataset has it.
        formula: Reduced.
        relation: ``structure``: sites can be mapped onto each other; ``formula``: another structure
            of the same reduced formula; ``composition``: another formula.
        distance: Of mapped structures their RMS displacement, Å; of others of one formula the
            relative difference of the volume per site; of other formulas half the sum of the
            differences of the atomic fractions, 0 to 1.
    """

    id: str
    formula: str
    relation: Literal["structure", "formula", "composition"]
    distance: float


class KnownMaterials:
    """Known materials, to look for neighbours in."""

    def __init__(self, records: Iterable[Record]) -> None:
        """Keep ids, crystals and compositions."""
        self._records = list(records)
        self._by_formula: dict[str, list[int]] = defaultdict(list)
        for row, record in enumerate(self._records):
            self._by_formula[reduced_formula(record.crystal)].append(row)
        self._formulas = list(self._by_formula)
        firsts = [self._records[rows[0]].crystal for rows in self._by_formula.values()]
        self._fractions = (
            np.stack([_fractions(crystal) for crystal in firsts])
            if firsts
            else np.zeros((0, len(symbols)))
        )

    def __len__(self) -> int:
        return len(self._records)

    def nearest(self, crystal: Crystal) -> Neighbour | None:
        """Return the nearest material, None if there is none at all.

        A structure that maps comes before any that does not, the same formula before any other.
        """
        formula = reduced_formula(crystal)
        rows = self._by_formula.get(formula, [])
        mapped = [(rms, row) for row in rows if (rms := self._rms(crystal, row)) is not None]
        if mapped:
            rms, row = min(mapped)
            return Neighbour(self._records[row].id, formula, "structure", rms)
        if rows:
            apart, row = min((self._volume_apart(crystal, row), row) for row in rows)
            return Neighbour(self._records[row].id, formula, "formula", apart)
        if not self._records:
            return None
        differences = 0.5 * np.abs(self._fractions - _fractions(crystal)).sum(axis=1)
        best = int(differences.argmin())
        row = self._by_formula[self._formulas[best]][0]
        return Neighbour(
            self._records[row].id, self._formulas[best], "composition", float(differences[best])
        )

    def _rms(self, crystal: Crystal, row: int) -> float | None:
        """Return the RMS displacement of mapped sites, Å, None where they do not map."""
        known = self._records[row].crystal
        try:
            found = _MATCHER.closest(Candidate(crystal), Candidate(known))
        except BadCrystal:
            return None
        if found is None:
            return None
        length = float((crystal.volume / crystal.n_sites) ** (1.0 / 3.0))
        return float(found.rms) * length

    def _volume_apart(self, crystal: Crystal, row: int) -> float:
        known = self._records[row].crystal
        own, theirs = (c.volume / c.n_sites for c in (crystal, known))
        return abs(own / theirs - 1.0)


def _fractions(crystal: Crystal) -> NDArray[np.float64]:
    counts = np.bincount(crystal.numbers, minlength=len(symbols)).astype(np.float64)
    return counts / crystal.n_sites
