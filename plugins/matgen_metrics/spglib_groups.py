"""Space groups as spglib finds them, which is what published counts are made with."""

from __future__ import annotations

from typing import Final

from matgen.records import Crystal

BY_DISTANCE_ALONE: Final = -1.0
"""spglib's angle tolerance that leaves angles to the symprec."""


def space_group(
    crystal: Crystal, symprec_ang: float, angle_tolerance_deg: float = BY_DISTANCE_ALONE
) -> int | None:
    """Return the international number of a crystal's space group, None where spglib finds none."""
    import spglib

    cell = (crystal.lattice.tolist(), crystal.frac.tolist(), crystal.numbers.tolist())
    try:
        found = spglib.get_symmetry_dataset(
            cell, symprec=symprec_ang, angle_tolerance=angle_tolerance_deg
        )
    except spglib.SpglibError:
        return None
    return None if found is None else int(found.number)
