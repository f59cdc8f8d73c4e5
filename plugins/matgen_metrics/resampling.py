"""Distances of two samples with the spread that another draw of both would have.

Axis letters: N and M crystals, K classes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeAlias

import numpy as np

from matgen_metrics.divergence import Floats, jensen_shannon

Weighted: TypeAlias = Callable[[Floats, Floats], float]
"""A distance as a function of how often each crystal of either side counts."""

_SEED: Final = 0
"""The same crystals give the same interval."""


def weighted_wasserstein(values_N: Floats, other_M: Floats) -> Weighted:
    """Return the Wasserstein-1 distance of two samples for any weights; sorted only once."""
    both = np.concatenate([values_N, other_M])
    order = np.argsort(both, kind="stable")
    gaps = np.diff(both[order])

    def distance(weights_N: Floats, weights_M: Floats) -> float:
        shares = np.concatenate([weights_N / weights_N.sum(), -weights_M / weights_M.sum()])
        return float(np.sum(np.abs(np.cumsum(shares[order])[:-1]) * gaps))

    return distance


def weighted_jensen_shannon(classes_NK: Floats, other_MK: Floats) -> Weighted:
    """Return the Jensen-Shannon distance of two histograms for any weights.

    Args:
        classes_NK: What each crystal adds to each class.
        other_MK: The same of the other side.
    """

    def distance(weights_N: Floats, weights_M: Floats) -> float:
        found = jensen_shannon(weights_N @ classes_NK, weights_M @ other_MK)
        return 0.0 if found is None else found

    return distance


def with_interval(
    distance: Weighted, n_one: int, n_other: int, resamples: int
) -> tuple[float, tuple[float, float] | None]:
    """Return a distance and its 95 % interval: the spread over bootstrap draws of both sides.

    A distance of two draws of one distribution is not zero, and that of a bootstrap draw is larger
    again. The interval is centred on the value itself, so it tells the spread and not that offset.

    Args:
        distance: Of two samples that are not empty.
        n_one: Crystals on one side.
        n_other: Crystals on the other.
        resamples: Draws; below two there is no interval.
    """
    value = distance(np.ones(n_one), np.ones(n_other))
    if resamples < 2:
        return value, None
    rng = np.random.default_rng(_SEED)
    found = np.array([distance(_drawn(rng, n_one), _drawn(rng, n_other)) for _ in range(resamples)])
    low, high = value + np.quantile(found - found.mean(), [0.025, 0.975])
    return value, (max(0.0, float(low)), float(high))


def _drawn(rng: np.random.Generator, n: int) -> Floats:
    return rng.multinomial(n, np.full(n, 1.0 / n)).astype(np.float64)
