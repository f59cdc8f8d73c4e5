"""The parts of the toy set against numbers from a textbook."""

from __future__ import annotations

import math

import numpy as np
import pytest

from matgen import Crystal
from matgen.errors import BadOptions, OutsideHull, OutsideRange, Undecodable
from matgen.records import Tokens
from matgen_toy.asking import BySpecies, NSites, Only
from matgen_toy.cubic import Cubic
from matgen_toy.spheres import ClosePacking, Spheres, contact, packing
from matgen_toy.textbook import Textbook

CELLS = {
    record.id: record.crystal for split in ("train", "val") for record in Textbook().records(split)
}


@pytest.mark.parametrize(
    ("formula", "filled"),
    [
        ("Po", math.pi / 6),
        ("Fe", math.pi * math.sqrt(3) / 8),
        ("Cu", math.pi / math.sqrt(18)),
        ("Si", math.pi * math.sqrt(3) / 16),
    ],
)
def test_equal_spheres_fill_what_geometry_says(formula: str, filled: float) -> None:
    assert packing(CELLS[formula]) == pytest.approx(filled)


@pytest.mark.parametrize("formula", CELLS)
def test_a_relaxed_cell_has_touching_spheres_and_the_lowest_energy(formula: str) -> None:
    (result,) = Spheres().open("cpu").relax([CELLS[formula]])
    assert result.crystal is not None
    assert contact(result.crystal) == pytest.approx(1)
    assert result.energy is not None
    assert result.initial_energy is not None
    assert result.energy <= result.initial_energy


def test_closest_packing_lies_on_the_hull_and_nothing_heavier_than_it_knows() -> None:
    hull = ClosePacking().open("spheres")
    (copper,) = Spheres().open("cpu").relax([CELLS["Cu"]])
    assert copper.energy is not None
    assert hull.distance(CELLS["Cu"], copper.energy) == pytest.approx(0, abs=1e-9)
    heavy = Crystal(4 * np.eye(3), np.zeros((1, 3)), np.array([95]))
    with pytest.raises(OutsideHull, match="95"):
        hull.distance(heavy, 0.0)


def test_every_textbook_cell_can_be_written() -> None:
    for crystal in CELLS.values():
        tokens = Cubic().encode(crystal, BySpecies(), np.random.default_rng(0))
        assert Cubic().decode(tokens).n_sites == crystal.n_sites
        assert len(tokens) == 4 * crystal.n_sites + 4


def changed(**parts: object) -> Crystal:
    whole = {"lattice": 4 * np.eye(3), "frac": np.zeros((1, 3)), "numbers": np.array([11])}
    return Crystal(**{**whole, **parts})  # type: ignore[arg-type]  # arrays by name


@pytest.mark.parametrize(
    ("crystal", "reason"),
    [
        (changed(lattice=np.diag([4.0, 4.0, 4.1])), "not cubic"),
        (changed(lattice=31 * np.eye(3)), "lattice constant 31"),
        (changed(lattice=1.5 * np.eye(3)), "lattice constant 1.5"),
        (changed(frac=np.array([[0.1, 0, 0]])), "off the grid"),
        (changed(numbers=np.array([104])), "atomic number 104"),
        (changed(frac=np.zeros((9, 3)), numbers=np.full(9, 11)), "9 sites"),
    ],
)
def test_what_cannot_be_written_is_refused_with_the_value(crystal: Crystal, reason: str) -> None:
    with pytest.raises(OutsideRange, match=reason):
        Cubic().encode(crystal, BySpecies(), np.random.default_rng(0))


def test_a_sequence_without_values_does_not_decode() -> None:
    tokens = Cubic().encode(CELLS["Po"], BySpecies(), np.random.default_rng(0))
    with pytest.raises(Undecodable, match="lattice constant nan"):
        Cubic().decode(Tokens(tokens.ids))


@pytest.mark.parametrize("text", ["0", "-1", "2.5", "two", "", "1e3"])
def test_a_number_of_sites_is_a_whole_number(text: str) -> None:
    with pytest.raises(BadOptions, match="whole number"):
        NSites().parse(text)


@pytest.mark.parametrize("elements", [(), ("Xx",), ("Na", "natrium")])
def test_only_refuses_elements_without_tokens(elements: tuple[str, ...]) -> None:
    with pytest.raises(BadOptions, match="no tokens for"):
        Only(elements=elements).bind(Cubic())
