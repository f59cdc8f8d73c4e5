"""How far each of some points is from the nearest of others, both ways, in flat memory.

Axis letters: N and M points, D dimensions.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from matgen_metrics.divergence import Floats

_PAIRS_AT_ONCE: Final = 4_000_000
"""Distances held at a time, 32 MB."""


def nearest_distances(points_ND: Floats, others_MD: Floats) -> tuple[Floats, Floats]:
    """Return (N,) Euclidean distances to the nearest other, and (M,) to the nearest point.

    Infinite where there is nothing on the other side.
    """
    from scipy.spatial.distance import cdist

    to_others = np.full(len(points_ND), np.inf)
    to_points = np.full(len(others_MD), np.inf)
    if not len(points_ND) or not len(others_MD):
        return to_others, to_points
    rows = max(1, _PAIRS_AT_ONCE // len(others_MD))
    for start in range(0, len(points_ND), rows):
        distances = cdist(points_ND[start : start + rows], others_MD)
        to_others[start : start + rows] = distances.min(axis=1)
        np.minimum(to_points, distances.min(axis=0), out=to_points)
    return to_others, to_points


def mean_pairwise(points_ND: Floats) -> float | None:
    """Return the mean Euclidean distance of two different points; None below two."""
    from scipy.spatial.distance import cdist

    n = len(points_ND)
    if n < 2:
        return None
    rows = max(1, _PAIRS_AT_ONCE // n)
    total = sum(
        float(cdist(points_ND[start : start + rows], points_ND).sum())
        for start in range(0, n, rows)
    )
    return total / (n * (n - 1))
