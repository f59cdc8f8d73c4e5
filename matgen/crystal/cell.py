"""The canonical cell: primitive, Niggli-reduced, right-handed, coordinates in [0, 1)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from matgen.crystal.composition import reduced_counts
from matgen.crystal.periodic import wrapped
from matgen.errors import BadCrystal
from matgen.records import Crystal

NIGGLI_EPS = 1e-5
"""Scalar products that differ by less than this times volume^(2/3) are equal; float32 files of
real crystals are within 1e-6."""
_LABEL_STEP = 64
"""More than any range of oxidation states, so that (element, state) becomes one label."""


def canonical_cell(crystal: Crystal, *, symprec: float = 0.01) -> Crystal:
    """Return the crystal in its primitive Niggli cell.

    A cell that is primitive and reduced already comes back as it is, wrapped and right-handed,
    without spglib. Sites are averaged over the copies that the primitive cell merges, nothing else
    is idealised. Oxidation states are kept, and sites of different states are different sites.

    Args:
        crystal: As ``check_crystal`` accepts.
        symprec: How far, in Å, a site may be from where a translation would put it.

    Raises:
        BadCrystal: the cell cannot be reduced.
    """
    crystal = _right_handed(crystal)
    if not _is_primitive(crystal, symprec):
        crystal = _right_handed(_primitive(crystal, symprec))
    if not is_niggli(crystal.lattice):
        crystal = _right_handed(_in_niggli_cell(crystal))
    return Crystal(crystal.lattice, wrap(crystal.frac), crystal.numbers, crystal.oxidation)


def wrap(frac: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return fractional coordinates in [0, 1)."""
    inside = frac - np.floor(frac)
    # Of -1e-17 the difference rounds to 1 exactly.
    inside[inside >= 1.0] = 0.0
    return inside


def is_niggli(lattice: NDArray[np.float64], eps: float = NIGGLI_EPS) -> bool:
    """Whether the rows of a (3, 3) lattice are a Niggli cell.

    Args:
        eps: Relative to volume^(2/3); see ``NIGGLI_EPS``.

    Source: International Tables for Crystallography A, section 9.2.2 (2002 edition), the main and
    special conditions; with a tolerance as Grosse-Kunstleve, Sauter and Adams, Acta Cryst. A60, 1
    (2004).
    """
    (a, zeta_2, eta_2), (_, b, xi_2), (_, _, c) = (lattice @ lattice.T).tolist()
    e = eps * abs(float(np.linalg.det(lattice))) ** (2.0 / 3.0)
    if a > b + e or b > c + e:
        return False
    xi, eta, zeta = 2.0 * xi_2, 2.0 * eta_2, 2.0 * zeta_2
    if abs(xi) > b + e or abs(eta) > a + e or abs(zeta) > a + e:
        return False
    if xi > e and eta > e and zeta > e:
        return _is_acute(a, b, c, xi, eta, zeta, e)
    return xi <= e and eta <= e and zeta <= e and _is_obtuse(a, b, c, xi, eta, zeta, e)


def _is_acute(a: float, b: float, c: float, xi: float, eta: float, zeta: float, e: float) -> bool:
    """Special conditions of type I, all angles below 90°."""
    if abs(a - b) <= e and xi > eta + e:
        return False
    if abs(b - c) <= e and eta > zeta + e:
        return False
    if abs(xi - b) <= e and zeta > 2.0 * eta + e:
        return False
    if abs(eta - a) <= e and zeta > 2.0 * xi + e:
        return False
    return not (abs(zeta - a) <= e and eta > 2.0 * xi + e)


def _is_obtuse(a: float, b: float, c: float, xi: float, eta: float, zeta: float, e: float) -> bool:
    """Special conditions of type II, no angle below 90°."""
    total = a + b + xi + eta + zeta
    if total < -e:
        return False
    if abs(a - b) <= e and -xi > -eta + e:
        return False
    if abs(b - c) <= e and -eta > -zeta + e:
        return False
    if abs(xi + b) <= e and zeta < -e:
        return False
    if abs(eta + a) <= e and zeta < -e:
        return False
    if abs(zeta + a) <= e and eta < -e:
        return False
    return not (abs(total) <= e and 2.0 * (a + eta) + zeta > e)


def _right_handed(crystal: Crystal) -> Crystal:
    if np.linalg.det(crystal.lattice) > 0:
        return crystal
    # All three vectors turned round: the same points in space, no mirror image.
    return Crystal(-crystal.lattice, -crystal.frac, crystal.numbers, crystal.oxidation)


def _in_niggli_cell(crystal: Crystal) -> Crystal:
    from spglib import niggli_reduce

    # spglib's tolerance is absolute, in the unit of the scalar products.
    scaled = crystal.lattice / crystal.volume ** (1.0 / 3.0)
    reduced = niggli_reduce(scaled, eps=NIGGLI_EPS)
    if reduced is None:
        raise BadCrystal("the lattice has no Niggli cell that spglib finds; it may be nearly flat")
    # As whole numbers, so that the change of basis adds no rounding of its own.
    change = np.round(reduced @ np.linalg.inv(scaled))
    frac = crystal.frac @ np.linalg.inv(change)
    return Crystal(change @ crystal.lattice, frac, crystal.numbers, crystal.oxidation)


def _is_primitive(crystal: Crystal, symprec: float) -> bool:
    """Whether no fraction of a lattice vector maps the crystal onto itself."""
    labels = _labels(crystal)
    _, counts = reduced_counts(labels)
    kinds, sizes = np.unique(labels, return_counts=True)
    multiple = crystal.n_sites // int(counts.sum())
    if multiple == 1:
        return True
    rarest = np.flatnonzero(labels == kinds[sizes.argmin()])
    shifts = crystal.frac[rarest[1:]] - crystal.frac[rarest[0]]
    same = labels[:, None] == labels[None, :]
    difference = crystal.frac[None, :, :] - crystal.frac[:, None, :]
    for shift in shifts:
        cartesian = wrapped(difference - shift) @ crystal.lattice
        near = np.einsum("nmx,nmx->nm", cartesian, cartesian) <= symprec * symprec
        if (near & same).any(axis=1).all():
            return False
    return True


def _primitive(crystal: Crystal, symprec: float) -> Crystal:
    import spglib

    cell = (crystal.lattice, crystal.frac, _labels(crystal))
    try:
        # Wider than spglib's annotations, which know lists alone.
        found: tuple[Any, Any, Any] | None = spglib.standardize_cell(
            cell,  # type: ignore[arg-type]  # arrays are what it is documented to take
            to_primitive=True,
            no_idealize=True,
            symprec=symprec,
        )
    except spglib.SpglibError as error:
        raise BadCrystal(f"spglib finds no primitive cell at {symprec:g} Å: {error}") from None
    if found is None:
        raise BadCrystal(f"spglib finds no primitive cell at {symprec:g} Å")
    lattice, frac, labels = (np.asarray(part) for part in found)
    numbers, states = np.divmod(labels.astype(np.int64), _LABEL_STEP)
    oxidation = None if crystal.oxidation is None else states - _LABEL_STEP // 2
    return Crystal(lattice.astype(np.float64), frac.astype(np.float64), numbers, oxidation)


def _labels(crystal: Crystal) -> NDArray[np.int64]:
    """Return (N,) numbers, equal where element and oxidation state are."""
    states = 0 if crystal.oxidation is None else crystal.oxidation
    labels: NDArray[np.int64] = crystal.numbers * _LABEL_STEP + states + _LABEL_STEP // 2
    return labels
