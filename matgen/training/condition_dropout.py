"""Which conditions a crystal trains without, decided by counters instead of a shared generator.

What happens to a crystal in an epoch depends on (seed, epoch, crystal, condition) alone: not on
batch sizes, the order of batches, or where a run was resumed.

Axes: R crystals of a selection, K condition slots.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_GAMMA = 0x9E3779B97F4A7C15
_MIX_1 = 0xBF58476D1CE4E5B9
_MIX_2 = 0x94D049BB133111EB

_ALL = "*"
"""Stands for "all conditions at once"; no label of a condition, which users type before "="."""


def random_keys(
    seed: int, epoch: int, crystals: NDArray[np.int64], label: str
) -> NDArray[np.uint64]:
    """Return (R,) random 64-bit numbers, one per crystal.

    Args:
        seed: Of the run.
        epoch: From 0.
        crystals: (R,) places in the store.
        label: Of a condition; each has numbers of its own.

    Source: Steele, Lea, Flood, "Fast splittable pseudorandom number generators" (OOPSLA 2014), the
    SplitMix64 finaliser, keyed step by step.
    """
    # Arrays, not scalars: numpy warns when a scalar wraps around, which is what is meant here.
    key = np.full(len(crystals), seed, dtype=np.uint64)
    named = zlib.crc32(label.encode())
    for part in (np.array([epoch]), crystals, np.array([named])):
        key = _mix(key + np.uint64(_GAMMA) * (part.astype(np.uint64) + np.uint64(1)))
    return key


def dropped(
    seed: int,
    epoch: int,
    crystals: NDArray[np.int64],
    labels: Sequence[str],
    *,
    each: float,
    together: float,
) -> NDArray[np.bool_]:
    """Return (R, K): which condition is not asked for which crystal.

    Args:
        seed: Of the run.
        epoch: From 0.
        crystals: (R,) places in the store.
        labels: Of the K conditions.
        each: Probability for each condition on its own.
        together: Probability that all are dropped at once, whatever was decided for each.
    """
    lost_RK = np.zeros((len(crystals), len(labels)), dtype=np.bool_)
    for slot, label in enumerate(labels):
        lost_RK[:, slot] = _uniform(random_keys(seed, epoch, crystals, label)) < each
    all_R = _uniform(random_keys(seed, epoch, crystals, _ALL)) < together
    return lost_RK | all_R[:, None]


def _uniform(keys: NDArray[np.uint64]) -> NDArray[np.float64]:
    """Return numbers in [0, 1) from the upper bits."""
    return (keys >> np.uint64(11)).astype(np.float64) * 2.0**-53


def _mix(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    x = (x ^ (x >> np.uint64(30))) * np.uint64(_MIX_1)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(_MIX_2)
    mixed: NDArray[np.uint64] = x ^ (x >> np.uint64(31))
    return mixed
