"""Symmetry of a crystal as arrays: operations, orbits, the origin that the tables give it.

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
    from moyopy import Setting

_LABEL_STEP = 64
"""More than any range of oxidation states, so that (element, state) becomes one label."""


@dataclass(frozen=True, eq=False, slots=True)
class Symmetry:
    """The space group of a crystal, in fractional coordinates of the cell it came in.

    Attributes:
        number: International number, 1 to 230.
        rotations: (G, 3, 3) int64; with ``translations`` they map a column x to W x + w.
        translations: (G, 3) float64.
        origin: (3,) float64, where the International Tables put the origin (of two choices the
            second, at an inversion centre).
        orbits: (N,) int64, the first site of each site's set of equivalent ones.
    """

    number: int
    rotations: NDArray[np.int64]
    translations: NDArray[np.float64]
    origin: NDArray[np.float64]
    orbits: NDArray[np.int64]


def find_symmetry(crystal: Crystal, *, symprec: float = 0.01) -> Symmetry:
    """Return the symmetry of a crystal; sites of different oxidation states are different sites.

    Args:
        crystal: As ``check_crystal`` accepts, right-handed.
        symprec: How far, in Å, a site may be from where an operation puts it.

    Raises:
        BadCrystal: no symmetry is found, which even the identity would be.
    """
    from moyopy import Cell, MoyoDataset

    cell = Cell(crystal.lattice.tolist(), crystal.frac.tolist(), labels(crystal).tolist())
    try:
        found = MoyoDataset(cell, symprec=symprec, setting=_tables())
    except ValueError as error:
        raise BadCrystal(f"no symmetry is found at {symprec:g} Å: {error}") from None
    operations = found.operations
    return Symmetry(
        found.number,
        np.array(operations.rotations, dtype=np.int64),
        np.array(operations.translations, dtype=np.float64),
        np.array(found.std_origin_shift, dtype=np.float64),
        np.array(found.orbits, dtype=np.int64),
    )


def labels(crystal: Crystal) -> NDArray[np.int64]:
    """Return (N,) numbers, equal where element and oxidation state are."""
    states = 0 if crystal.oxidation is None else crystal.oxidation
    combined: NDArray[np.int64] = crystal.numbers * _LABEL_STEP + states + _LABEL_STEP // 2
    return combined


@cache
def _tables() -> Setting:
    from moyopy import Setting

    # It warns of crystals near its tolerance, which are dealt with; who logs it still hears it.
    logging.getLogger("moyo").addHandler(logging.NullHandler())
    return Setting.standard()
