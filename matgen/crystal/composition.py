"""Formulas: counts of elements, and the spellings that pymatgen gives them."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from matgen.elements import atomic_number, electronegativity, symbols
from matgen.errors import BadCrystal, BadOptions
from matgen.records import Crystal

SPECIAL_FORMULAS = {
    "LiO": "Li2O2",
    "NaO": "Na2O2",
    "KO": "K2O2",
    "HO": "H2O2",
    "CsO": "Cs2O2",
    "RbO": "Rb2O2",
    "O": "O2",
    "N": "N2",
    "F": "F2",
    "Cl": "Cl2",
    "H": "H2",
}
"""Formulas that are not reduced all the way: peroxides and diatomic molecules, as pymatgen."""
POLYANION_DIFFERENCE = 1.65
"""Pauling electronegativities of the last two elements closer than this go into parentheses."""
MAX_ATOMS = 1_000_000
"""Largest formula; beyond it is a typing error."""
_ELECTRONEGATIVITIES = tuple(electronegativity.tolist())
_RANKS = tuple(
    (math.inf if math.isnan(value) else value, symbol)
    for value, symbol in zip(_ELECTRONEGATIVITIES, symbols, strict=True)
)
"""What elements are ordered by in a formula: electronegativity, those without one last."""


def reduced_counts(numbers: ArrayLike) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the elements and how many of each the reduced formula has.

    Args:
        numbers: (N,) atomic numbers, at least one.

    Returns:
        (E,) atomic numbers, ascending, and (E,) counts without a common divisor.
    """
    elements, counts = np.unique(np.asarray(numbers, dtype=np.int64), return_counts=True)
    return elements, (counts // math.gcd(*counts.tolist())).astype(np.int64)


def reduced_formula(crystal: Crystal | ArrayLike) -> str:
    """Return the reduced formula, spelled as pymatgen's ``Composition.reduced_formula``.

    Elements by electronegativity, then by symbol; a repeated pair at the end in parentheses, as in
    Ca3(PO4)2; O2 and Na2O2 stay whole.

    Args:
        crystal: A crystal, or the (N,) atomic numbers of one.
    """
    numbers = crystal.numbers if isinstance(crystal, Crystal) else crystal
    # Not np.unique, which takes three times as long for the few sites of a cell.
    formula, _ = _reduced(Counter(np.asarray(numbers, dtype=np.int64).tolist()))
    return SPECIAL_FORMULAS.get(formula, formula)


def chemical_system(numbers: ArrayLike) -> str:
    """Return the symbols of the elements in alphabetical order: Fe-Li-O.

    Args:
        numbers: (N,) atomic numbers, repeated or not.
    """
    present = np.unique(np.asarray(numbers, dtype=np.int64)).tolist()
    return "-".join(sorted(symbols[number] for number in present))


def parse_formula(text: str) -> dict[int, int]:
    """Return how many atoms of each element a formula has; parentheses may be nested.

    Returns:
        Atomic number to count, in the order of first mention.

    Raises:
        BadOptions: no formula of whole numbers of known elements; says where.
    """
    tokens = re.findall(r"[A-Z][a-z]?|\d+(?:\.\d+)?|[()\[\]]|\S", text)
    if not tokens:
        raise BadOptions(f"{text!r} is no formula; expected one such as LiFePO4 or Ca3(PO4)2")
    levels: list[dict[int, int]] = [{}]
    opened: list[str] = []
    position = 0
    while position < len(tokens):
        token = tokens[position]
        position += 1
        if token in ("(", "["):
            opened.append(token)
            levels.append({})
            continue
        if token in (")", "]"):
            if not opened or opened.pop() + token not in ("()", "[]"):
                raise BadOptions(f"{text!r} is no formula: {token!r} closes nothing")
            group = levels.pop()
            if not group:
                raise BadOptions(f"{text!r} is no formula: it has empty parentheses")
        else:
            group = {_element(token, text): 1}
        multiplier, position = _multiplier(tokens, position, text)
        for number, count in group.items():
            levels[-1][number] = levels[-1].get(number, 0) + count * multiplier
    if opened:
        raise BadOptions(f"{text!r} is no formula: {opened[-1]!r} is never closed")
    (counts,) = levels
    if sum(counts.values()) > MAX_ATOMS:
        raise BadOptions(f"{text!r} has more than {MAX_ATOMS} atoms; write a reduced formula")
    return counts


def _reduced(counts: Mapping[int, int]) -> tuple[str, int]:
    """Return the formula and by what the counts were divided."""
    divisor = math.gcd(*counts.values())
    order = sorted(counts, key=_RANKS.__getitem__)
    tail = ""
    # With NaN for a noble gas the comparison is false, and pymatgen's is too.
    if len(order) >= 3 and (
        _ELECTRONEGATIVITIES[order[-1]] - _ELECTRONEGATIVITIES[order[-2]] < POLYANION_DIFFERENCE
    ):
        inner, repeats = _reduced({number: counts[number] // divisor for number in order[-2:]})
        if repeats != 1:
            tail = f"({inner}){repeats}"
            order = order[:-2]
    return _spelled(order, [counts[number] // divisor for number in order]) + tail, divisor


def _spelled(order: Sequence[int], counts: Sequence[int]) -> str:
    return "".join(
        f"{symbols[number]}{count if count != 1 else ''}"
        for number, count in zip(order, counts, strict=True)
    )


def _element(token: str, text: str) -> int:
    if not token[0].isalpha():
        raise BadOptions(f"{text!r} is no formula: an element is expected before {token!r}")
    try:
        return atomic_number(token)
    except BadCrystal as error:
        raise BadOptions(f"{text!r} is no formula: {error}") from None


def _multiplier(tokens: Sequence[str], position: int, text: str) -> tuple[int, int]:
    """Return the number at a position, 1 where there is none, and the position after it."""
    if position == len(tokens) or not tokens[position][0].isdigit():
        return 1, position
    token = tokens[position]
    if not token.isascii() or not token.isdigit() or int(token[:8]) == 0 or len(token) > 7:
        raise BadOptions(
            f"{text!r} is no formula: {token} is no count; expected a whole number of at least 1"
        )
    return int(token), position + 1
