"""Symmetry of a crystal as arrays: rotations, orbits, the origin that the tables give it.

Axis letters: N sites, G operations.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from matgen.errors import BadCrystal
from matgen.records import Crystal

if TYPE_CHECKING:
    from moyopy import MoyoDataset, Setting

TIGHT_ANG = 0.01
"""Symprec at which datasets give their space groups, Å."""
LOOSE_ANG = 0.1
"""Symprec that also sees through the noise of a loose relaxation, Å."""
_LABEL_STEP = 64
"""More than any range of oxidation states, so that (element, state) becomes one label."""


@dataclass(frozen=True, eq=False, slots=True)
class Symmetry:
    """The space group of a crystal, in fractional coordinates of the cell it came in.

    Attributes:
        number: International number, 1 to 230.
        rotations: (G, 3, 3) int64, of the operations; they turn columns.
        origin: (3,) float64, where the International Tables put the origin (of two choices the
            second, at an inversion centre).
        orbits: (N,) int64, the first site of each site's set of equivalent ones.
    """

    number: int
    rotations: NDArray[np.int64]
    origin: NDArray[np.float64]
    orbits: NDArray[np.int64]


def find_symmetry(crystal: Crystal, *, symprec: float = TIGHT_ANG) -> Symmetry:
    """Return the symmetry of a crystal; sites of different oxidation states are different sites.

    Args:
        crystal: As ``check_crystal`` accepts, right-handed.
        symprec: How far, in Å, a site may be from where an operation puts it.

    Raises:
        BadCrystal: no symmetry is found, which even the identity would be.
    """
    found = _dataset(crystal, labels(crystal), symprec)
    return Symmetry(
        found.number,
        np.array(found.operations.rotations, dtype=np.int64),
        np.array(found.std_origin_shift, dtype=np.float64),
        np.array(found.orbits, dtype=np.int64),
    )


def space_group(crystal: Crystal, *, symprec: float = TIGHT_ANG) -> int | None:
    """Return the international number of the space group, None where none is found.

    Args:
        crystal: Any; one that is no crystal has no space group. Oxidation states do not count.
        symprec: How far, in Å, a site may be from where an operation puts it.
    """
    try:
        return int(_dataset(crystal, crystal.numbers, symprec).number)
    except BadCrystal:
        return None


def labels(crystal: Crystal) -> NDArray[np.int64]:
    """Return (N,) numbers, equal where element and oxidation state are."""
    states = 0 if crystal.oxidation is None else crystal.oxidation
    combined: NDArray[np.int64] = crystal.numbers * _LABEL_STEP + states + _LABEL_STEP // 2
    return combined


def _dataset(crystal: Crystal, kinds: NDArray[np.int64], symprec: float) -> MoyoDataset:
    from moyopy import Cell, MoyoDataset

    try:
        cell = Cell(crystal.lattice.tolist(), crystal.frac.tolist(), kinds.tolist())
        return MoyoDataset(cell, symprec=symprec, setting=_tables())
    except ValueError as error:
        raise BadCrystal(f"no symmetry is found at {symprec:g} Å: {error}") from None


@cache
def _tables() -> Setting:
    from moyopy import Setting

    # It warns of crystals near its tolerance, which are dealt with; who logs it still hears it.
    logging.getLogger("moyo").addHandler(logging.NullHandler())
    return Setting.standard()
