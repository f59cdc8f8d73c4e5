"""Space groups by moyo, quick enough for every crystal of a large dataset."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from matgen.records import Crystal

TIGHT_ANG = 0.01
"""Symprec at which datasets give their space groups, Å."""
LOOSE_ANG = 0.1
"""Symprec that also sees through the noise of a loose relaxation, Å."""


def space_group(crystal: Crystal, *, symprec: float = TIGHT_ANG) -> int | None:
    """Return the number of the space group, None where moyo finds none.

    Args:
        crystal: Any; one that is no crystal has no space group.
        symprec: How far, in Å, a site may be from where an operation would put it.
    """
    import moyopy

    with _quiet():
        try:
            cell = moyopy.Cell(
                crystal.lattice.tolist(), crystal.frac.tolist(), crystal.numbers.tolist()
            )
            return int(moyopy.MoyoDataset(cell, symprec=symprec).number)
        except ValueError:
            return None


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep moyo from a line for every supercell and every site that a refined cell would move."""
    log = logging.getLogger("moyo")
    level = log.level
    log.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        log.setLevel(level)
