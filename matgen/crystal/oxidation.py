"""Formal oxidation states: whole numbers that add to zero, in bounded time.

1. One state per element, the likeliest neutral combination (by how often the states occur in the
   ICSD, weighted by the number of sites).
2. Where there is none, as for Fe3O4: some elements have two adjacent states of one sign. Sites that
   symmetry makes equivalent get equal states; as few elements as possible are mixed, and of the
   ways that remain the likeliest is taken. The state of larger magnitude goes to the most strongly
   bound sites first: those with the largest sum of exp(-d / 0.37 Å) over the sites of opposite
   charge (the bond valence of Brown and Altermatt, Acta Cryst. B41, 244 (1985), without the
   constant of the pair). In magnetite that is Fe3+ on the larger of its two sets of sites.
3. Else every state is 0: elements, alloys, and what no table explains (peroxides, for instance).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from matgen.crystal.cell import wrap
from matgen.crystal.charge_balance import (
    Choice,
    balance_mixed,
    balance_uniform,
    subset_sums,
)
from matgen.crystal.composition import reduced_counts
from matgen.crystal.periodic import squared_distances
from matgen.crystal.symmetry import find_symmetry
from matgen.elements import metallic
from matgen.errors import BadCrystal
from matgen.records import Crystal

BOND_SOFTNESS = 0.37
"""Decay length of bond valence, Å."""
BOND_REACH = 6.0
"""Neighbours farther than this add less than 10⁻³ of a bond, Å."""

Choices = Mapping[int, Choice] | None
"""Atomic number to its states; None where nothing is neutral."""


@dataclass(frozen=True, eq=False, slots=True)
class Assignment:
    """Oxidation states of one crystal.

    Attributes:
        oxidation: (N,) int64, adding to zero.
        how: ``uniform``: one state per element; ``mixed``: two for some; ``zero``: all are 0.
    """

    oxidation: NDArray[np.int64]
    how: Literal["uniform", "mixed", "zero"]


class OxidationAssigner:
    """Assigns oxidation states, remembering what it found for each composition.

    Attributes:
        n_states: Partial charge sums visited so far: the work done, apart from symmetry searches.
    """

    def __init__(self, *, symprec: float = 0.01) -> None:
        """Start with nothing remembered; ``symprec`` (Å) decides which sites are equivalent."""
        self.symprec = symprec
        self.n_states = 0
        self._uniform: dict[tuple[tuple[int, int], ...], Choices] = {}
        self._mixed: dict[tuple[tuple[int, tuple[int, ...]], ...], Choices] = {}

    def assign(self, crystal: Crystal) -> Assignment:
        """Return the oxidation states of a crystal, whatever states it may carry already.

        The states follow the sites under any permutation of them. Never raises for a crystal that
        passes ``check_crystal``.
        """
        elements, counts = reduced_counts(crystal.numbers)
        if len(elements) == 1:
            return _zero(crystal)
        choices = self._balanced_uniform(
            tuple(zip(elements.tolist(), counts.tolist(), strict=True))
        )
        if choices is not None:
            states = np.zeros(int(elements[-1]) + 1, dtype=np.int64)
            states[list(choices)] = [choice.state for choice in choices.values()]
            if not states.any():
                return _zero(crystal)
            return Assignment(states[crystal.numbers], "uniform")
        oxidation = self._assign_mixed(crystal)
        return _zero(crystal) if oxidation is None else Assignment(oxidation, "mixed")

    def _assign_mixed(self, crystal: Crystal) -> NDArray[np.int64] | None:
        elements, counts = np.unique(crystal.numbers, return_counts=True)
        if metallic[elements].all():
            return None
        # With every site free: most crystals without an answer are told apart without symmetry.
        free = tuple(
            (z, (1,) * count) for z, count in zip(elements.tolist(), counts.tolist(), strict=True)
        )
        if self._balanced_mixed(free) is None:
            return None
        orbits = _orbits(crystal, self.symprec)
        if orbits is None:
            return None
        sizes = tuple((z, tuple(sorted(len(orbit) for orbit in orbits[z]))) for z in sorted(orbits))
        choices = self._balanced_mixed(sizes)
        return None if choices is None else _spread(crystal, orbits, choices)

    def _balanced_uniform(self, counts: tuple[tuple[int, int], ...]) -> Choices:
        if counts not in self._uniform:
            balance = balance_uniform(dict(counts))
            self.n_states += balance.n_states
            self._uniform[counts] = balance.choices
        return self._uniform[counts]

    def _balanced_mixed(self, orbits: tuple[tuple[int, tuple[int, ...]], ...]) -> Choices:
        if orbits not in self._mixed:
            balance = balance_mixed(dict(orbits))
            self.n_states += balance.n_states
            self._mixed[orbits] = balance.choices
        return self._mixed[orbits]


def _zero(crystal: Crystal) -> Assignment:
    return Assignment(np.zeros(crystal.n_sites, dtype=np.int64), "zero")


def _orbits(crystal: Crystal, symprec: float) -> dict[int, list[NDArray[np.int64]]] | None:
    """Return the sets of equivalent sites of each element; None where no symmetry is found."""
    try:
        # Whatever states it carries: it is about to get others.
        found = find_symmetry(crystal.with_oxidation(None), symprec=symprec).orbits
    except BadCrystal:
        return None
    orbits: dict[int, list[NDArray[np.int64]]] = {}
    for label in np.unique(found):
        sites = np.flatnonzero(found == label)
        orbits.setdefault(int(crystal.numbers[sites[0]]), []).append(sites)
    return orbits


def _spread(
    crystal: Crystal, orbits: Mapping[int, list[NDArray[np.int64]]], choices: Mapping[int, Choice]
) -> NDArray[np.int64]:
    """Return (N,) states: which orbits of a mixed element get which of its two states."""
    oxidation = np.zeros(crystal.n_sites, dtype=np.int64)
    for z, choice in choices.items():
        oxidation[crystal.numbers == z] = choice.state
    signs = np.sign(oxidation)
    for z, choice in choices.items():
        if choice.mixed:
            ranked = sorted(orbits[z], key=lambda orbit: _rank(crystal, signs, orbit))
            for orbit in _chosen(ranked, choice.n_strong):
                oxidation[orbit] = choice.strong
    return oxidation


def _rank(
    crystal: Crystal, signs: NDArray[np.int64], orbit: NDArray[np.int64]
) -> tuple[float, int, list[list[float]]]:
    """Sort key of an orbit: strongest bound first, then fewest sites, then by position."""
    bound = _bond_strength(crystal, signs, int(orbit[0]))
    positions = wrap(np.round(wrap(crystal.frac[orbit]), 6)).tolist()
    # Rounded, for equivalent sites differ in the last digits.
    return -round(bound, 6), len(orbit), sorted(positions)


def _bond_strength(crystal: Crystal, signs: NDArray[np.int64], site: int) -> float:
    """Return the sum of exp(-d / 0.37 Å) over the sites of the opposite sign, times e⁵."""
    opposite = crystal.frac[signs == -signs[site]]
    total = 0.0
    for _, squared in squared_distances(
        crystal.lattice, crystal.frac[[site]], opposite, BOND_REACH
    ):
        distance = np.sqrt(squared)
        # A factor near the usual bond brings the sum to the order of one.
        bonds = np.exp(5.0 - distance / BOND_SOFTNESS)
        total += float(bonds[distance <= BOND_REACH].sum())
    return total


def _chosen(ranked: Sequence[NDArray[np.int64]], wanted: int) -> list[NDArray[np.int64]]:
    """Return the first orbits, in the order ranked, that hold exactly ``wanted`` sites."""
    chosen = []
    for i, orbit in enumerate(ranked):
        if wanted - len(orbit) in subset_sums(len(later) for later in ranked[i + 1 :]):
            chosen.append(orbit)
            wanted -= len(orbit)
    return chosen
