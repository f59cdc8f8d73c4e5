"""The paper's four orderings: high, low, xyz, random.

Keys see quantised coordinates, so what ties in the tokens ties here and the order is the same for
every description of a crystal that gives the same tokens.

Source: Materium, arXiv:2512.07486, section on orderings. "high" is "the heaviest first".
Deviates: ties of high run in ascending position, where reversing the whole list of low would run
them downward; and by position alone, where oxidation state coming first would let an assignment
change the order of equal elements.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from matgen import Crystal, Ordering, SortedOrdering

if TYPE_CHECKING:
    from matgen.roles.ordering import ElementOrder


class High(SortedOrdering):
    """Heaviest element first; ties by x, y, z ascending."""

    name = "high"
    cites = ("Materium, arXiv:2512.07486",)

    def keys(self, crystal: Crystal) -> tuple[NDArray[np.generic], ...]:
        """Return (−Z, x, y, z)."""
        return (-crystal.numbers, *crystal.frac.T)

    @property
    def element_order(self) -> ElementOrder:
        """Heaviest first."""
        return "heaviest_first"


class Low(SortedOrdering):
    """Lightest element first; ties by x, y, z ascending."""

    name = "low"
    cites = ("Materium, arXiv:2512.07486",)

    def keys(self, crystal: Crystal) -> tuple[NDArray[np.generic], ...]:
        """Return (Z, x, y, z)."""
        return (crystal.numbers, *crystal.frac.T)

    @property
    def element_order(self) -> ElementOrder:
        """Lightest first."""
        return "lightest_first"


class Xyz(SortedOrdering):
    """By position: x, then y, then z; ties by Z."""

    name = "xyz"
    cites = ("Materium, arXiv:2512.07486",)

    def keys(self, crystal: Crystal) -> tuple[NDArray[np.generic], ...]:
        """Return (x, y, z, Z)."""
        return (*crystal.frac.T, crystal.numbers)


class Random(Ordering):
    """A random permutation of the sites."""

    name = "random"
    cites = ("Materium, arXiv:2512.07486",)

    redraw: Literal["never", "epoch"] = "never"
    """``never``: one permutation per crystal, drawn once (the paper); ``epoch``: a fresh one each
    epoch, which augments the data."""

    @property
    def stochastic(self) -> bool:
        """Whether a fresh permutation is drawn each epoch."""
        return self.redraw == "epoch"

    def permutation(self, items: Crystal, rng: np.random.Generator) -> NDArray[np.int64]:
        """Return a uniformly random permutation from the crystal's own stream."""
        return rng.permutation(items.n_sites).astype(np.int64)
