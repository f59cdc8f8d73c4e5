"""Make ``matgen/elements.csv`` from pymatgen's tables: ``python tools/make_elements.py``.

Not shipped. pymatgen is MIT-licensed (Ong et al., Comput. Mater. Sci. 68, 314, 2013). Sources:

- masses, Pauling electronegativities, oxidation states: pymatgen's periodic table
- occurrence of oxidation states: pymatgen's ``icsd_bv.yaml``, counted in the ICSD
- HHI of production and reserves: Gaultois et al., Chem. Mater. 25, 2911 (2013)
- covalent radii: Cordero et al., Dalton Trans. 2832 (2008), as pymatgen has them
"""

from __future__ import annotations

import csv
import math
import warnings
from pathlib import Path

from monty.serialization import loadfn
from pymatgen.analysis.hhi import HHIModel
from pymatgen.analysis.molecule_structure_comparator import CovalentRadius
from pymatgen.core import Element, composition

TARGET = Path(__file__).parent.parent / "matgen" / "elements.csv"
HEADER = (
    "number",
    "symbol",
    "mass",
    "electronegativity",
    "hhi_production",
    "hhi_reserve",
    "covalent_radius",
    "metal",
    "oxidation_states",
)
COMMON = 10
"""Pseudo-count of a common state, so that actinides, rare in the ICSD, are not left to chance."""
RARE = 1
"""Pseudo-count of any other state of the table."""


def main() -> None:
    """Write the table."""
    occurrence = loadfn(Path(composition.__file__).parent / "icsd_bv.yaml")["occurrence"]
    hhi = HHIModel().symbol_hhip_hhir
    with TARGET.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(HEADER)
        for number in range(1, 119):
            element = Element.from_Z(number)
            electronegativity = float(element.X)
            production, reserve = hhi.get(element.symbol, ("", ""))
            rows.writerow(
                [
                    number,
                    element.symbol,
                    repr(float(element.atomic_mass)),
                    "" if math.isnan(electronegativity) else electronegativity,
                    production,
                    reserve,
                    CovalentRadius.radius.get(element.symbol, ""),
                    int(element.is_metal),
                    " ".join(f"{s}:{w}" for s, w in states(element, occurrence)),
                ]
            )


def states(element: Element, occurrence: dict[str, int]) -> list[tuple[int, int]]:
    """Return the oxidation states of an element, ascending, each with its weight."""
    common = set(element.common_oxidation_states)
    every = sorted(common | set(element.icsd_oxidation_states) | {0})
    return [
        (
            state,
            occurrence.get(species_name(element.symbol, state), 0)
            + (COMMON if state in common else RARE),
        )
        for state in every
    ]


def species_name(symbol: str, state: int) -> str:
    """Return Fe3+, Na+, O2-, Fe0+: how pymatgen spells a species."""
    size = "" if abs(state) == 1 else str(abs(state))
    return f"{symbol}{size}{'-' if state < 0 else '+'}"


warnings.filterwarnings("ignore", message="No Pauling electronegativity")
main()
