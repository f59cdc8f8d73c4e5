"""Input files of pw.x."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from matgen import Crystal, elements
from matgen_dft.k_points import BandPath
from matgen_dft.pseudopotentials import Pseudopotential

Value = str | int | float | bool
Namelists = Mapping[str, Mapping[str, Value]]


def pw_input(
    crystal: Crystal,
    namelists: Namelists,
    pseudopotentials: Mapping[int, Pseudopotential],
    k_points: str,
) -> str:
    """Return an input: namelists as given, with the crystal and its species filled in.

    Args:
        crystal: In the order of its sites.
        namelists: Title to entries; ``system`` gets lattice, number of sites and species.
        pseudopotentials: Atomic number to file; their order is that of the species.
        k_points: The card, with its title.
    """
    species = list(pseudopotentials)
    text = []
    for title, entries in namelists.items():
        given = dict(entries)
        if title == "system":
            counts = {"ibrav": 0, "nat": crystal.n_sites, "ntyp": len(species)}
            given = {**counts, **given}
        text.append(f"&{title}")
        text += [f"  {name} = {_fortran(value)}" for name, value in given.items()]
        text.append("/")
    text.append("ATOMIC_SPECIES")
    text += [
        f"{elements.symbols[z]} {elements.masses[z]:.4f} {pseudopotentials[z].path.name}"
        for z in species
    ]
    text += ["CELL_PARAMETERS angstrom", *map(_row, crystal.lattice)]
    text.append("ATOMIC_POSITIONS crystal")
    text += [
        f"{elements.symbols[z]} {_row(place)}"
        for z, place in zip(crystal.numbers.tolist(), crystal.frac, strict=True)
    ]
    return "\n".join([*text, k_points, ""])


def grid_card(divisions: Sequence[int]) -> str:
    """Return the card of a Monkhorst–Pack grid around Γ."""
    return "K_POINTS automatic\n" + " ".join(map(str, (*divisions, 0, 0, 0)))


def path_card(path: BandPath, points_per_segment: int) -> str:
    """Return the card of lines with so many points each; between branches it jumps."""
    corners = []
    for branch in path.branches:
        for place, (name, k) in enumerate(branch):
            n = points_per_segment if place < len(branch) - 1 else 1
            corners.append(f"{_row(k)} {n} ! {name}")
    return "\n".join(["K_POINTS crystal_b", str(len(corners)), *corners])


def _row(numbers: NDArray[np.float64]) -> str:
    return " ".join(f"{float(x):.12f}" for x in numbers)


def _fortran(value: Value) -> str:
    if isinstance(value, bool):
        return ".true." if value else ".false."
    if isinstance(value, str):
        return f"'{value}'"
    if isinstance(value, float):
        return f"{value:.10g}".replace("e", "d") if "e" in f"{value:.10g}" else f"{value:.10g}d0"
    return str(value)
