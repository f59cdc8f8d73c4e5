"""Random numbers for sampling: those of sample i depend on (run seed, i, draw) and nothing else."""

from __future__ import annotations

import torch
from torch import Tensor

_GAMMA = -7046029254386353131  # 0x9E3779B97F4A7C15 as a signed 64-bit integer
_MIX_1 = -4658895280553007687  # 0xBF58476D1CE4E5B9
_MIX_2 = -7723592293110705685  # 0x94D049BB133111EB


class Streams:
    """Counter-based uniform numbers, on any device without host synchronisation.

    Source: Steele, Lea, Flood, "Fast splittable pseudorandom number generators" (OOPSLA 2014),
    the SplitMix64 finaliser, keyed by seed, sample index and draw number.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def uniform(self, indices: Tensor, draws: Tensor | int, *, salt: Tensor | int = 0) -> Tensor:
        """Return (B,) float64 in the open interval (0, 1).

        Args:
            indices: (B,) int64 sample indices.
            draws: (B,) int64 or one number: which draw of the sample this is (its length, say).
            salt: Tells apart several numbers of one draw; one number, or (B,) int64.
        """
        key = _mix(torch.full_like(indices, self.seed) * _GAMMA + salt)
        key = _mix(key + indices * _GAMMA)
        if isinstance(draws, int):
            draws = torch.full_like(indices, draws)  # the product must wrap around at 64 bits
        key = _mix(key + draws * _GAMMA)
        # 52 bits and a half: with 53 the largest would round to 1.
        return (_shift_right(key, 12).double() + 0.5) * 2.0**-52


def _shift_right(x: Tensor, bits: int) -> Tensor:
    """Logical shift; torch's ``>>`` on int64 keeps the sign."""
    return (x >> bits) & ((1 << (64 - bits)) - 1)


def _mix(x: Tensor) -> Tensor:
    x = (x ^ _shift_right(x, 30)) * _MIX_1
    x = (x ^ _shift_right(x, 27)) * _MIX_2
    return x ^ _shift_right(x, 31)
