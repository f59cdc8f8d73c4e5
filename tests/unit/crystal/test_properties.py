import numpy as np
import pytest
from pymatgen.analysis.hhi import HHIModel
from pymatgen.core import Composition, Structure

from matgen.crystal.properties import density, hhi
from matgen.elements import symbols
from matgen.records import Crystal


@pytest.mark.slow
def test_hhi_is_that_of_pymatgen_on_every_crystal_of_the_bundled_set(mp_le20):
    model = HHIModel()
    expected, found = [], []
    for crystal in mp_le20:
        kinds, counts = np.unique(crystal.numbers, return_counts=True)
        formula = {symbols[z]: n for z, n in zip(kinds, counts.tolist(), strict=True)}
        expected.append(model.get_hhi(Composition(formula)))
        found.append((hhi(crystal, "production"), hhi(crystal, "reserve")))
    # None becomes NaN, which equals NaN alone; a mass fraction sums in another order.
    np.testing.assert_allclose(np.array(found, float), np.array(expected, float), rtol=1e-14)


def test_density_is_that_of_pymatgen(mp_le20):
    for crystal in mp_le20[::700]:
        expected: Structure = crystal.to_structure()
        # pymatgen's Avogadro number is that of 2010.
        assert density(crystal) == pytest.approx(float(expected.density), rel=1e-7)


def test_the_density_of_rock_salt_is_the_handbooks():
    a = 5.6402
    frac = np.array([[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])
    cell = Crystal(
        a * np.eye(3), np.vstack([frac, frac + 0.5]), np.array([11] * 4 + [17] * 4, dtype=np.int64)
    )
    assert density(cell) == pytest.approx(2.163, abs=0.002)


def test_hhi_is_undefined_with_hydrogen():
    water = Crystal(5 * np.eye(3), np.zeros((3, 3)), np.array([1, 1, 8], dtype=np.int64))
    assert hhi(water, "production") is None
