"""Canonical unit of every property, and the few physical constants matgen needs.

A unit is a plain string; two units are equal when the strings are. Nothing converts silently:
``plan.py`` compares what a dataset provides with what a condition expects and refuses a mismatch.
"""

from __future__ import annotations

from typing import Final

AVOGADRO_PER_MOL: Final = 6.02214076e23
"""Exact by definition of the mole (SI, 2019)."""

ANGSTROM3_PER_CM3: Final = 1.0e24

GRAM_PER_CM3_PER_DALTON_PER_ANGSTROM3: Final = ANGSTROM3_PER_CM3 / AVOGADRO_PER_MOL
"""Multiplies (Da / Å³) into g/cm³: 1.66053906717."""

CANONICAL_UNITS: Final[dict[str, str]] = {
    "band_gap": "eV",
    "density": "g/cm3",
    "energy_above_hull": "eV/atom",
    "formation_energy_per_atom": "eV/atom",
    "hhi": "thousands",
    "magnetic_density": "muB/A3",
    "n_sites": "sites",
    "space_group": "number",
    "reduced_formula": "formula",
    "chemical_system": "elements",
}
"""Property name to the unit that datasets, conditions and evaluators share."""
