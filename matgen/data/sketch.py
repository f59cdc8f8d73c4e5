"""How the values of a condition are distributed, in a few numbers and flat memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

_TAIL: Final = (0.0, 1e-4, 3e-4, 1e-3, 3e-3)
LEVELS: Final[NDArray[np.float64]] = np.array(
    [*_TAIL, *np.arange(1, 200) / 200, *(1 - level for level in reversed(_TAIL))]
)
"""Shares of the values that lie below each quantile: 0 to 1, finer at both ends."""
_MOST: Final = 200_000


class Sketch:
    """Values, thinned evenly when they are many; what is left is spread as all of them were."""

    def __init__(self) -> None:
        self._kept: list[NDArray[np.float32]] = []
        self._n_kept = 0
        self._every = 1
        self._seen = 0

    def add(self, values: Sequence[float]) -> None:
        """Take in values, none of them NaN."""
        first = -self._seen % self._every
        self._seen += len(values)
        self._keep([*self._kept, np.asarray(values, dtype=np.float32)[first :: self._every]])
        while self._n_kept > _MOST:
            self._every *= 2
            self._keep([np.concatenate(self._kept)[::2]])

    def quantiles(self) -> list[float]:
        """Return the quantiles at ``LEVELS``."""
        found: list[float] = np.quantile(np.concatenate(self._kept), LEVELS).tolist()
        return found

    def _keep(self, kept: list[NDArray[np.float32]]) -> None:
        self._kept = kept
        self._n_kept = sum(map(len, kept))


def share_near(value: float, quantiles: Sequence[float]) -> tuple[float, float]:
    """Return which share of the values lies near one, and how near that is.

    Near is a fortieth of the span of the middle 99 % to either side.
    """
    points = np.asarray(quantiles)
    low, high = np.interp([0.005, 0.995], LEVELS, points)
    # Where all values are equal, near is a thousandth of the value.
    width = float(high - low) / 40 or abs(value) / 1000 or 1e-9
    ends = np.interp([value - width, value + width], points, LEVELS, left=0.0, right=1.0)
    return float(ends[1] - ends[0]), width
