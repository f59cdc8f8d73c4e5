"""Many crystals checked at once: those in order are told apart from those to look at one by one.

Axis letters: R crystals, T sites of all of them, P pairs of sites, N sites of one crystal.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from matgen.crystal.checks import FLAT
from matgen.elements import HEAVIEST

_PAIRS_AT_ONCE = 2**20
"""Bounds the memory for distances, 24 bytes a pair several times over."""


def sound_rows(
    lattices: NDArray[np.float64],
    ends: NDArray[np.int64],
    numbers: NDArray[np.int64],
    frac: NDArray[np.float64],
    max_sites: int,
    *,
    min_distance: float = 0.5,
) -> NDArray[np.bool_]:
    """Return (R,) whether ``check_crystal`` is sure to accept a crystal.

    False says nothing: the crystal may be fine in a cell that needs more care.

    Args:
        lattices: (R, 3, 3), Å.
        ends: (R + 1,) where the sites of each crystal begin, and the end.
        numbers: (T,) atomic numbers.
        frac: (T, 3) fractional coordinates.
        max_sites: Crystals with more sites are not looked at.
        min_distance: As for ``check_crystal``, Å.
    """
    n_sites = np.diff(ends)
    sound: NDArray[np.bool_] = (n_sites > 0) & (n_sites <= max_sites)
    bad_site = (numbers < 1) | (numbers > HEAVIEST) | ~np.isfinite(frac).all(axis=1)
    sound[np.repeat(np.arange(len(n_sites)), n_sites)[bad_site]] = False
    sound &= np.isfinite(lattices).all(axis=(1, 2))
    sound &= _roomy(np.where(sound[:, None, None], lattices, np.eye(3)), 2.0 * min_distance)
    # Crystals of one size have distances of one shape.
    for size in np.unique(n_sites[sound]).tolist():
        rows = np.flatnonzero(sound & (n_sites == size))
        step = max(1, _PAIRS_AT_ONCE // (size * size))
        for first in range(0, len(rows), step):
            some = rows[first : first + step]
            sites = frac[ends[some][:, None] + np.arange(size)]
            sound[some] = _apart(lattices[some], sites, min_distance)
    return sound


def _roomy(lattices: NDArray[np.float64], spacing: float) -> NDArray[np.bool_]:
    """Return (R,) whether a cell has volume and no two of its planes are nearer than a spacing."""
    a, b, c = lattices[:, 0], lattices[:, 1], lattices[:, 2]
    normals = np.stack([np.cross(b, c), np.cross(c, a), np.cross(a, b)], axis=1)
    volumes = np.abs(np.einsum("rx,rx->r", a, normals[:, 0]))
    lengths = np.linalg.norm(lattices, axis=2)
    has_volume = volumes > FLAT * lengths.prod(axis=1)
    # Compared as products: a flat cell has no spacing to divide by.
    wide = volumes[:, None] >= spacing * np.linalg.norm(normals, axis=2)
    sound: NDArray[np.bool_] = has_volume & wide.all(axis=1)
    return sound


def _apart(
    lattices: NDArray[np.float64], frac: NDArray[np.float64], limit: float
) -> NDArray[np.bool_]:
    """Return (R,) whether all (R, N, 3) sites of a roomy cell keep their distance."""
    n_sites = frac.shape[1]
    first, second = np.triu_indices(n_sites, k=1)
    if not len(first):
        return np.ones(len(frac), dtype=np.bool_)
    difference = frac[:, first] - frac[:, second]
    difference -= np.round(difference)
    cartesian = difference @ lattices
    squared = np.einsum("rpx,rpx->rp", cartesian, cartesian)
    apart: NDArray[np.bool_] = squared.min(axis=1) >= limit * limit
    return apart
