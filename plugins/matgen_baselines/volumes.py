"""How much room a composition needs: volumes of the elements that add up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from matgen import Record
from matgen.errors import BadOptions
from matgen.records import Crystal

_N_ELEMENTS = 119
_FEWEST = 5
"""Crystals that must hold an element before its volume counts as known."""


class AtomicVolumes:
    """One volume per element, fitted to known crystals by least squares.

    Relative errors are squared, so that large cells weigh no more than small ones.

    Attributes:
        per_element: (119,) Å³; NaN where too few crystals hold the element, or the fit gives none.
    """

    def __init__(self, known: Sequence[Record]) -> None:
        """Fit.

        Raises:
            BadOptions: no crystal at all.
        """
        if not known:
            raise BadOptions("a generator needs known crystals to start from; the dataset has none")
        counts = np.stack([_counts(record.crystal) for record in known])
        volumes = np.array([record.crystal.volume for record in known])
        held = (counts > 0).sum(axis=0) >= min(_FEWEST, len(known))
        # A crystal with any other element would lend its room to those that it shares.
        whole = counts[:, ~held].sum(axis=1) == 0
        shares = counts[whole][:, held] / volumes[whole, None]
        fit, *_ = np.linalg.lstsq(shares, np.ones(len(shares)))
        self.per_element = np.full(_N_ELEMENTS, np.nan)
        self.per_element[held] = np.where(fit > 0.0, fit, np.nan)

    def volume(self, numbers: NDArray[np.int64]) -> float:
        """Return the expected volume of a cell with these atoms, Å³; NaN where one is unknown."""
        return float(self.per_element[numbers].sum())

    def occupied(
        self, crystal: Crystal, numbers: NDArray[np.int64], oxidation: NDArray[np.int64]
    ) -> Crystal:
        """Return a crystal with other atoms, its cell scaled by what they need and those did.

        Args:
            crystal: Where the sites are.
            numbers: (N,) new atoms, of known volume.
            oxidation: (N,) their oxidation states.
        """
        volume = crystal.volume * self.volume(numbers) / self.volume(crystal.numbers)
        return at_volume(Crystal(crystal.lattice, crystal.frac, numbers, oxidation), volume)


def at_volume(crystal: Crystal, volume: float) -> Crystal:
    """Return a crystal with its cell scaled to a volume, Å³."""
    lattice = crystal.lattice * (volume / crystal.volume) ** (1.0 / 3.0)
    return replace(crystal, lattice=lattice)


def _counts(crystal: Crystal) -> NDArray[np.float64]:
    return np.bincount(crystal.numbers, minlength=_N_ELEMENTS).astype(np.float64)
