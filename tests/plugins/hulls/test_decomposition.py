"""What a composition falls apart into, against pymatgen's phase diagram."""

from __future__ import annotations

import numpy as np
import pytest
from pymatgen.analysis.phase_diagram import PDEntry, PhaseDiagram
from pymatgen.core import Composition

from matgen import Crystal
from matgen.crystal.composition import parse_formula
from matgen.errors import OutsideHull
from matgen_datasets.mp_le20 import MpLe20
from matgen_hulls.mp2020 import Mp2020
from matgen_relaxers.chgnet import Chgnet

HULL = Mp2020().open(Chgnet())
REAL = [record.crystal for record, _ in zip(MpLe20().records("val"), range(40), strict=False)]


def crystal(formula: str) -> Crystal:
    numbers = [z for z, n in parse_formula(formula).items() for _ in range(n)]
    return Crystal(
        9.0 * np.eye(3), np.random.default_rng(0).random((len(numbers), 3)), np.array(numbers)
    )


def test_shares_give_the_composition_back_and_add_up_to_one() -> None:
    for one in [*REAL, crystal("LiFePO4"), crystal("Ba2YCu3O7")]:
        products = HULL.decomposition(one)
        assert sum(products.values()) == pytest.approx(1.0)
        total = np.zeros(119)
        for formula, share in products.items():
            atoms = parse_formula(formula)
            for z, n in atoms.items():
                total[z] += share * n / sum(atoms.values())
        own = np.bincount(one.numbers, minlength=119) / one.n_sites
        np.testing.assert_allclose(total, own, atol=2e-6)


@pytest.mark.parametrize("formula", ["LiFePO4", "NaCl", "Na3Cl5", "BaTiO3", "MgAl2O4", "Cu7O"])
def test_products_are_those_of_pymatgen(formula: str) -> None:
    system = tuple(sorted(Composition(formula).chemical_system.split("-")))
    phases = HULL.phases._within(system, proper=False)
    entries = [PDEntry(Composition(fractions), energy) for fractions, energy in phases]
    found = PhaseDiagram(entries).get_decomposition(Composition(formula))
    own = HULL.decomposition(crystal(formula))
    assert len(own) == len(found)
    for entry, share in found.items():
        [same] = [name for name in own if alike(Composition(name), entry.composition)]
        assert own[same] == pytest.approx(share, abs=1e-5)


def alike(one: Composition, other: Composition) -> bool:
    return one.fractional_composition.almost_equals(other.fractional_composition, rtol=1e-3)


def test_an_element_outside_the_hull_is_said() -> None:
    with pytest.raises(OutsideHull):
        HULL.decomposition(crystal("OgF2"))
