"""Crystals of hard spheres: relaxer, hull, evaluator and reward of the toy set.

A site of atomic number Z is a sphere of radius Z^(1/3) / 2 Å. Its crystal has one degree of
freedom, the size of the cell, and an energy with its minimum where the nearest spheres touch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import product
from typing import TYPE_CHECKING, Final

import numpy as np

from matgen import (
    Crystal,
    Evaluator,
    HullReference,
    Measurement,
    Relaxation,
    Relaxer,
    Reward,
    Sample,
)
from matgen.errors import OutsideHull
from matgen.roles.hull import Hull
from matgen.roles.relaxer import RelaxerSession

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from matgen.evaluation.cohort import Cohort

CLOSEST_PACKING: Final = np.pi / np.sqrt(18)
"""Filled fraction of the densest packing of equal spheres, 0.7405."""

_SHIFTS: Final = np.array(list(product((-1, 0, 1), repeat=3)), dtype=np.float64)


def radii_ang(numbers: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the (N,) radii of the spheres, Å."""
    return np.cbrt(numbers.astype(np.float64)) / 2


def contact(crystal: Crystal) -> float:
    """Return how far the closest pair is apart, in units of its two radii; 1 where they touch.

    Looks at the 27 nearest cells, enough for the compact cells of this set.
    """
    between = crystal.frac[:, None] - crystal.frac[None, :]
    between = between - np.round(between)
    vectors = (between[:, :, None] + _SHIFTS) @ crystal.lattice
    distances = np.linalg.norm(vectors, axis=-1)
    itself = (np.eye(crystal.n_sites, dtype=bool)[:, :, None]) & ~_SHIFTS.any(axis=1)
    distances = np.where(itself, np.inf, distances)
    radii = radii_ang(crystal.numbers)
    return float((distances.min(axis=2) / (radii[:, None] + radii)).min())


def packing(crystal: Crystal) -> float:
    """Return the filled fraction once the cell is scaled so that the nearest spheres touch."""
    spheres = 4 / 3 * np.pi * float((radii_ang(crystal.numbers) ** 3).sum())
    return spheres * contact(crystal) ** 3 / crystal.volume


def energy_ev(crystal: Crystal) -> float:
    """Return the energy of the cell: minus the packing per site at contact, higher elsewhere."""
    squeeze = 1 / contact(crystal)
    return -crystal.n_sites * packing(crystal) * squeeze * (2 - squeeze)


class _SpheresSession(RelaxerSession):
    def __init__(self, *, single_point: bool) -> None:
        self._single_point = single_point

    def relax(self, crystals: Sequence[Crystal]) -> Iterator[Relaxation]:
        for crystal in crystals:
            apart = contact(crystal)
            if not apart > 1e-3:
                yield Relaxation(None, error="two sites sit on the same place")
                continue
            relaxed = crystal
            if not self._single_point:
                relaxed = Crystal(
                    crystal.lattice / apart, crystal.frac, crystal.numbers, crystal.oxidation
                )
            yield Relaxation(
                relaxed,
                energy=energy_ev(relaxed),
                initial_energy=energy_ev(crystal),
                converged=not self._single_point or abs(apart - 1) < 1e-9,
                n_steps=0 if self._single_point else 1,
            )


class Spheres(Relaxer):
    """Scales the cell until the nearest spheres touch."""

    name = "spheres"
    energy_scale = "toy"

    def open(self, device: str) -> RelaxerSession:  # noqa: ARG002 - runs anywhere
        """Return a session; nothing to load."""
        return _SpheresSession(single_point=self.max_steps == 0)


class _ClosePackingHull(Hull):
    def __init__(self, heaviest: int) -> None:
        self._heaviest = heaviest

    def distance(self, crystal: Crystal, energy: float) -> float:
        if int(crystal.numbers.max()) > self._heaviest:
            raise OutsideHull(
                f"atomic number {int(crystal.numbers.max())} has no reference; the toy hull ends "
                f"at {self._heaviest}"
            )
        return energy / crystal.n_sites + float(CLOSEST_PACKING)


class ClosePacking(HullReference):
    """Every element as closest packed spheres, 0.7405 eV per site below nothing."""

    name = "close_packing"
    energy_scale = "toy"

    heaviest: int = 94
    """Last atomic number with a reference."""

    def open(self, relaxer: Relaxer) -> Hull:  # noqa: ARG002 - the same for every potential
        """Return the hull."""
        return _ClosePackingHull(self.heaviest)


class Packing(Evaluator):
    """Filled fraction at contact, and how many samples have no overlapping spheres."""

    name = "packing"

    def measure(self, cohort: Cohort) -> Measurement:
        """Return both; samples without a crystal count as overlapping."""
        filled: list[float | str | bool | None] = []
        apart: list[float | str | bool | None] = []
        for crystal in [*cohort.crystals, *[None] * (cohort.asked - len(cohort.samples))]:
            filled.append(None if crystal is None else packing(crystal))
            apart.append(None if crystal is None else contact(crystal) >= 1)
        known = [value for value in filled if isinstance(value, float)]
        return Measurement(
            asked=cohort.asked,
            per_sample={"packing": filled, "apart": apart},
            summary={
                "mean_packing": sum(known) / len(known) if known else None,
                "apart": apart.count(True) / cohort.asked if cohort.asked else None,
            },
            units={"mean_packing": "A3/A3", "packing": "A3/A3", "apart": ""},
        )


class Dense(Reward):
    """The filled fraction at contact; 0 for a sample without a crystal."""

    name = "dense"

    def open(self, device: str) -> Callable[[Sequence[Sample]], Sequence[float]]:  # noqa: ARG002 - runs anywhere
        """Return the scoring function; nothing to load."""

        def score(samples: Sequence[Sample]) -> Sequence[float]:
            return [0.0 if s.crystal is None else packing(s.crystal) for s in samples]

        return score
