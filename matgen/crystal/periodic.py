"""Distances under periodic boundaries, exact for any cell.

Axis letters: N sites, M other sites, I images.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from matgen.errors import BadCrystal

MAX_REDUCTIONS = 1000
"""Passes of a lattice reduction; a handful suffice unless the lattice is numerically flat."""

_SHORTER = 1.0 - 1e-12
"""By at least this ratio, or rounding noise between equally short vectors would go on for ever."""
MAX_IMAGES = 1_000_000
"""More periodic images than this within reach: the lattice is flat for all purposes."""


def plane_spacings(lattice: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the (3,) distances between the lattice planes that each pair of vectors spans, Å.

    Args:
        lattice: (3, 3), rows, not singular.
    """
    inverse = np.linalg.inv(lattice)
    spacings: NDArray[np.float64] = 1.0 / np.sqrt((inverse * inverse).sum(axis=0))
    return spacings


def reduced_basis(lattice: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return (3, 3) short, nearly orthogonal vectors of the same lattice, shortest first.

    Minkowski-reduced: each vector is the shortest that completes the ones before it to a basis, so
    the first is the shortest vector of the lattice.

    Raises:
        BadCrystal: no such vectors are found; the lattice is flat but for rounding.

    Source: Semaev, "A 3-dimensional lattice reduction algorithm" (CaLC 2001).
    """
    basis = lattice
    for _ in range(MAX_REDUCTIONS):
        gram = basis @ basis.T
        order = np.argsort(np.diagonal(gram), kind="stable")
        basis, gram = basis[order], gram[np.ix_(order, order)]
        step = round(gram[0, 1] / gram[0, 0])
        second = basis[1] - step * basis[0]
        if second @ second < gram[1, 1] * _SHORTER:
            basis = np.array([basis[0], second, basis[2]])
            continue
        shorter = _closest(basis)
        if shorter @ shorter >= gram[2, 2] * _SHORTER:
            return basis
        basis = np.array([basis[0], basis[1], shorter])
    raise BadCrystal("the lattice cannot be reduced; it is nearly flat")


def _closest(basis: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the third vector less the lattice point of the first two that is closest to it."""
    plane, third = basis[:2], basis[2]
    across = np.linalg.solve(plane @ plane.T, plane @ third)
    corners = [(math.floor(x), math.floor(x) + 1) for x in across]
    candidates = third - np.array(list(itertools.product(*corners))) @ plane
    shortest: NDArray[np.float64] = candidates[np.argmin((candidates**2).sum(axis=1))]
    return shortest


def wrapped(frac: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return fractional differences with lattice translations removed, in [-0.5, 0.5]."""
    nearest: NDArray[np.float64] = frac - np.round(frac)
    return nearest


def images_within(lattice: NDArray[np.float64], radius: float) -> NDArray[np.float64]:
    """Return the (I, 3) translations that bring a wrapped difference to within ``radius``.

    Whole numbers of lattice vectors, the zero translation among them. Exact: a point at distance r
    has a fractional coordinate of at most r over the spacing of the planes.

    Raises:
        BadCrystal: too many to list.
    """
    counts = np.floor(radius / plane_spacings(lattice) + 0.5 + 1e-9).astype(np.int64)
    if np.prod(2.0 * counts + 1.0) > MAX_IMAGES:
        raise BadCrystal(f"more than {MAX_IMAGES} lattice points lie within {radius:.3g} Å")
    ranges = [np.arange(-count, count + 1) for count in counts]
    return np.stack(np.meshgrid(*ranges, indexing="ij"), axis=-1).reshape(-1, 3).astype(np.float64)


def squared_distances(
    lattice: NDArray[np.float64],
    frac: NDArray[np.float64],
    others: NDArray[np.float64],
    radius: float,
) -> Iterator[tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Yield, per periodic image, its (3,) translation and the (N, M) squared distances in Å².

    Every pair of sites nearer than ``radius`` to each other is among them.
    """
    difference = wrapped(others[None, :, :] - frac[:, None, :])
    for image in images_within(lattice, radius):
        cartesian = (difference + image) @ lattice
        yield image, np.einsum("nmx,nmx->nm", cartesian, cartesian)
