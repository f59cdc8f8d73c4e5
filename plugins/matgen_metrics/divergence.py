"""Distances between two distributions: Jensen-Shannon, Wasserstein, maximum mean discrepancy.

Axis letters: K classes, N and M values.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats: TypeAlias = NDArray[np.float64]

_PAIRS_AT_ONCE: Final = 4_000_000
"""Kernel values held at a time, 32 MB: 15,000 values against themselves would be 1.8 GB."""


def jensen_shannon(counts_K: ArrayLike, other_K: ArrayLike) -> float | None:
    """Return the Jensen-Shannon distance, 0 to sqrt(ln 2), of two histograms over the same classes.

    It is the square root of the divergence, with natural logarithms. None where one is empty.

    Source: Endres and Schindelin, IEEE Trans. Inf. Theory 49, 1858 (2003); as in scipy.
    """
    one, other = (np.asarray(counts, dtype=np.float64) for counts in (counts_K, other_K))
    if one.sum() <= 0 or other.sum() <= 0:
        return None
    one, other = one / one.sum(), other / other.sum()
    middle = (one + other) / 2.0
    divergence = (_relative_entropy(one, middle) + _relative_entropy(other, middle)) / 2.0
    return float(np.sqrt(max(0.0, divergence)))


def wasserstein(values_N: ArrayLike, other_M: ArrayLike) -> float | None:
    """Return the Wasserstein-1 distance of two samples, in their unit; None where one is empty.

    The area between the two cumulative distributions.
    """
    one, other = (np.sort(np.asarray(v, dtype=np.float64)) for v in (values_N, other_M))
    if not len(one) or not len(other):
        return None
    both = np.sort(np.concatenate([one, other]))
    shares = [np.searchsorted(v, both[:-1], side="right") / len(v) for v in (one, other)]
    return float(np.sum(np.abs(shares[0] - shares[1]) * np.diff(both)))


def mean_discrepancy(
    values_N: ArrayLike, other_M: ArrayLike, *, sigma: float = 1.0
) -> float | None:
    """Return the squared maximum mean discrepancy of two samples; None where one is empty.

    The biased estimate with a Gaussian kernel. Memory stays flat: rows of the kernel matrix are
    made and added up a few at a time.

    Args:
        sigma: Width of the kernel, in the unit of the values.

    Source: Gretton et al., J. Mach. Learn. Res. 13, 723 (2012), equation 5.
    """
    one, other = (np.asarray(values, dtype=np.float64) for values in (values_N, other_M))
    if not len(one) or not len(other):
        return None
    return (
        _mean_kernel(one, one, sigma)
        + _mean_kernel(other, other, sigma)
        - 2.0 * _mean_kernel(one, other, sigma)
    )


def histogram(classes: Sequence[int], n_classes: int) -> Floats:
    """Return (K,) how often each class 1 to ``n_classes`` occurs."""
    counted = np.bincount(np.asarray(classes, dtype=np.int64), minlength=n_classes + 1)
    return counted[1 : n_classes + 1].astype(np.float64)


def _relative_entropy(one: Floats, middle: Floats) -> float:
    present = one > 0
    return float(np.sum(one[present] * np.log(one[present] / middle[present])))


def _mean_kernel(one: Floats, other: Floats, sigma: float) -> float:
    rows = max(1, _PAIRS_AT_ONCE // len(other))
    total = 0.0
    for start in range(0, len(one), rows):
        squared = np.square(one[start : start + rows, None] - other[None, :])
        total += float(np.exp(squared / (-2.0 * sigma**2)).sum())
    return total / (len(one) * len(other))
