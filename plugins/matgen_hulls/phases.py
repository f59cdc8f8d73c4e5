"""The lowest mixture of known phases: a linear program."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from fractions import Fraction
from functools import lru_cache
from itertools import combinations
from typing import Final

import numpy as np
from numpy.typing import NDArray

from matgen.crystal.composition import reduced_formula
from matgen.elements import atomic_number

Fractions = dict[str, float]
"""Element symbol to atomic fraction, summing to 1."""
Phase = tuple[Fractions, float]
"""Atomic fractions, and energy in eV/atom."""

_NOTHING: Final = 1e-6
"""Share of the atoms that the arithmetic of a linear program may leave."""
_MOST_ATOMS: Final = 60
"""Largest denominator in the ratio of two elements of a phase."""


class Phases:
    """Phases by chemical system, and the energies of their mixtures."""

    def __init__(self, phases: Iterable[Phase]) -> None:
        self._by_system: dict[frozenset[str], list[Phase]] = defaultdict(list)
        for fractions, energy in phases:
            self._by_system[frozenset(fractions)].append((fractions, energy))
        self.pure = frozenset(
            symbol for system in self._by_system if len(system) == 1 for symbol in system
        )
        self.n_phases = sum(map(len, self._by_system.values()))
        self._arrays = lru_cache(maxsize=1024)(self._arrays_within)

    def energy(self, fractions: Fractions) -> float:
        """Return the energy of the lowest mixture with this composition, eV/atom.

        Args:
            fractions: Every element of it is a phase.
        """
        system = tuple(sorted(fractions))
        compositions, energies = self._arrays(system)
        return _lowest(compositions, energies, np.array([fractions[s] for s in system]))[0]

    def mixture(self, fractions: Fractions) -> dict[str, float]:
        """Return the lowest mixture with this composition: reduced formula to share of the atoms.

        Args:
            fractions: Every element of it is a phase.
        """
        system = tuple(sorted(fractions))
        phases = self._within(system, proper=False)
        compositions, energies = self._stacked(phases, system)
        _, shares = _lowest(compositions, energies, np.array([fractions[s] for s in system]))
        found: dict[str, float] = defaultdict(float)
        for (composition, _), share in zip(phases, shares, strict=True):
            if share > _NOTHING:
                found[_formula(composition)] += float(share)
        return dict(sorted(found.items(), key=lambda item: -item[1]))

    def distances_among(self, joining: Sequence[Phase]) -> list[float]:
        """Return how far phases of one system lie above the hull that they make, eV/atom.

        They take the place of the known phases of their own system; those within it stay.

        Source: ``_get_self_consistent_phase_diagram`` of microsoft/mattergen.
        """
        system = tuple(sorted(joining[0][0]))
        compositions, energies = (
            self._stacked(self._within(system, proper=True), system)
            if len(system) > 1
            else (np.zeros((1, 0)), np.zeros(0))
        )
        own, own_energies = self._stacked(joining, system)
        compositions = np.concatenate([compositions, own], axis=1)
        energies = np.concatenate([energies, own_energies])
        return [
            energy - _lowest(compositions, energies, own[:, column])[0]
            for column, (_, energy) in enumerate(joining)
        ]

    def _arrays_within(
        self, system: tuple[str, ...]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return (elements, phases) compositions and (phases,) energies within a system."""
        return self._stacked(self._within(system, proper=False), system)

    def _stacked(
        self, phases: Sequence[Phase], system: tuple[str, ...]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        compositions = np.array(
            [[fractions.get(symbol, 0.0) for fractions, _ in phases] for symbol in system]
        ).reshape(len(system), len(phases))
        return compositions, np.array([energy for _, energy in phases])

    def _within(self, elements: tuple[str, ...], *, proper: bool) -> list[Phase]:
        """Return the phases of a system and those within it, or only of those within it."""
        whole = frozenset(elements)
        if 2 ** len(elements) > len(self._by_system):
            systems = [system for system in self._by_system if system <= whole]
        else:
            systems = [
                system
                for size in range(1, len(elements) + 1)
                for system in map(frozenset, combinations(elements, size))
                if system in self._by_system
            ]
        return [
            phase
            for system in systems
            if not (proper and system == whole)
            for phase in self._by_system[system]
        ]


def _lowest(
    compositions: NDArray[np.float64],
    energies: NDArray[np.float64],
    target: NDArray[np.float64],
) -> tuple[float, NDArray[np.float64]]:
    """Return the energy of the lowest mixture, eV/atom, and the (phases,) shares of its atoms."""
    from scipy.optimize import linprog

    found = linprog(energies, A_eq=compositions, b_eq=target, bounds=(0, None), method="highs")
    # The pure elements span every composition and energies are bounded: it has a solution.
    assert found.success, found.message
    return float(found.fun), np.asarray(found.x)


def _formula(fractions: Fractions) -> str:
    """Return the reduced formula of atomic fractions of at most some hundred atoms."""
    smallest = min(fractions.values())
    ratios = [Fraction(x / smallest).limit_denominator(_MOST_ATOMS) for x in fractions.values()]
    multiple = math.lcm(*(ratio.denominator for ratio in ratios))
    numbers = [
        atomic_number(symbol)
        for symbol, ratio in zip(fractions, ratios, strict=True)
        for _ in range(int(ratio * multiple))
    ]
    return reduced_formula(numbers)
