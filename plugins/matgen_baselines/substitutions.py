"""How likely one ion stands where another did, mined from known crystals.

Source: Hautier, Fischer, Ehrlacher, Jain, Ceder, Inorg. Chem. 50, 656 (2011); the fitted weights
come with pymatgen.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, lru_cache

import numpy as np
from numpy.typing import NDArray

Ion = tuple[int, int]
"""Atomic number and oxidation state."""


@dataclass(frozen=True)
class Exchange:
    """Every neutral exchange of the ions of a compound that is likely enough.

    Attributes:
        ions: Per exchange, the new ion of each old one, in its order.
        chances: (n,) probabilities that add up to 1.
    """

    ions: tuple[tuple[Ion, ...], ...]
    chances: NDArray[np.float64]


class Substitutions:
    """Conditional probabilities of one ion given another."""

    def __init__(self, least: float) -> None:
        """Load pymatgen's table.

        Args:
            least: Exchanges with a smaller product of probabilities are left out.
        """
        self._ions, self._given = _table()
        self._place = {ion: place for place, ion in enumerate(self._ions)}
        self._least = least
        self.exchanges = lru_cache(maxsize=100_000)(self._exchanges)

    def knows(self, ion: Ion) -> bool:
        """Whether the table has an ion."""
        return ion in self._place

    def probability(self, new: Ion, old: Ion) -> float:
        """Return p(new | old).

        Raises:
            KeyError: the table lacks one of them.
        """
        return float(self._given[self._place[old], self._place[new]])

    def _exchanges(self, old: tuple[tuple[Ion, int], ...]) -> Exchange:
        """Return the exchanges of a compound.

        At least one element changes, the charges add up to 0, and sites of different elements stay
        so.

        Args:
            old: Its ions, which the table knows, each with the number of its sites.
        """
        partial: list[tuple[tuple[Ion, ...], float]] = [((), 1.0)]
        elements = [ion[0] for ion, _ in old]
        for position, (ion, _) in enumerate(old):
            row = self._given[self._place[ion]]
            likely = np.flatnonzero(row >= self._least)
            candidates = [(self._ions[place], float(row[place])) for place in likely]
            partial = [
                ((*ions, new), chance * p)
                for ions, chance in partial
                for new, p in candidates
                if chance * p >= self._least and _fits(ions, new, elements, position)
            ]
        found = [
            (ions, chance)
            for ions, chance in partial
            if sum(new[1] * n for new, (_, n) in zip(ions, old, strict=True)) == 0
            and any(new[0] != z for new, z in zip(ions, elements, strict=True))
        ]
        total = sum(chance for _, chance in found)
        chances = np.array([chance / total for _, chance in found])
        return Exchange(tuple(ions for ions, _ in found), chances)


def _fits(ions: tuple[Ion, ...], new: Ion, elements: list[int], position: int) -> bool:
    """Whether a new ion is of one element with earlier ones just where the old ones were."""
    return all(
        (earlier[0] == new[0]) == (elements[place] == elements[position])
        for place, earlier in enumerate(ions)
    )


@cache
def _table() -> tuple[tuple[Ion, ...], NDArray[np.float64]]:
    """Return the ions of pymatgen's table and (old, new) conditional probabilities."""
    from pymatgen.core.structure_prediction.substitution_probability import SubstitutionProbability

    table = SubstitutionProbability()
    of_ion = {
        (int(species.Z), int(state)): species
        for species in table.species
        if (state := species.oxi_state) is not None and float(state).is_integer()
    }
    ions = tuple(sorted(of_ion))
    given = [[table.cond_prob(of_ion[new], of_ion[old]) for new in ions] for old in ions]
    return ions, np.array(given)
