"""What published schemes add to raw PBE(+U) energies before they are compared with a hull.

A potential trained on raw energies of the Materials Project gives raw energies. The Materials
Project mixes PBE and PBE+U and corrects anions before it builds its hull; so must we, as if the
crystal had been computed with its settings (MPRelaxSet): which elements get a Hubbard U, which
pseudopotentials, and which oxygen bonds there are decide the correction. Energies of a potential
that was trained on corrected energies (CHGNet) are never corrected again.
"""

from __future__ import annotations

import warnings
from collections import Counter
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np

from matgen.elements import symbols
from matgen.errors import OutsideHull
from matgen.records import Crystal

if TYPE_CHECKING:
    from pymatgen.entries.compatibility import Compatibility

Scheme = Literal["none", "mp2020", "tri2024"]
"""``mp2020``: Wang et al., Sci. Rep. 11, 15496 (2021), as pymatgen applies it. ``tri2024``: Rohr,
Suram and Bakander, ChemRxiv 10.26434/chemrxiv-2024-q5058 (2024)."""

RAW_SCALE: Final = "pbe+u"
"""The energy scale that corrections start from; they end on the scale named like the scheme."""

_TRI_FACTOR: Final = 1.108
"""Of every PBE or PBE+U energy. Source: ChemRxiv 10.26434/chemrxiv-2024-q5058, section 2.1 of its
supplement."""
_TRI_U_EV: Final = {
    "Co": -2.275,
    "Cr": -2.707,
    "Fe": -3.189,
    "Mn": -2.28,
    "Mo": -4.93,
    "Ni": -3.361,
    "V": -2.774,
    "W": -6.261,
}
"""Of each site of a PBE+U run, eV. Source: the same, table 1."""


@dataclass(frozen=True)
class Run:
    """How the Materials Project would have computed a crystal.

    Attributes:
        kind: ``GGA`` or ``GGA+U``.
        hubbards: Element to U - J, eV; empty where no element has one.
        potcars: Pseudopotentials, the least electronegative element first.
        oxide: ``oxide``, ``peroxide``, ``superoxide``, ``ozonide``, ``hydroxide`` or ``None``.
    """

    kind: Literal["GGA", "GGA+U"]
    hubbards: dict[str, float]
    potcars: tuple[str, ...]
    oxide: str


@dataclass(frozen=True)
class Adjustment:
    """One term of a correction: a name and eV for the whole cell."""

    name: str
    energy_ev: float


def run_of(crystal: Crystal) -> Run:
    """Return how the Materials Project would have computed a crystal.

    Raises:
        OutsideHull: its settings have no pseudopotential for an element.

    Source: pymatgen's MPRelaxSet; the same facts as ``VasprunLike`` of microsoft/mattergen takes.
    """
    from pymatgen.analysis.structure_analyzer import oxide_type
    from pymatgen.core.periodic_table import Element

    present = {symbols[int(number)] for number in crystal.numbers}
    elements = sorted(present, key=lambda symbol: (Element(symbol).X, symbol))
    settings = _settings()
    unknown = sorted(present - set(settings["POTCAR"]))
    if unknown:
        raise OutsideHull(
            f"{', '.join(unknown)}: the Materials Project's settings have no pseudopotential, so "
            "no correction is known"
        )
    potcars = tuple(f"PBE {settings['POTCAR'][symbol]}" for symbol in elements)
    # The table is of the most electronegative element: only oxides and fluorides have one.
    table = settings["INCAR"]["LDAUU"].get(elements[-1], {})
    hubbards = {symbol: table.get(symbol, 0) for symbol in elements}
    has_u = sum(hubbards.values()) > 0
    return Run(
        kind="GGA+U" if has_u else "GGA",
        hubbards=hubbards if has_u else {},
        potcars=potcars,
        oxide=str(oxide_type(crystal.to_structure())),
    )


def adjustments(crystal: Crystal, energy_ev: float, scheme: Scheme) -> tuple[Adjustment, ...]:
    """Return what a scheme adds to a raw energy.

    Args:
        crystal: Its bonds tell oxides, peroxides and sulfides apart.
        energy_ev: Raw total energy of the cell, eV.
        scheme: ``none`` adds nothing.

    Raises:
        OutsideHull: the scheme has no rule for an element.
    """
    if scheme == "none":
        return ()
    run = run_of(crystal)
    return _tri2024(crystal, energy_ev, run) if scheme == "tri2024" else _mp2020(crystal, run)


def corrected(crystal: Crystal, energy_ev: float, scheme: Scheme) -> float:
    """Return the corrected total energy of the cell, eV.

    Raises:
        OutsideHull: as ``adjustments``.
    """
    return energy_ev + sum(term.energy_ev for term in adjustments(crystal, energy_ev, scheme))


def _tri2024(crystal: Crystal, energy_ev: float, run: Run) -> tuple[Adjustment, ...]:
    terms = [Adjustment("TRI110PBE", energy_ev * (_TRI_FACTOR - 1.0))]
    if run.kind == "GGA+U":
        counts = Counter(symbols[int(number)] for number in crystal.numbers)
        found = sum(n * _TRI_U_EV[symbol] for symbol, n in counts.items() if symbol in _TRI_U_EV)
        terms.append(Adjustment("TRI110PBE_U", found))
    return tuple(terms)


def _mp2020(crystal: Crystal, run: Run) -> tuple[Adjustment, ...]:
    from pymatgen.entries.compatibility import CompatibilityError
    from pymatgen.entries.computed_entries import ComputedStructureEntry

    structure = crystal.to_structure()
    entry = ComputedStructureEntry(
        structure,
        0.0,  # no term of this scheme depends on the energy
        parameters={
            "run_type": run.kind,
            "is_hubbard": run.kind == "GGA+U",
            "hubbards": run.hubbards,
            "potcar_symbols": list(run.potcars),
        },
        data={"oxide_type": run.oxide, "oxidation_states": dict(_oxidation(_counts(crystal)))},
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of compositions without oxidation states
        try:
            found = _compatibility().get_adjustments(entry)
        except CompatibilityError as error:
            raise OutsideHull(f"no MP2020 correction: {error}") from None
    return tuple(Adjustment(term.name, float(term.value)) for term in found)


def _counts(crystal: Crystal) -> tuple[tuple[int, int], ...]:
    """Return atomic numbers and how many of each there are in the reduced formula."""
    numbers, counts = np.unique(crystal.numbers, return_counts=True)
    counts //= np.gcd.reduce(counts)
    return tuple(zip(numbers.tolist(), counts.tolist(), strict=True))


@lru_cache(maxsize=16384)
def _oxidation(counts: tuple[tuple[int, int], ...]) -> tuple[tuple[str, float], ...]:
    """Return pymatgen's guess of the oxidation states; it takes up to a second."""
    from pymatgen.core.composition import Composition

    composition = Composition({symbols[number]: n for number, n in counts})
    try:
        guesses = composition.oxi_state_guesses(max_sites=-20)
    except ValueError:  # more than 20 sites in the formula: pymatgen corrects without states
        return ()
    return tuple(guesses[0].items()) if guesses else ()


@lru_cache(maxsize=1)
def _settings() -> dict[str, Any]:  # pymatgen's YAML file
    from pymatgen.io.vasp.sets import MPRelaxSet

    settings: dict[str, Any] = MPRelaxSet.CONFIG
    return settings


@lru_cache(maxsize=1)
def _compatibility() -> Compatibility:
    from pymatgen.entries.compatibility import MaterialsProject2020Compatibility

    return MaterialsProject2020Compatibility()
