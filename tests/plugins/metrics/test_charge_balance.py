"""The composition test gives the labels of the SMACT release each table comes from."""

from __future__ import annotations

import gzip
import json
from itertools import product
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from matgen.elements import symbols
from matgen_metrics.charge_balance import OxidationTable, balanced, elements

GOLDEN = Path(__file__).parents[2] / "golden" / "eval" / "composition_validity.json.gz"
NUMBERS = {symbol: number for number, symbol in enumerate(symbols)}


@pytest.mark.parametrize("table", ["smact14", "icsd24"])
def test_labels_are_those_of_smact(table: OxidationTable) -> None:
    for saved in json.loads(gzip.decompress(GOLDEN.read_bytes())).values():
        found = [
            balanced({NUMBERS[symbol]: n for symbol, n in counts.items()}, table)
            for counts in saved["compositions"]
        ]
        assert found == saved[table]


def _by_enumeration(counts: dict[int, int]) -> bool:
    known = [elements()[number] for number in counts]
    for choice in product(*(element.states["smact14"] or () for element in known)):
        if sum(n * state for n, state in zip(counts.values(), choice, strict=True)):
            continue
        ions = [(state, e.pauling or 0.0) for state, e in zip(choice, known, strict=True)]
        if all(x < y for state, x in ions if state > 0 for other, y in ions if other < 0):
            return True
    return False


# Nonmetals and elements with an electronegativity and at least one state, so that the rules for
# alloys and unknown values stay out of the way.
@given(
    st.dictionaries(
        st.sampled_from([1, 5, 6, 7, 8, 9, 14, 15, 16, 17, 34, 35, 53]),
        st.integers(1, 6),
        min_size=2,
        max_size=4,
    ),
    st.sampled_from([3, 12, 13, 22, 26, 56, 58]),
    st.integers(1, 6),
)
def test_summing_up_finds_what_enumeration_finds(
    nonmetals: dict[int, int], metal: int, amount: int
) -> None:
    counts = {**nonmetals, metal: amount}
    assert balanced(counts, "smact14") == _by_enumeration(counts)


def test_twenty_elements_take_no_enumeration() -> None:
    assert balanced({number: 1 for number in range(3, 36) if number not in (10, 18)}, "smact14")


def test_unknown_elements_are_not_judged() -> None:
    assert balanced({118: 1, 8: 2}, "smact14") is None
    assert balanced({61: 2, 8: 3}, "icsd24") is None
    assert balanced({200: 1, 8: 1}, "smact14") is None
