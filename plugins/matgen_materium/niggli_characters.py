"""The 44 Niggli characters: which reduced cells belong to which Bravais lattice.

A reduced cell has A = a·a, B = b·b, C = c·c, D = b·c, E = a·c, F = a·b. A lattice has a character's
Bravais type if its reduced cell meets the character's equalities; they are linear, so every cell
that meets them has at least that symmetry, reduced or not.

Source: International Tables for Crystallography A, table 9.2.5.1; numbers are the table's.
Deviates: the sums that the table marks by asterisks, 2|D + E + F| = A + B, and by a dagger, also
|2D + F| = B, are solved for the last entry that they decide (all are negative there).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

Linear = tuple[float, float, float, float]
"""A dot product as a sum over A, B, D, E; each entry of a character uses earlier ones alone."""
Entry = Linear | None
"""None where it is free."""

FREE: Final = None
_0: Final = (0.0, 0.0, 0.0, 0.0)
_A_2: Final = (1 / 2, 0.0, 0.0, 0.0)
_A_4: Final = (1 / 4, 0.0, 0.0, 0.0)
_MINUS_A_2: Final = (-1 / 2, 0.0, 0.0, 0.0)
_MINUS_A_3: Final = (-1 / 3, 0.0, 0.0, 0.0)
_B_2: Final = (0.0, 1 / 2, 0.0, 0.0)
_MINUS_B_2: Final = (0.0, -1 / 2, 0.0, 0.0)
EQUALS_D: Final = (0.0, 0.0, 1.0, 0.0)
_2D: Final = (0.0, 0.0, 2.0, 0.0)
EQUALS_E: Final = (0.0, 0.0, 0.0, 1.0)
_2E: Final = (0.0, 0.0, 0.0, 2.0)
_SUM: Final = (-1 / 2, -1 / 2, -1.0, -1.0)
"""D + E + F = -(A + B)/2, solved for F."""


@dataclass(frozen=True)
class Character:
    """One row of the table.

    Attributes:
        number: 1 to 44.
        bravais: Bravais type, such as ``tI``.
        equal: Which squared lengths are equal: ``ABC``, ``AB``, ``BC`` or none.
        d: b·c.
        e: a·c.
        f: a·b.
    """

    number: int
    bravais: str
    equal: Literal["", "AB", "BC", "ABC"]
    d: Entry
    e: Entry
    f: Entry


CHARACTERS: Final = (
    Character(1, "cF", "ABC", _A_2, _A_2, _A_2),
    Character(2, "hR", "ABC", FREE, EQUALS_D, EQUALS_D),
    Character(3, "cP", "ABC", _0, _0, _0),
    Character(4, "hR", "ABC", FREE, EQUALS_D, EQUALS_D),
    Character(5, "cI", "ABC", _MINUS_A_3, _MINUS_A_3, _MINUS_A_3),
    Character(6, "tI", "ABC", FREE, EQUALS_D, _SUM),
    Character(7, "tI", "ABC", FREE, (-1 / 2, 0.0, -1 / 2, 0.0), EQUALS_E),
    Character(8, "oI", "ABC", FREE, FREE, _SUM),
    Character(9, "hR", "AB", _A_2, EQUALS_D, _A_2),
    Character(10, "mC", "AB", FREE, EQUALS_D, FREE),
    Character(11, "tP", "AB", _0, _0, _0),
    Character(12, "hP", "AB", _0, _0, _MINUS_A_2),
    Character(13, "oC", "AB", _0, _0, FREE),
    Character(14, "mC", "AB", FREE, EQUALS_D, FREE),
    Character(15, "tI", "AB", _MINUS_A_2, EQUALS_D, _0),
    Character(16, "oF", "AB", FREE, EQUALS_D, _SUM),
    Character(17, "mC", "AB", FREE, FREE, _SUM),
    Character(18, "tI", "BC", _A_4, _A_2, EQUALS_E),
    Character(19, "oI", "BC", FREE, _A_2, EQUALS_E),
    Character(20, "mC", "BC", FREE, FREE, EQUALS_E),
    Character(21, "tP", "BC", _0, _0, _0),
    Character(22, "hP", "BC", _MINUS_B_2, _0, _0),
    Character(23, "oC", "BC", FREE, _0, _0),
    Character(24, "hR", "BC", (1 / 6, -1 / 2, 0.0, 0.0), _MINUS_A_3, EQUALS_E),
    Character(25, "mC", "BC", FREE, FREE, EQUALS_E),
    Character(26, "oF", "", _A_4, _A_2, _A_2),
    Character(27, "mC", "", FREE, _A_2, _A_2),
    Character(28, "mC", "", FREE, _A_2, _2D),
    Character(29, "mC", "", FREE, _2D, _A_2),
    Character(30, "mC", "", _B_2, FREE, _2E),
    Character(31, "aP", "", FREE, FREE, FREE),
    Character(32, "oP", "", _0, _0, _0),
    Character(33, "mP", "", _0, FREE, _0),
    Character(34, "mP", "", _0, _0, FREE),
    Character(35, "mP", "", FREE, _0, _0),
    Character(36, "oC", "", _0, _MINUS_A_2, _0),
    Character(37, "mC", "", FREE, _MINUS_A_2, _0),
    Character(38, "oC", "", _0, _0, _MINUS_A_2),
    Character(39, "mC", "", FREE, _0, _MINUS_A_2),
    Character(40, "oC", "", _MINUS_B_2, _0, _0),
    Character(41, "mC", "", _MINUS_B_2, FREE, _0),
    Character(42, "oI", "", _MINUS_B_2, _MINUS_A_2, _0),
    Character(43, "mC", "", FREE, (-1 / 2, 1 / 2, 1.0, 0.0), (0.0, -1.0, -2.0, 0.0)),
    Character(44, "aP", "", FREE, FREE, FREE),
)

SYSTEMS: Final = {
    "cubic": ("cP", "cI", "cF"),
    "hexagonal": ("hP",),
    "rhombohedral": ("hR",),
    "tetragonal": ("tP", "tI"),
    "orthorhombic": ("oP", "oC", "oI", "oF"),
    "monoclinic": ("mP", "mC"),
    "triclinic": ("aP",),
}
"""Lattice system to its Bravais types; mI is the tables' other setting of mC."""


def characters_of(system: str) -> tuple[Character, ...]:
    """Return the different rows of a lattice system; some differ by inequalities alone."""
    found: dict[tuple[object, ...], Character] = {}
    for row in CHARACTERS:
        if row.bravais in SYSTEMS[system]:
            found.setdefault((row.equal, row.d, row.e, row.f), row)
    return tuple(found.values())
