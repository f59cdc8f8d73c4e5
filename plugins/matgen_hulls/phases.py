"""The lowest mixture of known phases: a linear program."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

Fractions = dict[str, float]
"""Element symbol to atomic fraction, summing to 1."""
Phase = tuple[Fractions, float]
"""Atomic fractions, and energy in eV/atom."""


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
        return _lowest(compositions, energies, np.array([fractions[s] for s in system]))

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
            energy - _lowest(compositions, energies, own[:, column])
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
) -> float:
    from scipy.optimize import linprog

    found = linprog(energies, A_eq=compositions, b_eq=target, bounds=(0, None), method="highs")
    # The pure elements span every composition and energies are bounded: it has a solution.
    assert found.success, found.message
    return float(found.fun)
