"""95 % intervals for the figures of a report."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import numpy as np

from matgen.evaluation.columns import numbers
from matgen.records import Measurement

_Z: Final = 1.959963984540054
"""Standard normal quantile of 0.975."""
_RESAMPLES: Final = 1000
_SEED: Final = 0
"""The same samples give the same interval."""


def wilson(successes: int, asked: int) -> tuple[float, float]:
    """Return the Wilson score interval of a rate.

    Args:
        successes: Of ``asked`` trials, which must be at least one.

    Source: Wilson, J. Am. Stat. Assoc. 22, 209 (1927).
    """
    rate = successes / asked
    weight = _Z**2 / asked
    centre = (rate + weight / 2) / (1 + weight)
    half = _Z * math.sqrt(rate * (1 - rate) / asked + weight / (4 * asked)) / (1 + weight)
    # At 0 and at `asked` rounding may step over the edge by one unit in the last place.
    return max(0.0, min(centre - half, rate)), min(1.0, max(centre + half, rate))


def bootstrap(values: Sequence[float], statistic: str) -> tuple[float, float] | None:
    """Return the percentile interval of the mean or median; None below two values."""
    if len(values) < 2:
        return None
    rng = np.random.default_rng(_SEED)
    data = np.asarray(values, dtype=np.float64)
    reduce = np.mean if statistic == "mean" else np.median
    found = [float(reduce(data[rng.integers(0, len(data), len(data))])) for _ in range(_RESAMPLES)]
    low, high = np.quantile(found, [0.025, 0.975])
    return float(low), float(high)


def interval(measurement: Measurement, figure: str) -> tuple[float, float] | None:
    """Return the 95 % interval of one summary figure, None where none can be given.

    An evaluator's own interval comes first. A figure named like a column of flags is a rate over
    the samples asked for; one named ``<column>_mean`` or ``<column>_median`` is resampled from its
    column.
    """
    if figure in measurement.intervals:
        return measurement.intervals[figure]
    value = measurement.summary.get(figure)
    if value is None or not measurement.asked:
        return None
    column = measurement.per_sample.get(figure)
    if column is not None and all(cell is None or isinstance(cell, bool) for cell in column):
        return wilson(sum(cell is True for cell in column), measurement.asked)
    name, _, statistic = figure.rpartition("_")
    if statistic in {"mean", "median"} and name in measurement.per_sample:
        return bootstrap(numbers(measurement.per_sample[name]), statistic)
    return None
