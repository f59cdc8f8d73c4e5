"""The chemical elements: arrays indexed by atomic number, 0 to 118, with nothing at index 0.

``elements.csv`` beside this file is made by ``tools/make_elements.py`` from pymatgen's tables
(MIT); that script names their sources. Nothing here imports pymatgen.
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from matgen.errors import BadCrystal

HEAVIEST: Final = 118
"""Largest atomic number."""


def _read_table() -> list[dict[str, str]]:
    with Path(__file__).with_name("elements.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _column(rows: list[dict[str, str]], name: str) -> NDArray[np.float64]:
    column = np.array([np.nan, *(float(row[name] or "nan") for row in rows)])
    column.flags.writeable = False
    return column


_ROWS: Final = _read_table()
_PAIRS: Final = tuple(
    tuple(pair.split(":") for pair in row["oxidation_states"].split()) for row in _ROWS
)

symbols: Final[tuple[str, ...]] = ("", *(row["symbol"] for row in _ROWS))
"""Symbol of each element."""
masses: Final = _column(_ROWS, "mass")
"""(119,) standard atomic masses, Da."""
electronegativity: Final = _column(_ROWS, "electronegativity")
"""(119,) Pauling electronegativity; NaN for He, Ne, Ar and beyond Lr."""
hhi_production: Final = _column(_ROWS, "hhi_production")
"""(119,) Herfindahl–Hirschman index of the production, 0 to 10,000; NaN where undefined.

Source: Gaultois et al., Chem. Mater. 25, 2911 (2013).
"""
hhi_reserve: Final = _column(_ROWS, "hhi_reserve")
"""(119,) Herfindahl–Hirschman index of the known reserves, as ``hhi_production``."""
covalent_radii: Final = _column(_ROWS, "covalent_radius")
"""(119,) covalent radii, Å; NaN beyond Cm. Source: Cordero et al., Dalton Trans. 2832 (2008)."""
metallic: Final[NDArray[np.bool_]] = _column(_ROWS, "metal") == 1
"""(119,) whether the element is a metal."""
metallic.flags.writeable = False
oxidation_states: Final[tuple[tuple[int, ...], ...]] = (
    (),
    *(tuple(int(state) for state, _ in pairs) for pairs in _PAIRS),
)
"""Formal oxidation states of each element, ascending, 0 always among them.

The common ones and those that the ICSD has; species tokens and ``crystal.oxidation`` share them.
"""
oxidation_weights: Final[tuple[tuple[float, ...], ...]] = (
    (),
    *(tuple(float(weight) for _, weight in pairs) for pairs in _PAIRS),
)
"""How often each of ``oxidation_states`` occurs in the ICSD, pseudo-counts added; positive."""

_NUMBERS: Final = {symbol: number for number, symbol in enumerate(symbols) if number}
_ISOTOPES: Final = {"D": "deuterium", "T": "tritium"}


def table_place(number: int) -> tuple[float, float]:
    """Return column (0 to 17) and row of an element in the periodic table.

    The f elements are in two rows of their own, half a row below the others.
    """
    for first, row in ((57, 7.6), (89, 8.6)):
        if first <= number < first + 15:
            return number - first + 2.0, row
    starts = (1, 3, 11, 19, 37, 55, 87)
    row = max(index for index, start in enumerate(starts) if number >= start)
    # Counted from the noble gas at the right end, except for the first two columns.
    ends = (2, 10, 18, 36, 54, 86, 118)
    place = number - starts[row]
    n_left = 1 if row == 0 else 2
    return float(place if place < n_left else 17 - (ends[row] - number)), float(row)


def atomic_number(symbol: str) -> int:
    """Return the atomic number of an element.

    Raises:
        BadCrystal: no element has this symbol; isotopes have no symbol of their own.
    """
    if symbol in _NUMBERS:
        return _NUMBERS[symbol]
    if symbol in _ISOTOPES:
        raise BadCrystal(
            f"{symbol!r} is {_ISOTOPES[symbol]}, and isotopes are not told apart; write H"
        )
    raise BadCrystal(f"no element has the symbol {symbol!r}; expected one such as H, Fe or Cl")
