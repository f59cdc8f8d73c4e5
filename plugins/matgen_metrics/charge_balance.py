"""Whether a composition can be charge neutral with its anions the more electronegative elements.

Source: Davies et al., "SMACT", J. Open Source Softw. 4, 1361 (2019), and the test that CDVAE,
DiffCSP and MatterGen make of it: a single element and an all-metal composition always pass;
otherwise some choice of one oxidation state per element must be neutral and pass the Pauling test.
Deviates: combinations are not enumerated but summed up, so that ten elements take no longer.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from math import gcd
from pathlib import Path
from typing import Final, Literal, TypeAlias

OxidationTable: TypeAlias = Literal["smact14", "icsd24"]

_FILE: Final = Path(__file__).parent / "data" / "smact.csv"


@dataclass(frozen=True, slots=True)
class Element:
    """One element as SMACT has it.

    Attributes:
        pauling: Pauling electronegativity, None where unknown.
        metal: Whether SMACT counts it as a metal.
        states: Table name to oxidation states, None where the table lacks the element.
    """

    pauling: float | None
    metal: bool
    states: Mapping[str, tuple[int, ...] | None]


@cache
def elements() -> Mapping[int, Element]:
    """Return atomic number to element."""
    with _FILE.open(encoding="utf-8", newline="") as file:
        return {
            int(row["number"]): Element(
                None if row["pauling"] == "?" else float(row["pauling"]),
                row["metal"] == "1",
                {name: _states(row[name]) for name in ("smact14", "icsd24")},
            )
            for row in csv.DictReader(file)
        }


def balanced(counts: Mapping[int, int], table: OxidationTable) -> bool | None:
    """Return whether a composition passes; None where the table lacks one of its elements.

    Args:
        counts: Atomic number to number of sites.
        table: smact14 is what tables published before 2025 used (SMACT below 3); icsd24 the
            default of SMACT since.
    """
    if len(counts) == 1:
        return True
    known = elements()
    found = [known.get(number) for number in counts]
    if all(element is not None and element.metal for element in found):
        return True
    divisor = gcd(*counts.values())
    amounts, states, pauling = [], [], []
    for element, count in zip(found, counts.values(), strict=True):
        allowed = None if element is None else element.states[table]
        if element is None or allowed is None:
            return None
        amounts.append(count // divisor)
        states.append(allowed)
        pauling.append(element.pauling)
    if any(value is None for value in pauling):
        return False
    return _neutral_split(amounts, states, [value for value in pauling if value is not None])


def _neutral_split(amounts: list[int], states: list[tuple[int, ...]], pauling: list[float]) -> bool:
    """Return whether elements below some electronegativity, as cations, balance the others.

    The Pauling test says that every cation is less electronegative than every anion, so a passing
    choice always has such a border; zero states may stand on both sides.
    """
    for border in sorted(set(pauling)):
        totals = {0}
        for amount, allowed, value in zip(amounts, states, pauling, strict=True):
            side = [state for state in allowed if (state <= 0 if value > border else state >= 0)]
            totals = {total + amount * state for total in totals for state in side}
        if 0 in totals:
            return True
    return False


def _states(text: str) -> tuple[int, ...] | None:
    return None if text == "?" else tuple(int(state) for state in text.split())
