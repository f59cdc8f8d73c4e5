"""Properties that a crystal itself tells, by name: those of ``matgen data import --properties``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np

from matgen.crystal.composition import chemical_system, reduced_formula
from matgen.crystal.properties import density, hhi
from matgen.crystal.symmetry import space_group
from matgen.records import Crystal, PropertyValue
from matgen.units import CANONICAL_UNITS

COMPUTED_BY: Final = "computed"
"""Name of the label source of these properties."""
NO_UNIT: Final = "1"


@dataclass(frozen=True)
class OwnProperty:
    """A property that needs nothing but the crystal.

    Attributes:
        unit: That of ``matgen.units`` where it is there.
        of: Returns the value, None where it is not defined.
    """

    unit: str
    of: Callable[[Crystal], PropertyValue | None]


def _space_group(crystal: Crystal) -> float | None:
    number = space_group(crystal)
    return None if number is None else float(number)


def _hhi(crystal: Crystal) -> float | None:
    index = hhi(crystal, "production")
    return None if index is None else index / 1000.0


def _n_sites(crystal: Crystal) -> float:
    return float(crystal.n_sites)


def _n_elements(crystal: Crystal) -> float:
    return float(len(np.unique(crystal.numbers)))


def _chemical_system(crystal: Crystal) -> str:
    return chemical_system(crystal.numbers)


OWN_PROPERTIES: Final[dict[str, OwnProperty]] = {
    "density": OwnProperty(CANONICAL_UNITS["density"], density),
    "space_group": OwnProperty(CANONICAL_UNITS["space_group"], _space_group),
    "hhi": OwnProperty(CANONICAL_UNITS["hhi"], _hhi),
    "reduced_formula": OwnProperty(CANONICAL_UNITS["reduced_formula"], reduced_formula),
    "chemical_system": OwnProperty(CANONICAL_UNITS["chemical_system"], _chemical_system),
    "n_sites": OwnProperty(CANONICAL_UNITS["n_sites"], _n_sites),
    "n_elements": OwnProperty(NO_UNIT, _n_elements),
}
"""Space groups at a symprec of 0.01 Å; HHI of today's production, in thousands."""
