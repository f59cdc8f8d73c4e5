"""A crystal out of the arrays that a file or a service gives."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from matgen.errors import BadCrystal
from matgen.records import Crystal


def crystal_of_arrays(
    lattice: NDArray[np.float64],
    coordinates: NDArray[np.float64],
    numbers: NDArray[np.int64],
    *,
    given: Literal["fractional", "cartesian"],
) -> Crystal:
    """Return a crystal, once its arrays are such as can be one.

    Distances between its sites are for ``check_crystal``.

    Args:
        lattice: (3, 3), rows, Å.
        coordinates: (N, 3), fractional, or Cartesian in Å.
        numbers: (N,) atomic numbers.
        given: Which kind of coordinates they are.

    Raises:
        BadCrystal: shapes that do not fit, numbers that are not finite, a cell without volume.
    """
    n_sites = len(numbers)
    if lattice.shape != (3, 3) or not n_sites or coordinates.shape != (n_sites, 3):
        raise BadCrystal(
            f"a lattice of shape {lattice.shape} and coordinates of shape {coordinates.shape} do "
            f"not fit {n_sites} sites"
        )
    if not (np.isfinite(lattice).all() and np.isfinite(coordinates).all()):
        raise BadCrystal("its lattice vectors or coordinates are not finite")
    if abs(np.linalg.det(lattice)) < 1e-6:
        raise BadCrystal("its lattice vectors span no volume")
    frac = coordinates @ np.linalg.inv(lattice) if given == "cartesian" else coordinates
    return Crystal(lattice, frac, numbers)
