"""Reduced bases of a lattice: the Niggli cell, and every basis that is as good within a tolerance.

Axis letters: M candidate matrices, K those that fit.
"""

from __future__ import annotations

import itertools
from functools import cache

import numpy as np
from numpy.typing import NDArray

from matgen.errors import BadCrystal

NIGGLI_EPS = 1e-5
"""Scalar products that differ by less than this times volume^(2/3) are equal; float32 files of
real crystals are within 1e-6."""
ALIKE_EPS = 5e-4
"""The same where bases are alike: about 0.001 Å and 0.03° in small cells, more than the noise of a
file and less than half a bin of the tokens."""


def is_niggli(lattice: NDArray[np.float64], eps: float = NIGGLI_EPS) -> bool:
    """Whether the rows of a (3, 3) lattice are a Niggli cell.

    Args:
        eps: Relative to volume^(2/3); see ``NIGGLI_EPS``.

    Source: International Tables for Crystallography A, section 9.2.2 (2002 edition), the main and
    special conditions; with a tolerance as Grosse-Kunstleve, Sauter and Adams, Acta Cryst. A60, 1
    (2004).
    """
    scale = abs(float(np.linalg.det(lattice))) ** (2.0 / 3.0)
    return bool(_niggli_mask(_metric(lattice)[None] / scale, eps)[0])


def reduced_bases(lattice: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return (K, 3, 3) whole-number changes of basis, each to a right-handed Niggli cell.

    Cells that differ by less than ``ALIKE_EPS`` are alike: one lattice with its noise must not
    have one cell and then another. All changes lead to alike cells (equal metric within the
    tolerance); for a lattice of low symmetry there is one, for a cubic one 24. ``change @ lattice``
    is the new cell.

    Args:
        lattice: (3, 3), rows, right-handed, not singular.

    Raises:
        BadCrystal: the lattice cannot be reduced.
    """
    scaled = lattice / abs(float(np.linalg.det(lattice))) ** (1.0 / 3.0)
    first = _minkowski(scaled)
    matrices, to_metrics, vectors, to_lengths = _unimodular()
    metric = _metric(first @ scaled)
    lengths = to_lengths @ metric
    shortest = np.sort(metric[:3])
    near = lengths[:, None] <= shortest + ALIKE_EPS
    fits = near[vectors[:, 0], 0] & near[vectors[:, 1], 1] & near[vectors[:, 2], 2]
    chosen = np.flatnonzero(fits)
    metrics = to_metrics[chosen] @ metric
    for eps in (ALIKE_EPS, NIGGLI_EPS):
        niggli = _niggli_mask(metrics, eps)
        if niggli.any():
            chosen, metrics = chosen[niggli], metrics[niggli]
            break
    # On a border no cell may meet conditions that are loosened one by one; then any of the shortest
    # vectors will do, for the choice below is by their metric alone. Likewise where several fit.
    for column in range(6):
        values = metrics[:, column]
        best = values <= values.min() + ALIKE_EPS
        chosen, metrics = chosen[best], metrics[best]
    changes: NDArray[np.int64] = matrices[chosen] @ first
    return changes


def _minkowski(lattice: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the change of basis to short vectors, right-handed."""
    from moyopy import minkowski_reduce

    try:
        _, transformation = minkowski_reduce(lattice.tolist())
    except ValueError as error:
        raise BadCrystal(f"the lattice cannot be reduced: {error}") from None
    return np.array(transformation, dtype=np.int64).T


def _metric(lattice: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return (6,) a·a, b·b, c·c, 2 b·c, 2 a·c, 2 a·b."""
    gram = lattice @ lattice.T
    return np.array(
        [
            gram[0, 0],
            gram[1, 1],
            gram[2, 2],
            gram[1, 2] + gram[2, 1],
            gram[0, 2] + gram[2, 0],
            gram[0, 1] + gram[1, 0],
        ]
    )


@cache
def _unimodular() -> tuple[
    NDArray[np.int64], NDArray[np.float64], NDArray[np.int64], NDArray[np.float64]
]:
    """Return every matrix of -1, 0 and 1 with determinant 1, and what it does to a metric.

    Every Buerger cell is such a matrix times a Minkowski-reduced basis.

    Returns:
        (M, 3, 3) matrices; (M, 6, 6) maps of metrics; (M, 3) which of the V vectors each row is;
        (V, 6) maps from a metric to the squared length of each vector.
    """
    vectors = np.array(list(itertools.product((-1, 0, 1), repeat=3)), dtype=np.int64)
    triples = np.array(list(itertools.product(range(len(vectors)), repeat=3)), dtype=np.int64)
    matrices = vectors[triples]
    proper = np.rint(np.linalg.det(matrices)) == 1
    triples, matrices = triples[proper], matrices[proper]
    pairs = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))
    maps = np.empty((len(matrices), 6, 6))
    lengths = np.empty((len(vectors), 6))
    for column, (i, j) in enumerate(pairs):
        # The metric tensor that has a one in this place of the six: half each off the diagonal.
        unit = np.zeros((3, 3))
        unit[i, j] += 0.5
        unit[j, i] += 0.5
        transformed = matrices @ unit @ matrices.transpose(0, 2, 1)
        for row, (k, m) in enumerate(pairs):
            maps[:, row, column] = transformed[:, k, m] * (1.0 if k == m else 2.0)
        lengths[:, column] = np.einsum("vi,ij,vj->v", vectors, unit, vectors)
    return matrices, maps, triples, lengths


def _niggli_mask(metrics: NDArray[np.float64], e: float) -> NDArray[np.bool_]:
    """Return (K,) whether each of (K, 6) metrics of unit volume meets Niggli's conditions."""
    a, b, c, xi, eta, zeta = metrics.T
    main = (a <= b + e) & (b <= c + e)
    main &= (abs(xi) <= b + e) & (abs(eta) <= a + e) & (abs(zeta) <= a + e)
    acute = (xi > e) & (eta > e) & (zeta > e)
    obtuse = (xi <= e) & (eta <= e) & (zeta <= e)
    same_ab, same_bc = abs(a - b) <= e, abs(b - c) <= e
    fails_acute = (
        (same_ab & (xi > eta + e))
        | (same_bc & (eta > zeta + e))
        | ((abs(xi - b) <= e) & (zeta > 2.0 * eta + e))
        | ((abs(eta - a) <= e) & (zeta > 2.0 * xi + e))
        | ((abs(zeta - a) <= e) & (eta > 2.0 * xi + e))
    )
    total = a + b + xi + eta + zeta
    fails_obtuse = (
        (total < -e)
        | (same_ab & (-xi > -eta + e))
        | (same_bc & (-eta > -zeta + e))
        | ((abs(xi + b) <= e) & (zeta < -e))
        | ((abs(eta + a) <= e) & (zeta < -e))
        | ((abs(zeta + a) <= e) & (eta < -e))
        | ((abs(total) <= e) & (2.0 * (a + eta) + zeta > e))
    )
    mask: NDArray[np.bool_] = main & ((acute & ~fails_acute) | (obtuse & ~fails_obtuse))
    return mask
