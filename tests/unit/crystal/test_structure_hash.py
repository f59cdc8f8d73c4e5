"""One crystal has one hash in any description; another has another."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from matgen.crystal.structure_hash import structure_hash
from matgen.errors import BadCrystal
from matgen.records import Crystal
from matgen.testing import crystals

ROCK_SALT = Crystal(
    5.64 * np.array([[0.0, 0.5, 0.5], [0.5, 0.0, 0.5], [0.5, 0.5, 0.0]]),
    np.array([[0.0, 0.0, 0.0], [0.5, 0.5, 0.5]]),
    np.array([11, 17]),
)


@settings(max_examples=40, deadline=None)
@given(which=st.integers(0, 50), seed=st.integers(0, 2**16))
def test_origin_order_and_cell_change_nothing(which: int, seed: int) -> None:
    hostile = crystals()
    crystal = hostile[which % len(hostile)]
    try:
        plain = structure_hash(crystal)
    except BadCrystal:
        return
    rng = np.random.default_rng(seed)
    change = np.eye(3, dtype=np.int64)
    for _ in range(3):
        i, j = rng.permutation(3)[:2]
        change[i] += rng.integers(-1, 2) * change[j]
    order = rng.permutation(crystal.n_sites)
    moved = Crystal(
        change @ crystal.lattice,
        (crystal.frac + rng.uniform(size=3)) @ np.linalg.inv(change),
        crystal.numbers,
    ).take(order)
    assert structure_hash(moved) == plain


def test_a_supercell_is_the_same_crystal() -> None:
    cube = Crystal.from_structure(ROCK_SALT.to_structure().to_conventional())
    assert cube.n_sites == 8
    assert structure_hash(cube) == structure_hash(ROCK_SALT)


@pytest.mark.parametrize(
    "other",
    [
        Crystal(ROCK_SALT.lattice, ROCK_SALT.frac, np.array([19, 17])),
        Crystal(ROCK_SALT.lattice, np.array([[0.0, 0, 0], [0.25, 0.25, 0.25]]), ROCK_SALT.numbers),
        Crystal(1.2 * ROCK_SALT.lattice, ROCK_SALT.frac, ROCK_SALT.numbers),
    ],
    ids=["element", "structure", "size"],
)
def test_another_crystal_has_another_hash(other: Crystal) -> None:
    assert structure_hash(other) != structure_hash(ROCK_SALT)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_no_crystal_is_refused(bad: float) -> None:
    with pytest.raises(BadCrystal):
        structure_hash(Crystal(ROCK_SALT.lattice, np.full((2, 3), bad), ROCK_SALT.numbers))
