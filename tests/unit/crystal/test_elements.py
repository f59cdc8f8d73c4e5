import re
import warnings

import numpy as np
import pytest
from pymatgen.analysis.hhi import HHIModel
from pymatgen.core import Element

from matgen import elements
from matgen.errors import BadCrystal

ALL = range(1, 119)


def test_symbols_and_numbers_are_those_of_pymatgen_both_ways():
    assert [elements.symbols[z] for z in ALL] == [Element.from_Z(z).symbol for z in ALL]
    assert [elements.atomic_number(elements.symbols[z]) for z in ALL] == list(ALL)


def test_masses_and_electronegativities_are_those_of_pymatgen():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = [float(Element.from_Z(z).X) for z in ALL]
    np.testing.assert_array_equal(elements.electronegativity[1:], expected)
    np.testing.assert_array_equal(
        elements.masses[1:], [float(Element.from_Z(z).atomic_mass) for z in ALL]
    )


def test_hhi_is_that_of_pymatgen_and_nan_exactly_where_pymatgen_has_none():
    table = HHIModel().symbol_hhip_hhir
    for z in ALL:
        production, reserve = table.get(elements.symbols[z], (np.nan, np.nan))
        np.testing.assert_equal(elements.hhi_production[z], production)
        np.testing.assert_equal(elements.hhi_reserve[z], reserve)


def test_oxidation_states_are_the_sorted_union_of_the_common_the_icsd_ones_and_zero():
    for z in ALL:
        element = Element.from_Z(z)
        expected = {*element.common_oxidation_states, *element.icsd_oxidation_states, 0}
        assert elements.oxidation_states[z] == tuple(sorted(expected))
        assert len(elements.oxidation_weights[z]) == len(expected)
        assert min(elements.oxidation_weights[z]) > 0


def test_the_usual_state_outweighs_the_rare_one():
    weight = dict(zip(elements.oxidation_states[8], elements.oxidation_weights[8], strict=True))
    assert weight[-2] > 100 * weight[0]


def test_metals_are_told_from_the_rest():
    assert elements.metallic[[3, 26, 79, 92]].all()
    assert not elements.metallic[[0, 1, 8, 14, 54]].any()


@pytest.mark.parametrize("label", ["D", "T", "X", "fe", "Fe2+", "", "Xx"])
def test_a_label_that_is_no_element_is_refused_by_name(label):
    with pytest.raises(BadCrystal, match=re.escape(repr(label))):
        elements.atomic_number(label)


def test_the_refusal_of_deuterium_says_to_write_hydrogen():
    with pytest.raises(BadCrystal, match=r"deuterium.*write H"):
        elements.atomic_number("D")


def test_nobody_can_change_the_tables():
    with pytest.raises(ValueError, match="read-only"):
        elements.masses[1] = 2.0
