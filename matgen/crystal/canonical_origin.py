"""Which of the equivalent descriptions of a crystal is taken: axes, and where the origin lies.

A primitive reduced cell can still be laid over a crystal in several ways: a cubic lattice has 24
sets of like axes, and the tables' origin may be shifted by whatever leaves the form of all symmetry
operations as it is (for an inversion centre by halves of lattice vectors; along a polar axis by
anything). Of all of them one is chosen by a number that depends on the description alone, smoothly,
so that noise does not change the choice: the heavier the sites near the origin, the larger it is.

Axis letters: N sites, G rotations, S shifts, C copies, K changes of basis.
"""

from __future__ import annotations

import itertools
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from matgen.crystal.symmetry import Symmetry
from matgen.records import Crystal

DENOMINATOR = 12
"""Shifts that keep the form of the operations are twelfths: halves, thirds, quarters, sixths."""
_SOFTER = 0.1
"""Weight of what only tells descriptions apart that agree in how far sites are from the origin."""
_HARMONICS = np.array(
    [[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0], [1, 0, 1], [0, 1, 1],
     [1, -1, 0], [1, 0, -1], [0, 1, -1], [1, 1, 1], [2, 1, 0], [0, 2, 1], [1, 0, 2]],
    dtype=np.float64,
)  # fmt: skip
_COSINES = (
    np.array([1, 1, 1, *[0] * 10])
    + _SOFTER * np.sqrt([31, 11, 2, 3, 5, 7, 13, 17, 19, 23, 29, 37, 41]) / 6
)
_SINES = _SOFTER * np.sqrt([43, 23, 5, 3, 11, 17, 29, 2, 13, 19, 7, 31, 37]) / 6


def best_description(
    crystal: Crystal, symmetry: Symmetry, changes: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the change of basis to take and the origin, in coordinates before the change.

    Args:
        crystal: In a primitive reduced cell.
        symmetry: In the same cell.
        changes: (K, 3, 3) changes to cells of the same form.

    Returns:
        (3, 3) change and (3,) origin: the new coordinates are ``(frac - origin) @ inv(change)``.
    """
    origins = _origins(crystal, symmetry)
    scores = _scores(crystal.frac, crystal.numbers / crystal.numbers.sum(), origins, changes)
    # Descriptions that a symmetry operation makes equal differ by rounding: the first of them.
    best = np.flatnonzero(scores > scores.max() - 1e-9)
    states = crystal.oxidation
    if states is not None and (states != states[0]).any():
        # Equal but for oxidation states, it is the states that tell: each number its own weight.
        alike = np.flatnonzero(scores > scores.max() - 1e-6)
        by_state = _scores(crystal.frac, states / 8.0, origins, changes)[alike]
        best = alike[by_state > by_state.max() - 1e-9]
    chosen, place = divmod(int(best[0]), len(origins))
    return changes[chosen], origins[place]


def _origins(crystal: Crystal, symmetry: Symmetry) -> NDArray[np.float64]:
    """Return every origin that gives the operations the form they have."""
    shifts, polar, copies = _freedom(symmetry.rotations.astype(np.int8).tobytes())
    origins = symmetry.origin + shifts
    if not polar.any():
        return origins
    # Level with a site of the rarest element, or with any of its copies.
    anchors = crystal.frac[_anchors(crystal.numbers)]
    level = (anchors[:, None, :] - origins[None, :, :]) @ polar.T
    placed = (origins + level)[:, :, None, :] + copies
    return np.reshape(placed, (-1, 3))


def _scores(
    frac: NDArray[np.float64],
    weights: NDArray[np.float64],
    origins: NDArray[np.float64],
    changes: NDArray[np.int64],
) -> NDArray[np.float64]:
    """Return (changes × origins) numbers: a smooth function of all sites of each description."""
    inverse = np.rint(np.linalg.inv(changes))
    # Harmonics are taken in each new basis.
    waves = np.einsum("kij,hj->khi", inverse, _HARMONICS).reshape(-1, 3)
    structure = np.exp(2j * np.pi * (waves @ frac.T)) @ weights
    factors = structure[:, None] * np.exp(-2j * np.pi * (waves @ origins.T))
    factors = factors.reshape(len(changes), len(_HARMONICS), len(origins))
    scores = np.einsum("kho,h->ko", factors.real, _COSINES)
    scores += np.einsum("kho,h->ko", factors.imag, _SINES)
    return np.ravel(scores)


def _anchors(numbers: NDArray[np.int64]) -> NDArray[np.intp]:
    """Return the sites of the rarest element, the heaviest of several."""
    elements, counts = np.unique(numbers, return_counts=True)
    rarest = elements[counts == counts.min()][-1]
    return np.flatnonzero(numbers == rarest)


@lru_cache(maxsize=4096)
def _freedom(
    rotations: bytes,
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return how the origin may move without changing the form of any operation.

    Args:
        rotations: (G, 3, 3) int8 rotations of a space group in a primitive cell, as bytes.

    Returns:
        (S, 3) shifts, apart from lattice vectors and movements along polar directions; the (3, 3)
        projection of columns onto those directions, 0 where there is none; and the (C, 3) parts of
        lattice vectors along them, apart from whole lattice vectors.
    """
    group = np.frombuffer(rotations, dtype=np.int8).reshape(-1, 3, 3).astype(np.float64)
    polar = np.round(group.mean(axis=0), 12)
    grid = np.array(list(itertools.product(range(DENOMINATOR), repeat=3))) / DENOMINATOR
    moved = np.einsum("gij,vj->vgi", group - np.eye(3), grid)
    keeps = (abs(moved - np.rint(moved)) < 1e-6).all(axis=(1, 2))
    lattice = np.array(list(itertools.product(range(-2, 3), repeat=3)), dtype=np.float64)
    shifts = _distinct(grid[keeps], lattice @ (np.eye(3) - polar).T, np.eye(3) - polar)
    return shifts, polar, _distinct(lattice @ polar.T, lattice, np.eye(3))


def _distinct(
    vectors: NDArray[np.float64], lattice: NDArray[np.float64], seen: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return those of the vectors that, as ``seen`` shows them, differ by no lattice vector."""
    kept: list[NDArray[np.float64]] = []
    for vector in vectors:
        apart = (seen @ (vector - other) - lattice for other in kept)
        if not any((abs(difference) < 1e-6).all(axis=1).any() for difference in apart):
            kept.append(vector)
    return np.array(kept)
