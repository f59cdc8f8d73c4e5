"""Properties that a crystal shows by itself, without symmetry or a potential."""

from __future__ import annotations

from typing import Literal

import numpy as np

from matgen.elements import hhi_production, hhi_reserve, masses
from matgen.records import Crystal
from matgen.units import GRAM_PER_CM3_PER_DALTON_PER_ANGSTROM3


def density(crystal: Crystal) -> float:
    """Return the mass density, g/cm³."""
    mass = float(masses[crystal.numbers].sum())
    return mass / crystal.volume * GRAM_PER_CM3_PER_DALTON_PER_ANGSTROM3


def hhi(crystal: Crystal, table: Literal["production", "reserve"]) -> float | None:
    """Return the Herfindahl–Hirschman index, 0 to 10,000, averaged by mass fraction.

    None where an element has none: H, the noble gases but He, Tc, Th, U and beyond.

    Args:
        table: Market shares of today's production, or of known reserves.

    Source: Gaultois et al., Chem. Mater. 25, 2911 (2013).
    """
    indices = (hhi_production if table == "production" else hhi_reserve)[crystal.numbers]
    if np.isnan(indices).any():
        return None
    weights = masses[crystal.numbers]
    return float(weights @ indices / weights.sum())
