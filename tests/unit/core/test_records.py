"""Crystals to and from pymatgen and ase."""

import numpy as np
import pytest
from ase import Atoms
from hypothesis import given, settings
from hypothesis import strategies as st
from pymatgen.core import DummySpecies, Lattice, Species, Structure

from matgen.errors import BadCrystal
from matgen.records import Crystal


@st.composite
def crystals(draw: st.DrawFn) -> Crystal:
    """Any cell with a volume, coordinates also outside of it, states known or not."""
    n = draw(st.integers(1, 6))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    lattice = 5.0 * np.eye(3) + rng.uniform(-1, 1, (3, 3))
    if draw(st.booleans()):
        lattice = lattice[[1, 0, 2]]  # left-handed
    oxidation = rng.integers(-4, 8, n) if draw(st.booleans()) else None
    return Crystal(lattice, rng.uniform(-2, 2, (n, 3)), rng.integers(1, 104, n), oxidation)


def assert_same(one: Crystal, other: Crystal) -> None:
    np.testing.assert_allclose(one.lattice, other.lattice, atol=1e-12)
    np.testing.assert_allclose(one.frac, other.frac, atol=1e-12)  # through Cartesian and back
    np.testing.assert_array_equal(one.numbers, other.numbers)


@settings(max_examples=40, deadline=None)
@given(crystals())
def test_a_crystal_comes_back_from_a_structure_with_its_states_if_they_were_asked_for(
    crystal: Crystal,
) -> None:
    plain = Crystal.from_structure(crystal.to_structure())
    decorated = Crystal.from_structure(crystal.to_structure(oxidation=True))
    for back in (plain, decorated):
        assert_same(back, crystal)
    assert plain.oxidation is None
    if crystal.oxidation is None:
        assert decorated.oxidation is None
    else:
        np.testing.assert_array_equal(decorated.oxidation, crystal.oxidation)


@settings(max_examples=40, deadline=None)
@given(crystals())
def test_a_crystal_comes_back_from_atoms_unwrapped(crystal: Crystal) -> None:
    assert_same(Crystal.from_atoms(crystal.to_atoms()), crystal)


@settings(max_examples=40, deadline=None)
@given(crystals())
def test_structure_and_atoms_agree_on_volume_and_places(crystal: Crystal) -> None:
    structure, atoms = crystal.to_structure(), crystal.to_atoms()
    np.testing.assert_allclose(structure.cart_coords, atoms.positions, atol=1e-10)
    assert crystal.volume == pytest.approx(structure.volume) == pytest.approx(atoms.get_volume())


@settings(max_examples=40, deadline=None)
@given(crystals())
def test_taking_sites_keeps_what_belongs_to_each(crystal: Crystal) -> None:
    order = np.random.default_rng(0).permutation(crystal.n_sites)
    taken = crystal.take(order)
    back = taken.take(np.argsort(order))
    assert_same(back, crystal)
    for place, site in enumerate(order):
        assert taken.numbers[place] == crystal.numbers[site]
        if crystal.oxidation is not None:
            assert taken.oxidation is not None
            assert taken.oxidation[place] == crystal.oxidation[site]


def cubic(*species: object) -> Structure:
    places = [[k / len(species), 0, 0] for k in range(len(species))]
    return Structure(Lattice.cubic(6), list(species), places)


def test_a_disordered_site_is_refused_with_its_place() -> None:
    with pytest.raises(BadCrystal, match=r"site 1 is disordered \(.*Au"):
        Crystal.from_structure(cubic("Na", {"Cu": 0.5, "Au": 0.5}))


def test_a_partly_occupied_site_is_refused() -> None:
    with pytest.raises(BadCrystal, match="site 0 is disordered"):
        Crystal.from_structure(cubic({"Li": 0.8}))


@pytest.mark.parametrize("species", ["D", Species("D", 1), {"D": 1}])
def test_deuterium_is_refused_and_told_to_be_written_as_hydrogen(species: object) -> None:
    with pytest.raises(BadCrystal, match=r"site 1 holds an isotope of hydrogen.*write H"):
        Crystal.from_structure(cubic("O", species))


def test_a_species_that_is_no_element_is_refused() -> None:
    with pytest.raises(BadCrystal, match="which is no element"):
        Crystal.from_structure(cubic(DummySpecies("X", 0)))


def test_states_count_only_if_every_site_has_a_whole_one() -> None:
    mixed = cubic(Species("Fe", 2), "O")
    fractional = cubic(Species("Fe", 2.5), Species("O", -2.5))
    for structure in (mixed, fractional):
        assert Crystal.from_structure(structure).oxidation is None


@pytest.mark.parametrize(
    "atoms",
    [
        Atoms("Cu", cell=[3, 3, 3], pbc=[True, True, False]),
        Atoms("Cu", pbc=True),
        Atoms("Cu", cell=[[3, 0, 0], [0, 3, 0], [0, 6, 0]], pbc=True),
    ],
)
def test_atoms_without_three_periodic_directions_are_refused(atoms: Atoms) -> None:
    with pytest.raises(BadCrystal, match="not periodic along three"):
        Crystal.from_atoms(atoms)
