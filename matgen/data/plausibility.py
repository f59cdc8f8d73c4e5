"""What makes a record doubtful by itself: no crystal, impossible values, another cell."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from matgen.crystal.cell import canonical_cell
from matgen.crystal.checks import check_crystal
from matgen.crystal.properties import density
from matgen.errors import CrystalError
from matgen.records import Crystal, Record
from matgen.units import CANONICAL_UNITS

PLAUSIBLE: Final[Mapping[str, tuple[float, float]]] = {
    "band_gap": (0.0, 25.0),  # solid helium, the widest, is near 20 eV
    "density": (0.05, 30.0),  # osmium, the densest at ambient pressure, has 22.6 g/cm³
    "energy_above_hull": (-1.0, 10.0),
    "formation_energy_per_atom": (-6.0, 10.0),  # fluorides reach -4.5 eV/atom
    "hhi": (0.0, 10.0),
    "magnetic_density": (0.0, 1.0),  # gadolinium has 0.25
    "n_sites": (1.0, 1e6),
    "space_group": (1.0, 230.0),
}
"""Property to the range, in its canonical unit, outside which a value is likely a mistake."""
_SAME_CELL: Final = 1e-3
"""Difference of scalar products of lattice vectors, over volume^(2/3), that is rounding."""


@dataclass(frozen=True, slots=True)
class Doubt:
    """One thing that is likely wrong with a record."""

    kind: str
    detail: str


def odd_units(units: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yield properties whose unit is not the canonical one, and what it is and should be."""
    for name, unit in units.items():
        if unit != CANONICAL_UNITS.get(name, unit):
            yield name, f"{unit}, canonical is {CANONICAL_UNITS[name]}"


def doubts(record: Record, *, reduced: bool) -> list[Doubt]:
    """Return what is doubtful about a record.

    Args:
        reduced: Whether the dataset says that every crystal is in its canonical cell; only then
            does one in another cell count.
    """
    found = [
        Doubt(f"implausible {name}", f"{value:g}, expected {low:g} to {high:g}")
        for name, (low, high) in PLAUSIBLE.items()
        if isinstance(value := record.properties.get(name), int | float)
        and math.isfinite(value)
        and not low <= value <= high
    ]
    found += [
        Doubt("property is not finite", f"{name} is {value}")
        for name, value in record.properties.items()
        if isinstance(value, float) and not math.isfinite(value)
    ]
    crystal = record.crystal
    try:
        check_crystal(crystal)
    except CrystalError as error:
        return [*found, Doubt("no sound crystal", str(error))]
    low, high = PLAUSIBLE["density"]
    if not low <= (mass := density(crystal)) <= high:
        found.append(Doubt("implausible density of the crystal", f"{mass:.3g} g/cm3"))
    if reduced and (reason := _unreduced(crystal)):
        found.append(Doubt("cell is not the reduced one", reason))
    return found


def _unreduced(crystal: Crystal) -> str:
    """Return in what a crystal differs from its canonical cell, nothing if it does not."""
    try:
        cell = canonical_cell(crystal)
    except CrystalError as error:
        return str(error)
    if cell.n_sites != crystal.n_sites:
        return f"{crystal.n_sites} sites, the primitive cell has {cell.n_sites}"
    far = float(np.abs(_metric(cell.lattice) - _metric(crystal.lattice)).max())
    if far > _SAME_CELL * crystal.volume ** (2.0 / 3.0):
        return "its canonical cell is another one"
    return ""


def _metric(lattice: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return squared lengths and absolute scalar products, alike for all equal Niggli cells."""
    products: NDArray[np.float64] = lattice @ lattice.T
    off = np.sort(np.abs(products[np.triu_indices(3, 1)]))
    return np.concatenate([np.sort(np.diagonal(products)), off])
