"""95 % intervals of the difference of two runs' figures, and which way is better."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

Interval: TypeAlias = tuple[float, float]

_RESAMPLES: Final = 2000
_SEED: Final = 0
"""The same runs give the same interval."""
_HIGHER: Final = (
    "sun", "msun", "stable", "metastable", "on_hull", "unique", "novel", "unique_novel", "valid",
    "relaxed", "converged", "matches_relaxed", "match_rate", "metre", "cov_", "coverage",
    "precision", "recall", "comp_valid", "struct_valid",
)  # fmt: skip
_LOWER: Final = (
    "energy_above_hull", "rmsd", "rmse", "crmse", "metre_rmse", "amsd", "amcd", "jsd", "mmd",
    "wasserstein", "wdist", "frechet",
)  # fmt: skip


def better(figure: str) -> Literal["higher", "lower"] | None:
    """Return which way a figure is better, None where nobody says."""
    if figure.endswith(("_error_mean", "_error_median")):
        return "lower"
    if "_reached" in figure:
        return "higher"
    # The longest name decides: metre_rmse is no metre.
    fitting = [n for n in _HIGHER + _LOWER if figure == n or figure.startswith(_stem(n))]
    if not fitting:
        return None
    return "higher" if max(fitting, key=len) in _HIGHER else "lower"


def of_figures(
    first: float, first_interval: Interval, second: float, second_interval: Interval
) -> Interval:
    """Return the interval of ``second - first`` from the intervals of both.

    With Wilson intervals this is Newcombe's hybrid score interval for two rates.

    Source: Newcombe, Stat. Med. 17, 873 (1998), method 10; Zou and Donner, Stat. Med. 27, 1693
    (2008), for other figures.
    """
    difference = second - first
    (low_1, high_1), (low_2, high_2) = first_interval, second_interval
    below = math.hypot(second - low_2, high_1 - first)
    above = math.hypot(high_2 - second, first - low_1)
    return difference - below, difference + above


def of_samples(first: Sequence[float], second: Sequence[float], statistic: str) -> Interval | None:
    """Return the percentile interval of the difference of means or medians, ``second - first``.

    Args:
        first, second: Values of independent samples.
        statistic: ``mean`` or ``median``.

    Returns:
        None where either has fewer than two values.
    """
    if len(first) < 2 or len(second) < 2:
        return None
    rng = np.random.default_rng(_SEED)
    drawn = [_resampled(values, statistic, rng) for values in (first, second)]
    low, high = np.quantile(drawn[1] - drawn[0], [0.025, 0.975])
    return float(low), float(high)


def _stem(name: str) -> str:
    return name if name.endswith("_") else f"{name}_"


def _resampled(
    values: Sequence[float], statistic: str, rng: np.random.Generator
) -> NDArray[np.float64]:
    data = np.asarray(values, dtype=np.float64)
    reduce = np.mean if statistic == "mean" else np.median
    return np.array(
        [reduce(data[rng.integers(0, len(data), len(data))]) for _ in range(_RESAMPLES)]
    )
