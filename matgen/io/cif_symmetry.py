"""Symmetry operations as CIFs write them: listed as ``-x, y+1/2, z``, or by the space group."""

from __future__ import annotations

import re
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from matgen.errors import BadCrystal

MOST_OPERATIONS = 192
"""Of a space group in its conventional cell: F m -3 m."""
_TERM = re.compile(r"([+-]?)(?:(\d+(?:\.\d*)?|\.\d+)(?:/(\d+(?:\.\d*)?))?\*?)?([xyz]?)")


@lru_cache(maxsize=1024)
def read_operations(listed: tuple[str, ...]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return (G, 3, 3) rotations and (G, 3) translations of listed operations.

    Raises:
        BadCrystal: one that cannot be read or is no symmetry operation of any lattice.
    """
    if len(listed) > MOST_OPERATIONS:
        raise BadCrystal(f"it lists {len(listed)} symmetry operations; no group has so many")
    found = [_operation(text) for text in listed]
    return _frozen(np.array([rotation for rotation, _ in found]), np.array([s for _, s in found]))


@lru_cache(maxsize=1024)
def tabulated_operations(name: str, number: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return (G, 3, 3) rotations and (G, 3) translations of a space group.

    Args:
        name: Hermann–Mauguin or Hall symbol, preferred because a number cannot tell one setting of
            a group from another; empty where the CIF gives none.
        number: 1 to 230 as text, read where there is no name.

    Raises:
        BadCrystal: no such group is known.
    """
    from pymatgen.symmetry.groups import SpaceGroup

    try:
        group = (
            SpaceGroup(name.replace(" ", "")) if name else SpaceGroup.from_int_number(int(number))
        )
        matrices = np.array([operation.affine_matrix for operation in group.symmetry_ops])
    except (ValueError, KeyError):
        raise BadCrystal(
            f"its space group {name or number!r} is unknown and it lists no operations"
        ) from None
    return _frozen(matrices[:, :3, :3].copy(), matrices[:, :3, 3].copy())


def _operation(text: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    parts = re.sub(r"\s", "", text).lower().split(",")
    rows = [_row(part) for part in parts]
    rotation = np.array([row[:3] for row in rows if row is not None])
    if len(parts) != 3 or rotation.shape != (3, 3) or abs(abs(np.linalg.det(rotation)) - 1) > 1e-6:
        raise BadCrystal(f"its symmetry operation {text!r} cannot be read; expected as in -x,y,z")
    return rotation, np.array([row[3] for row in rows if row is not None])


def _row(text: str) -> list[float] | None:
    """Return the coefficients of x, y and z and the constant; None if it is no such sum."""
    row = [0.0, 0.0, 0.0, 0.0]
    position = 0
    while position < len(text):
        match = _TERM.match(text, position)
        if match is None or match.end() == position or match[0] in ("+", "-"):
            return None
        if position and not match[1]:
            return None
        sign, number, divisor, letter = match.groups()
        value = float(number or 1) / float(divisor or 1) if float(divisor or 1) else np.nan
        if not number and not letter:
            return None
        row["xyz".index(letter) if letter else 3] += -value if sign == "-" else value
        position = match.end()
    return row if text and np.isfinite(row).all() else None


def _frozen(
    rotations: NDArray[np.float64], shifts: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return arrays that a caller of the cache cannot change."""
    rotations.flags.writeable = shifts.flags.writeable = False
    return rotations, shifts
