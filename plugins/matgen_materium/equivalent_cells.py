"""Cells of one form: changes of axes after which a lattice has the very same parameters.

They are the lattice's own symmetry: axes of equal length exchanged, axes at right angles turned
round, up to 48 ways for a cubic lattice, and two for any: as it is, and turned inside out.

Axis letters: M candidate matrices, K those that fit, D differences of scalar products.
"""

from __future__ import annotations

import itertools
from functools import cache, lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

_SAME: Final = 1e-9
"""Scalar products that differ by less than this times a² + b² + c² are equal: rounding is below
1e-14, and a step of the default grids changes them by more than 1e-6."""
_ROWS: Final = np.array([0, 1, 2, 1, 0, 0])
_COLUMNS: Final = np.array([0, 1, 2, 2, 2, 1])
_PLACES: Final = 3 * _ROWS + _COLUMNS
"""Where a·a, b·b, c·c, b·c, a·c and a·b are among the nine scalar products."""


def equivalent_cells(lattice: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return every whole-number change of basis that keeps all scalar products of the axes.

    ``change @ lattice`` is then the same cell turned, or mirrored where the determinant is -1, and
    coordinates in it are ``frac @ inv(change)``. The changes form a group, so the inverse of each
    is among them. What holds within a tolerance only is left out: a body-centred cubic lattice has
    48 changes, but its angle of 109.47 degrees is no point of a grid, and on the grid it has 12.

    Args:
        lattice: (3, 3), rows, a reduced cell: then no entry of a change is beyond -1, 0 and 1.

    Returns:
        (K, 3, 3) read-only, K from 2 to 48, the basis as it is and the inversion among them.
    """
    _, differences_D6, _ = _unimodular()
    products = (lattice @ lattice.T).take(_PLACES)
    same = _SAME * (products[0] + products[1] + products[2])
    vanishes_D = abs(differences_D6 @ products) < same
    return _changes(vanishes_D.tobytes())


@lru_cache(maxsize=4096)
def _changes(vanishes: bytes) -> NDArray[np.int64]:
    """Return the changes that fit, by which of the differences vanish.

    A dataset has some dozens of such patterns, however many lattices.
    """
    matrices, _, needed_M6 = _unimodular()
    fits = np.frombuffer(vanishes, dtype=np.bool_)[needed_M6].all(axis=1)
    changes = np.concatenate([matrices[fits], -matrices[fits]])
    changes.flags.writeable = False
    return changes


@cache
def _unimodular() -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.int64]]:
    """Return the matrices of -1, 0 and 1 with determinant 1, and what makes one of them fit.

    Returns:
        (M, 3, 3) matrices; (D, 6) every difference between a scalar product of old axes and that of
        new ones, as a sum of a·a, b·b, c·c, b·c, a·c and a·b; (M, 6) which differences vanish if a
        matrix changes none of the six.
    """
    entries = np.array(list(itertools.product((-1, 0, 1), repeat=9)), dtype=np.int64)
    matrices = entries.reshape(-1, 3, 3)
    matrices = matrices[np.rint(np.linalg.det(matrices)) == 1]
    first, second = matrices[:, _ROWS], matrices[:, _COLUMNS]
    new = first[:, :, _ROWS] * second[:, :, _COLUMNS]
    # Of two different axes, each may be in either row.
    new += np.where(_ROWS == _COLUMNS, 0, first[:, :, _COLUMNS] * second[:, :, _ROWS])
    differences = new - np.eye(6, dtype=np.int64)
    differences_D6, which = np.unique(differences.reshape(-1, 6), axis=0, return_inverse=True)
    return matrices, differences_D6.astype(np.float64), which.reshape(-1, 6)
