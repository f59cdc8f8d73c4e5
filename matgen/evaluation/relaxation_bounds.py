"""What a relaxation may start from, and where it has left physics."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from matgen.crystal.checks import check_crystal, min_distance
from matgen.crystal.periodic import plane_spacings
from matgen.errors import BadCrystal
from matgen.records import Crystal

_OVERLAP_ANG: Final = 0.5
"""Nearer than this no two nuclei of a solid come; potentials know nothing of it."""
_COLLAPSED_ANG: Final = 0.3
"""On the way, atoms may be pushed through what a start may not show."""
_VOLUME_PER_SITE_ANG3: Final = (1.0, 1000.0)
"""Outside it a cell is no solid; in a huge one neighbour lists cost without end."""
_THINNEST_CELL_ANG: Final = 0.5
"""Distance of opposite cell faces below which a neighbour list has thousands of images."""
_LARGEST_VOLUME_RATIO: Final = 3.0
_SMALLEST_VOLUME_RATIO: Final = 1.0 / 3.0


def objection(crystal: Crystal) -> str:
    """Return why a crystal is not worth a potential's time, empty if it is."""
    try:
        check_crystal(crystal, min_distance=_OVERLAP_ANG)
    except BadCrystal as error:
        return str(error)
    smallest, largest = _VOLUME_PER_SITE_ANG3
    per_site = crystal.volume / crystal.n_sites
    if not smallest <= per_site <= largest:
        return f"{per_site:.3g} Å3 per site is outside {smallest:g} to {largest:g}"
    thickness = float(plane_spacings(crystal.lattice).min())
    if thickness < _THINNEST_CELL_ANG:
        return f"the cell is {thickness:.3g} Å thin; at least {_THINNEST_CELL_ANG:g} Å is needed"
    return ""


def burst_cell(start: Crystal, lattice: NDArray[np.float64]) -> str:
    """Return how a cell left physics on the way from ``start``, empty if it did not.

    Cheap enough for every step, and meant to be asked before the potential is: the neighbour list
    of a needle or a sheet can take all time and memory there are.

    Args:
        lattice: (3, 3), rows, Å, of any numbers.
    """
    if not np.isfinite(lattice).all():
        return "the cell is not finite"
    ratio = abs(float(np.linalg.det(lattice))) / start.volume
    if not _SMALLEST_VOLUME_RATIO <= ratio <= _LARGEST_VOLUME_RATIO:
        return (
            f"the volume became {ratio:.3g} times the original; stopped outside "
            f"{_SMALLEST_VOLUME_RATIO:.2g} to {_LARGEST_VOLUME_RATIO:g}"
        )
    thickness = float(plane_spacings(lattice).min())
    if thickness < _THINNEST_CELL_ANG:
        return f"the cell became {thickness:.3g} Å thin; stopped below {_THINNEST_CELL_ANG:g} Å"
    return ""


def collapse(crystal: Crystal) -> str:
    """Return whether two sites of a crystal on its way are in one place, empty if not."""
    if not np.isfinite(crystal.frac).all():
        return "the positions are not finite"
    nearest = min_distance(crystal)
    if nearest < _COLLAPSED_ANG:
        return f"two sites came within {nearest:.3g} Å of each other"
    return ""
