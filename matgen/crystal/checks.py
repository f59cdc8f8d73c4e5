"""Whether a crystal is one: shapes, numbers, elements, a cell with volume, no overlapping sites."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from matgen.crystal.periodic import plane_spacings, reduced_basis, squared_distances, wrapped
from matgen.elements import HEAVIEST, symbols
from matgen.errors import BadCrystal
from matgen.records import Crystal

_SITES_AT_ONCE = 512
"""Rows of a matrix of distances: with all pairs of 10,000 sites it would have 2.4 GB."""
FLAT = 1e-6
"""Volume over the product of the lengths below which a cell has no inverse worth having."""


def check_crystal(crystal: Crystal, *, min_distance: float = 0.5) -> None:
    """Raise unless the arrays are a crystal.

    Either handedness of the cell will do.

    Args:
        min_distance: Sites nearer than this overlap, Å; images of one site count.

    Raises:
        BadCrystal: what is wrong, in one sentence.
    """
    _check_shapes(crystal)
    _check_values(crystal)
    _check_cell(crystal.lattice)
    _check_distances(crystal, min_distance)


def min_distance(crystal: Crystal) -> float:
    """Return the shortest distance between two sites, or a site and its own images, Å.

    Args:
        crystal: As ``check_crystal`` accepts it, except that sites may overlap.
    """
    distance, _ = _nearest(crystal)
    return distance


def _check_shapes(crystal: Crystal) -> None:
    if crystal.lattice.shape != (3, 3):
        raise BadCrystal(f"the lattice has shape {crystal.lattice.shape}; expected (3, 3)")
    n_sites = len(crystal.numbers)
    if n_sites == 0:
        raise BadCrystal("the crystal has no sites; expected at least one")
    if crystal.numbers.shape != (n_sites,) or crystal.frac.shape != (n_sites, 3):
        raise BadCrystal(
            f"atomic numbers of shape {crystal.numbers.shape} do not fit coordinates of shape "
            f"{crystal.frac.shape}; expected (N,) and (N, 3)"
        )
    if crystal.oxidation is not None and crystal.oxidation.shape != (n_sites,):
        raise BadCrystal(
            f"oxidation states of shape {crystal.oxidation.shape} do not fit {n_sites} sites"
        )


def _check_values(crystal: Crystal) -> None:
    if not np.isfinite(crystal.lattice).all():
        raise BadCrystal("the lattice holds numbers that are not finite")
    if not np.isfinite(crystal.frac).all():
        site = int(np.argwhere(~np.isfinite(crystal.frac))[0, 0])
        raise BadCrystal(f"the coordinates of site {site} are not finite")
    lowest, highest = int(crystal.numbers.min()), int(crystal.numbers.max())
    if lowest < 1 or highest > HEAVIEST:
        unknown = lowest if lowest < 1 else highest
        raise BadCrystal(f"atomic number {unknown} is no element; expected 1 to {HEAVIEST}")


def _check_cell(lattice: NDArray[np.float64]) -> None:
    a, b, c = lattice.tolist()
    lengths = math.hypot(*a), math.hypot(*b), math.hypot(*c)
    volume = abs(
        a[0] * (b[1] * c[2] - b[2] * c[1])
        - a[1] * (b[0] * c[2] - b[2] * c[0])
        + a[2] * (b[0] * c[1] - b[1] * c[0])
    )
    if volume <= FLAT * math.prod(lengths):
        raise BadCrystal(
            f"the lattice vectors span no volume ({volume:.3g} Å³); expected three that lie in no "
            "common plane"
        )


def _check_distances(crystal: Crystal, limit: float) -> None:
    if plane_spacings(crystal.lattice).min() >= 2.0 * limit:
        # Two points nearer than the limit are then nearest images in fractional coordinates too.
        distance, pair = _nearest_wrapped(crystal.lattice, crystal.frac)
    else:
        distance, pair = _nearest(crystal)
    if distance >= limit:
        return
    first, second = pair
    if first == second:
        raise BadCrystal(
            f"the lattice repeats every {distance:.3g} Å; expected at least {limit:g} Å"
        )
    raise BadCrystal(
        f"sites {first} ({_symbol(crystal, first)}) and {second} ({_symbol(crystal, second)}) are "
        f"{distance:.3g} Å apart; expected at least {limit:g} Å"
    )


def _symbol(crystal: Crystal, site: int) -> str:
    return symbols[int(crystal.numbers[site])]


def _nearest_wrapped(
    lattice: NDArray[np.float64], frac: NDArray[np.float64]
) -> tuple[float, tuple[int, int]]:
    """Return the shortest distance among fractionally nearest images, and the two sites."""
    best, pair = math.inf, (0, 0)
    for start in range(0, len(frac), _SITES_AT_ONCE):
        some = frac[start : start + _SITES_AT_ONCE]
        difference = wrapped(some[:, None, :] - frac[None, :, :])
        cartesian = difference.reshape(-1, 3) @ lattice
        squared = np.einsum("px,px->p", cartesian, cartesian)
        squared[start :: len(frac) + 1] = np.inf
        nearest = int(squared.argmin())
        if squared[nearest] < best:
            first, second = divmod(nearest, len(frac))
            best, pair = float(squared[nearest]), (start + first, second)
    return math.sqrt(best), pair


def _nearest(crystal: Crystal) -> tuple[float, tuple[int, int]]:
    """Return the shortest distance over all images, and the two sites (a site twice: its own)."""
    lattice = reduced_basis(crystal.lattice)
    frac = crystal.frac @ crystal.lattice @ np.linalg.inv(lattice)
    best, pair = float(np.linalg.norm(lattice[0])), (0, 0)
    for start in range(0, crystal.n_sites, _SITES_AT_ONCE):
        some = frac[start : start + _SITES_AT_ONCE]
        for image, squared in squared_distances(lattice, some, frac, best):
            if not image.any():
                squared.flat[start :: crystal.n_sites + 1] = np.inf
            nearest = int(squared.argmin())
            if squared.flat[nearest] < best * best:
                first, second = divmod(nearest, crystal.n_sites)
                best, pair = math.sqrt(squared.flat[nearest]), (start + first, second)
    return best, pair
