import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymatgen.core import Composition

from matgen.crystal.composition import (
    chemical_system,
    parse_formula,
    reduced_counts,
    reduced_formula,
)
from matgen.elements import symbols
from matgen.errors import BadOptions

pytestmark = pytest.mark.filterwarnings("ignore:No Pauling electronegativity")

formulas = st.dictionaries(st.integers(1, 118), st.integers(1, 12), min_size=1, max_size=6)


def composition(numbers):
    kinds, counts = np.unique(numbers, return_counts=True)
    return Composition({symbols[z]: int(n) for z, n in zip(kinds, counts, strict=True)})


def numbers_of(counts):
    return np.repeat(list(counts), list(counts.values()))


@pytest.mark.slow
def test_every_formula_of_the_bundled_set_is_spelled_as_pymatgen_spells_it(mp_le20):
    for crystal in mp_le20:
        assert reduced_formula(crystal) == composition(crystal.numbers).reduced_formula


@given(formulas)
def test_any_formula_is_spelled_as_pymatgen_spells_it(counts):
    numbers = numbers_of(counts)
    assert reduced_formula(numbers) == composition(numbers).reduced_formula


@given(formulas)
def test_any_chemical_system_is_spelled_as_pymatgen_spells_it(counts):
    assert chemical_system(list(counts)) == composition(numbers_of(counts)).chemical_system


@given(formulas)
def test_a_formula_reads_back_as_its_counts(counts):
    assert parse_formula("".join(f"{symbols[z]}{n}" for z, n in counts.items())) == counts


@given(formulas)
def test_a_reduced_formula_is_read_as_pymatgen_reads_it(counts):
    formula = reduced_formula(numbers_of(counts))
    expected = {element.Z: int(n) for element, n in Composition(formula).items()}
    assert parse_formula(formula) == expected


def test_reduced_counts_have_no_common_divisor():
    elements, counts = reduced_counts([26, 8, 26, 8, 8, 8])
    assert elements.tolist() == [8, 26]
    assert counts.tolist() == [2, 1]


@pytest.mark.parametrize(
    ("text", "counts"),
    [
        ("LiFePO4", {3: 1, 26: 1, 15: 1, 8: 4}),
        ("Ca3(PO4)2", {20: 3, 15: 2, 8: 8}),
        ("K[Al(SO4)2](H2O)12", {19: 1, 13: 1, 16: 2, 8: 20, 1: 24}),
        ("Li Fe P O4", {3: 1, 26: 1, 15: 1, 8: 4}),
        ("CO", {6: 1, 8: 1}),
        ("Co", {27: 1}),
    ],
)
def test_formulas_are_read(text, counts):
    assert parse_formula(text) == counts


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "is no formula; expected"),
        ("D2O", "deuterium"),
        ("Xx2", "'Xx'"),
        ("fe2O3", "symbol 'f'"),
        ("Fe0", "0 is no count"),
        ("Fe0.5O", "0.5 is no count"),
        ("Fe99999999", "is no count"),
        ("(FeO", "never closed"),
        ("FeO)2", "closes nothing"),
        ("(FeO]2", "closes nothing"),
        ("()2", "empty parentheses"),
        ("2Fe", "before '2'"),
        ("Fe-O", "before '-'"),
        ("Fe(O999999)999", "more than"),
    ],
)
def test_what_is_no_formula_is_refused_with_the_reason(text, says):
    with pytest.raises(BadOptions, match=says):
        parse_formula(text)
