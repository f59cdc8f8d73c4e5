"""The canonical cell: primitive, Niggli-reduced, right-handed, one choice of axes and origin."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from matgen.crystal.canonical_origin import best_description
from matgen.crystal.primitive import primitive_cell
from matgen.crystal.reduction import reduced_bases
from matgen.crystal.symmetry import find_symmetry
from matgen.errors import BadCrystal
from matgen.records import Crystal

MAX_SITES = 2000
"""Largest cell that is reduced: time and memory grow with the square of the sites."""


def canonical_cell(crystal: Crystal, *, symprec: float = 0.01) -> Crystal:
    """Return the one description of a crystal that all its descriptions lead to.

    The primitive Niggli cell; of the like choices of axes, and of the origins that the tables allow
    for its space group, always the same one. Supercells, other settings, shifted origins and other
    orders of the sites come out equal but for rounding and the order. Sites are averaged over the
    copies that the primitive cell merges, nothing else is idealised. Oxidation states are kept, and
    sites of different states are different sites.

    Args:
        crystal: As ``check_crystal`` accepts.
        symprec: How far, in Å, a site may be from where a symmetry operation puts it.

    Raises:
        BadCrystal: the cell cannot be reduced.
    """
    if crystal.n_sites > MAX_SITES:
        raise BadCrystal(f"{crystal.n_sites} sites; cells of up to {MAX_SITES} are reduced")
    crystal = primitive_cell(_right_handed(crystal), symprec=symprec)
    changes = _itself_first(reduced_bases(crystal.lattice))
    # Reduced first: the symmetry search is at its best there, and what it finds is remembered.
    crystal = _changed(crystal, changes[0])
    among = changes @ np.rint(np.linalg.inv(changes[0])).astype(np.int64)
    symmetry = find_symmetry(crystal, symprec=symprec)
    change, origin = best_description(crystal, symmetry, among)
    frac = (crystal.frac - origin) @ np.rint(np.linalg.inv(change))
    return Crystal(change @ crystal.lattice, wrap(frac), crystal.numbers, crystal.oxidation)


def wrap(frac: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return fractional coordinates in [0, 1)."""
    inside = frac - np.floor(frac)
    # Of -1e-17 the difference rounds to 1 exactly.
    inside[inside >= 1.0] = 0.0
    return inside


def _right_handed(crystal: Crystal) -> Crystal:
    if np.linalg.det(crystal.lattice) > 0:
        return crystal
    # All three vectors turned round: the same points in space, no mirror image.
    return Crystal(-crystal.lattice, -crystal.frac, crystal.numbers, crystal.oxidation)


def _itself_first(changes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the changes of basis, none at all first if it is among them.

    So a canonical crystal is not turned in space by doing it again.
    """
    is_itself = (changes == np.eye(3, dtype=np.int64)).all(axis=(1, 2))
    return np.concatenate([changes[is_itself], changes[~is_itself]])


def _changed(crystal: Crystal, change: NDArray[np.float64] | NDArray[np.int64]) -> Crystal:
    """Return the crystal in the cell ``change @ lattice``."""
    frac = crystal.frac @ np.linalg.inv(change)
    return Crystal(change @ crystal.lattice, frac, crystal.numbers, crystal.oxidation)
