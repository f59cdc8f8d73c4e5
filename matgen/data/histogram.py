"""Bins for a distribution: round numbers wide, some dozens, without the far tails."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matgen.data.statistics import Distribution

_BINS: Final = 80
_TAIL: Final = 0.001
"""Share of the values on either side that may lie outside, if they stretch the axis."""
_STRETCH: Final = 1.5
_UNEVEN: Final = 30
_NOISE: Final = 1e-9
"""Values nearer to zero than this share of the range are zero: no bin for -4e-14 eV/atom."""
_MOST_WHOLE: Final = 60


@dataclass(frozen=True, eq=False, slots=True)
class Histogram:
    """Counts between edges.

    Attributes:
        edges: (b + 1,) ascending.
        counts: (b,) values from an edge to the next, the upper one excluded.
        outside: Values beyond the first or last edge.
        whole: Whether every value is a whole number.
    """

    edges: NDArray[np.float64]
    counts: NDArray[np.int64]
    outside: int
    whole: bool = False

    @property
    def uneven(self) -> bool:
        """Whether one bin would dwarf the others on a linear axis."""
        filled = self.counts[self.counts > 0]
        return len(filled) > 1 and filled.max() > _UNEVEN * float(np.median(filled))


def histogram(
    values: Distribution, *, edges: NDArray[np.float64] | None = None, centred: bool = False
) -> Histogram:
    """Return the histogram of a distribution.

    Whole numbers get a bin each, centred, where they are not too many.

    Args:
        edges: Those of another histogram, to compare with.
        centred: Bins lie around the multiples of their width, not between them.
    """
    points, counts = values.points()
    if len(points):
        points = np.where(abs(points) < _NOISE * (points[-1] - points[0]), 0.0, points)
    if edges is None:
        edges = _edges(values, points, centred=centred)
    inside = np.histogram(points, bins=edges, weights=counts)[0]
    # The last bin of numpy includes its upper edge; ours ends beyond every point inside.
    kept = np.round(inside).astype(np.int64)
    return Histogram(edges, kept, int(counts.sum() - kept.sum()), _whole(points))


def _edges(
    values: Distribution, points: NDArray[np.float64], *, centred: bool
) -> NDArray[np.float64]:
    low, high = _shown(values, points) if len(points) else (0.0, 1.0)
    if _whole(points) and high - low <= _MOST_WHOLE:
        return np.arange(low - 0.5, high + 1.0, dtype=np.float64)
    width = _round_width((high - low) / _BINS or abs(low) / _BINS or 1.0)
    offset = 0.5 if centred else 0.0
    first = math.floor(low / width + offset) - offset
    last = math.floor(high / width + offset) + 1 - offset
    return np.asarray((np.arange(round(last - first) + 1) + first) * width, dtype=np.float64)


def _whole(points: NDArray[np.float64]) -> bool:
    return bool((points == np.round(points)).all())


def _shown(values: Distribution, points: NDArray[np.float64]) -> tuple[float, float]:
    """Return the range to show: all, unless a few values stretch it."""
    low, high = values.quantile(_TAIL), values.quantile(1.0 - _TAIL)
    assert low is not None
    assert high is not None
    if points[-1] - points[0] <= _STRETCH * (high - low):
        return float(points[0]), float(points[-1])
    noise = _NOISE * float(points[-1] - points[0])
    return 0.0 if abs(low) < noise else low, high


def _round_width(width: float) -> float:
    """Return the next larger of 1, 2 or 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(width))
    return next(power * step for step in (1, 2, 5, 10) if power * step >= width * (1 - 1e-9))
