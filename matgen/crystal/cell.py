"""The canonical cell: primitive, Niggli-reduced, right-handed, one choice of axes and origin."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from matgen.crystal.canonical_origin import best_description
from matgen.crystal.composition import reduced_counts
from matgen.crystal.periodic import wrapped
from matgen.crystal.reduction import reduced_bases
from matgen.crystal.symmetry import find_symmetry, labels
from matgen.errors import BadCrystal
from matgen.records import Crystal


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
    crystal = _primitive(_right_handed(crystal), symprec)
    changes = _itself_first(reduced_bases(crystal.lattice))
    # Reduced first: the symmetry search is at its best there, and what it finds is remembered.
    crystal = _changed(crystal, changes[0])
    among = changes @ np.rint(np.linalg.inv(changes[0])).astype(np.int64)
    symmetry = find_symmetry(crystal, symprec=symprec)
    change, origin = best_description(crystal.frac, crystal.numbers, symmetry, among)
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


def _primitive(crystal: Crystal, symprec: float) -> Crystal:
    """Return the crystal in a primitive cell, the copies of a site averaged."""
    pure = _translations(crystal, symprec)
    m = len(pure)
    if m == 1:
        return crystal
    # The m translations are a group of order m, so m of each make a lattice vector: whole numbers.
    steps = np.rint(pure * m).astype(np.int64)
    change = _basis(np.concatenate([m * np.eye(3, dtype=np.int64), steps])) / m
    if round(1.0 / abs(float(np.linalg.det(change)))) != m:
        raise BadCrystal(f"{m} translations found at {symprec:g} Å make no lattice")
    return _merged(_changed(crystal, change), m, symprec)


def _translations(crystal: Crystal, symprec: float) -> NDArray[np.float64]:
    """Return the (m, 3) fractions of lattice vectors that map the crystal onto itself, 0 first."""
    kinds = labels(crystal)
    _, counts = reduced_counts(kinds)
    none = np.zeros((1, 3))
    if crystal.n_sites == int(counts.sum()):
        return none
    values, sizes = np.unique(kinds, return_counts=True)
    rarest = np.flatnonzero(kinds == values[sizes.argmin()])
    same = kinds[:, None] == kinds[None, :]
    difference = crystal.frac[None, :, :] - crystal.frac[:, None, :]
    found = [none]
    for shift in wrapped(crystal.frac[rarest[1:]] - crystal.frac[rarest[0]]):
        cartesian = wrapped(difference - shift) @ crystal.lattice
        near = np.einsum("nmx,nmx->nm", cartesian, cartesian) <= symprec * symprec
        if (near & same).any(axis=1).all():
            found.append(shift[None])
    return np.concatenate(found)


def _basis(vectors: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return a (3, 3) basis of the lattice that whole-number vectors span (Hermite form)."""
    rows = vectors.copy()
    for column in range(3):
        while True:
            left = rows[column:, column]
            busy = np.flatnonzero(left) + column
            pivot = busy[np.argmin(abs(rows[busy, column]))]
            rows[[column, pivot]] = rows[[pivot, column]]
            quotients = rows[column + 1 :, column] // rows[column, column]
            rows[column + 1 :] -= quotients[:, None] * rows[column]
            if not rows[column + 1 :, column].any():
                break
    basis = rows[:3]
    # Right-handed, as the cell it comes from.
    return basis if np.prod(np.diagonal(basis)) > 0 else -basis


def _merged(crystal: Crystal, m: int, symprec: float) -> Crystal:
    """Return the crystal with each set of ``m`` coinciding sites averaged.

    Raises:
        BadCrystal: sites do not coincide by sets of m.
    """
    kinds = labels(crystal)
    left = np.arange(crystal.n_sites)
    kept, frac = [], []
    while len(left):
        difference = wrapped(crystal.frac[left] - crystal.frac[left[0]])
        near = np.linalg.norm(difference @ crystal.lattice, axis=1) <= 4.0 * symprec
        same = near & (kinds[left] == kinds[left[0]])
        if np.count_nonzero(same) != m:
            raise BadCrystal(f"{m} sites should coincide in the primitive cell and do not")
        kept.append(left[0])
        frac.append(crystal.frac[left[0]] + difference[same].mean(axis=0))
        left = left[~same]
    oxidation = None if crystal.oxidation is None else crystal.oxidation[kept]
    return Crystal(crystal.lattice, np.array(frac), crystal.numbers[kept], oxidation)
