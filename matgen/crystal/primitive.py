"""The primitive cell: the fractions of lattice vectors that map a crystal onto itself."""

from __future__ import annotations

from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

from matgen.crystal.composition import reduced_counts
from matgen.crystal.periodic import wrapped
from matgen.crystal.symmetry import labels
from matgen.records import Crystal

_TRIES: Final = (1.0, 1.5, 2.0, 0.5, 0.25)
"""Factors on the tolerance. Noise near it lets some translations of a group pass and others not:
then a wider one takes all of them, or a tighter one none."""
_BLOCKS: Final = (8, 256)
"""Sites that a translation is tried on first, and then at a time: most fail at the first few, and
memory stays bounded."""


def primitive_cell(crystal: Crystal, *, symprec: float) -> Crystal:
    """Return the crystal in a primitive cell, the copies of a site averaged.

    A crystal without translations at ``symprec`` comes back as it is; so does one whose
    translations make no lattice at that tolerance or at one near it.

    Args:
        crystal: As ``check_crystal`` accepts. Sites of different oxidation states are different.
        symprec: How far, in Å, a site may be from where a translation would put it.
    """
    for factor in _TRIES:
        tolerance = factor * symprec
        pure = _translations(crystal, tolerance)
        if len(pure) == 1 and factor <= 1.0:
            return crystal
        smaller = _divided(crystal, pure, tolerance)
        if smaller is not None:
            return smaller
    return crystal


def _translations(crystal: Crystal, symprec: float) -> NDArray[np.float64]:
    """Return the (m, 3) fractions of lattice vectors that map the crystal onto itself, 0 first."""
    kinds = labels(crystal)
    none = np.zeros((1, 3))
    _, counts = reduced_counts(kinds)
    if crystal.n_sites == int(counts.sum()):
        return none
    values, sizes = np.unique(kinds, return_counts=True)
    rarest = np.flatnonzero(kinds == values[sizes.argmin()])
    shifts = wrapped(crystal.frac[rarest[1:]] - crystal.frac[rarest[0]])
    found = [shift for shift in shifts if _maps_onto_itself(crystal, kinds, shift, symprec)]
    return np.concatenate([none, np.reshape(found, (-1, 3))])


def _maps_onto_itself(
    crystal: Crystal, kinds: NDArray[np.int64], shift: NDArray[np.float64], symprec: float
) -> bool:
    """Whether every site moved by a shift meets a site of its kind."""
    few, many = _BLOCKS
    ends = [0, *range(few, crystal.n_sites, many), crystal.n_sites]
    for first, last in pairwise(ends):
        moved = crystal.frac[first:last] + shift
        cartesian = wrapped(crystal.frac[None, :, :] - moved[:, None, :]) @ crystal.lattice
        near = np.einsum("nmx,nmx->nm", cartesian, cartesian) <= symprec * symprec
        near &= kinds[first:last, None] == kinds[None, :]
        if not near.any(axis=1).all():
            return False
    return True


def _divided(crystal: Crystal, pure: NDArray[np.float64], symprec: float) -> Crystal | None:
    """Return the crystal in the cell that translations divide; None where they are no group."""
    m = len(pure)
    # A group of order m: m of each make a lattice vector, so these are whole numbers.
    steps = np.rint(pure * m).astype(np.int64)
    change = _basis(np.concatenate([m * np.eye(3, dtype=np.int64), steps])) / m
    if round(1.0 / abs(float(np.linalg.det(change)))) != m:
        return None
    inverse = np.linalg.inv(change)
    smaller = Crystal(
        change @ crystal.lattice, crystal.frac @ inverse, crystal.numbers, crystal.oxidation
    )
    return _merged(smaller, m, symprec)


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


def _merged(crystal: Crystal, m: int, symprec: float) -> Crystal | None:
    """Return the crystal with each set of ``m`` coinciding sites averaged; None if they do not."""
    kinds = labels(crystal)
    left = np.arange(crystal.n_sites)
    kept, frac = [], []
    while len(left):
        difference = wrapped(crystal.frac[left] - crystal.frac[left[0]])
        near = np.linalg.norm(difference @ crystal.lattice, axis=1) <= 4.0 * symprec
        same = near & (kinds[left] == kinds[left[0]])
        if np.count_nonzero(same) != m:
            return None
        kept.append(left[0])
        frac.append(crystal.frac[left[0]] + difference[same].mean(axis=0))
        left = left[~same]
    oxidation = None if crystal.oxidation is None else crystal.oxidation[kept]
    return Crystal(crystal.lattice, np.array(frac), crystal.numbers[kept], oxidation)
