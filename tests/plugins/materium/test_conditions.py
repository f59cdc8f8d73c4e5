"""What people may ask for, in which unit, and what they are told when it is wrong."""

import math

import numpy as np
import pytest

from matgen.errors import BadOptions
from matgen_materium.conditions import BandGap, Column, EnergyAboveHull, Hhi, NSites, SpaceGroup
from matgen_materium.elements_asked import HEAVIEST, ChemicalSystem, ReducedFormula


def test_hhi_on_the_old_scale_is_told_to_be_given_in_thousands() -> None:
    with pytest.raises(BadOptions, match="hhi=2"):
        Hhi().parse("2000")
    assert Hhi().parse("2.0") == 2.0


def test_band_gap_uses_the_papers_transform() -> None:
    assert BandGap().feature(0.0) == pytest.approx(math.log(1e-3))
    assert BandGap().feature(1.5) == pytest.approx(math.log(1.501))


@pytest.mark.parametrize(
    ("condition", "text"),
    [
        (BandGap(), "-1"),
        (BandGap(), "nan"),
        (SpaceGroup(), "231"),
        (SpaceGroup(), "Fm-3m"),
        (NSites(), "2.5"),
        (EnergyAboveHull(), "-0.1"),
        (ReducedFormula(), "NaXx"),
        (ChemicalSystem(), "Li-Qq"),
    ],
)
def test_nonsense_is_refused_in_one_line_that_names_it(condition, text) -> None:
    with pytest.raises(BadOptions) as refused:
        condition.parse(text)
    assert "\n" not in str(refused.value)


def test_a_formula_is_reduced_and_ordered() -> None:
    assert ReducedFormula().parse("Fe4O6") == "Fe2O3"
    assert sum(ReducedFormula().feature("Fe2O3")) == 5


def test_a_formula_conflicts_with_another_chemical_system() -> None:
    formula = ReducedFormula()
    assert "not in the chemical system" in formula.conflict("NaCl", {"chemical_system": "Li-O"})
    assert formula.conflict("NaCl", {"chemical_system": "Cl-Na"}) == ""
    assert "no whole number" in formula.conflict("NaCl", {"n_sites": 3.0})


def test_a_chemical_system_conflicts_with_fewer_sites_than_elements() -> None:
    system = ChemicalSystem()
    assert "3 sites or more" in system.conflict("Fe-Li-O", {"n_sites": 2.0})
    assert system.conflict("Fe-Li-O", {"n_sites": 3.0}) == ""
    assert system.conflict("Fe,Li,O", {"n_sites": 1.0}) == ""


def test_an_allowed_set_accepts_subsets_and_an_exact_system_does_not() -> None:
    system = ChemicalSystem()
    assert system.error("Fe,Li,O", "Fe-O") == 0.0
    assert system.error("Fe-Li-O", "Fe-O") == 1.0
    assert system.error("Fe,Li", "Fe-O") == 1.0


def test_augmented_systems_still_hold_their_elements_and_depend_on_the_key_alone() -> None:
    system = ChemicalSystem()
    features = np.array([system.feature("Fe-Li-O")] * 64, dtype=np.float32)
    keys = np.arange(64, dtype=np.uint64)
    shown = system.augment(features, keys)
    assert (shown[:, :HEAVIEST] >= features[:, :HEAVIEST]).all()
    assert 16 < shown[:, HEAVIEST].sum() < 48
    assert np.array_equal(shown[10:20], system.augment(features[10:20], keys[10:20]))


def test_a_column_is_standardised_over_the_training_values() -> None:
    column = Column(title="dielectric", measure="1").fitted([2.0, 4.0, 6.0])
    assert column.label == "dielectric"
    assert column.feature(4.0) == 0.0
    assert np.mean([column.feature(v) ** 2 for v in (2.0, 4.0, 6.0)]) == pytest.approx(1.0)
