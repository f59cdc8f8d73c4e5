"""Role: in which order the sites of a crystal are written."""

from __future__ import annotations

from abc import abstractmethod
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from matgen.records import Crystal
from matgen.roles.component import Component

ElementOrder: TypeAlias = Literal["none", "heaviest_first", "lightest_first"]


class Ordering(Component):
    """Puts the items of a crystal (sites, or orbits of a Wyckoff representation) in order."""

    @property
    def stochastic(self) -> bool:
        """Whether a crystal gets a fresh permutation each epoch (the loader then encodes)."""
        return False

    @property
    def element_order(self) -> ElementOrder:
        """Which order of the elements every sequence keeps, so that constraints keep it as well.

        With ``heaviest_first`` atomic numbers never rise along a sequence, with ``lightest_first``
        they never fall; with ``none`` they may do either.
        """
        return "none"

    @abstractmethod
    def permutation(self, items: Crystal, rng: np.random.Generator) -> NDArray[np.int64]:
        """Return the order in which to write the items.

        Args:
            items: What ``Representation.items`` gives: one site per item, coordinates already
                quantised, so that equal tokens tie.
            rng: The crystal's own stream; deterministic orderings leave it alone.

        Returns:
            (N,) indices, a permutation.
        """


class SortedOrdering(Ordering):
    """An ordering by sort keys; write ``keys`` and nothing else."""

    @abstractmethod
    def keys(self, crystal: Crystal) -> tuple[NDArray[np.generic], ...]:
        """Return (N,) arrays, most significant first, sorted ascending."""

    def permutation(self, items: Crystal, rng: np.random.Generator) -> NDArray[np.int64]:  # noqa: ARG002 - the role's signature
        """Return the stable order of ``keys``; what still ties keeps the order it came in."""
        return np.lexsort(self.keys(items)[::-1]).astype(np.int64)
