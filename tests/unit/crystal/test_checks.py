import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from matgen.crystal.checks import check_crystal, min_distance
from matgen.errors import BadCrystal
from matgen.records import Crystal

CUBE = 4.0 * np.eye(3)


def crystal(lattice=CUBE, frac=((0, 0, 0), (0.5, 0.5, 0.5)), numbers=(55, 17), oxidation=None):
    return Crystal(
        np.array(lattice, dtype=float),
        np.array(frac, dtype=float),
        np.array(numbers, dtype=np.int64),
        None if oxidation is None else np.array(oxidation, dtype=np.int64),
    )


def by_brute_force(lattice, frac, reach=12):
    """Shortest distance over all images within ``reach`` cells, self-images included."""
    shifts = np.array(list(itertools.product(range(-reach, reach + 1), repeat=3)))
    best = math.inf
    for i, j in itertools.product(range(len(frac)), repeat=2):
        far = np.linalg.norm((frac[j] - frac[i] + shifts) @ lattice, axis=1)
        best = min(best, far[far > 0].min() if i == j else far.min())
    return best


def test_a_good_crystal_of_either_handedness_passes():
    check_crystal(crystal())
    check_crystal(crystal(lattice=-CUBE, oxidation=(1, -1)))


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        (crystal(lattice=np.full((3, 3), np.nan)), "lattice holds numbers that are not finite"),
        (crystal(frac=((0, 0, 0), (0, np.inf, 0))), "coordinates of site 1 are not finite"),
        (crystal(numbers=(55, 119)), "atomic number 119 is no element"),
        (crystal(numbers=(0, 17)), "atomic number 0 is no element"),
        (crystal(numbers=(-3, 17)), "atomic number -3 is no element"),
        (crystal(lattice=np.zeros((3, 3))), "span no volume"),
        (crystal(lattice=[[1, 0, 0], [0, 1, 0], [1, 1, 1e-9]]), "span no volume"),
        (crystal(lattice=np.eye(2)), r"shape \(2, 2\)"),
        (crystal(numbers=(55,)), r"shape \(1,\) do not fit .* \(2, 3\)"),
        (crystal(frac=np.zeros((0, 3)), numbers=()), "no sites"),
        (crystal(oxidation=(1,)), "do not fit 2 sites"),
        (crystal(frac=((0, 0, 0), (0.999, 0.001, 0))), r"sites 0 \(Cs\) and 1 \(Cl\) are 0\.00566"),
        (crystal(lattice=np.diag([0.3, 4, 4]), frac=[[0, 0, 0]], numbers=[1]), "every 0.3 Å"),
    ],
)
def test_what_is_wrong_is_said(bad, says):
    with pytest.raises(BadCrystal, match=says):
        check_crystal(bad)


def test_sites_that_meet_only_through_a_skewed_boundary_overlap():
    skewed = np.array([[4.0, 0, 0], [40.0, 4.0, 0], [400.0, 40.0, 4.0]])
    close = np.array([[0.0, 0, 0], [0.3, 0, 0]]) @ np.linalg.inv(skewed)
    with pytest.raises(BadCrystal, match=r"0\.3 Å apart"):
        check_crystal(crystal(lattice=skewed, frac=close))


def test_the_limit_is_the_callers():
    near = crystal(frac=((0, 0, 0), (0.25, 0, 0)))
    check_crystal(near)
    with pytest.raises(BadCrystal, match=r"1 Å apart; expected at least 1\.5 Å"):
        check_crystal(near, min_distance=1.5)


lattices = (
    st.lists(st.floats(-5, 5), min_size=9, max_size=9)
    .map(lambda values: np.array(values).reshape(3, 3))
    .filter(lambda m: abs(np.linalg.det(m)) > 8.0)
)
positions = st.lists(st.tuples(*[st.floats(-2, 2)] * 3), min_size=1, max_size=3).map(np.array)


@given(lattices, positions)
@settings(max_examples=25, deadline=None)
def test_the_shortest_distance_is_that_of_a_search_over_many_images(lattice, frac):
    some = crystal(lattice=lattice, frac=frac, numbers=[1] * len(frac))
    expected = by_brute_force(lattice, frac - np.floor(frac))
    assert min_distance(some) == pytest.approx(expected, abs=1e-9)


@given(lattices, positions, st.floats(0.1, 3.0))
@settings(max_examples=60, deadline=None)
def test_the_check_agrees_with_the_shortest_distance(lattice, frac, limit):
    some = crystal(lattice=lattice, frac=frac, numbers=[1] * len(frac))
    shortest = min_distance(some)
    if abs(shortest - limit) < 1e-9:
        return
    try:
        check_crystal(some, min_distance=limit)
    except BadCrystal:
        assert shortest < limit
    else:
        assert shortest > limit


def test_every_crystal_of_the_bundled_set_passes(mp_le20):
    for real in mp_le20[::25]:
        check_crystal(real)


@pytest.mark.parametrize("flatness", [1e-3, 1e-4, 1e-5, 2e-6])
def test_a_nearly_flat_cell_of_equally_long_vectors_is_told_off_and_not_enumerated(flatness):
    rng = np.random.default_rng(0)
    for _ in range(200):
        turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
        a = np.array([3.0, 0.0, 0.0])
        b = 3.0 * np.array([rng.choice([-0.5, 0.5]), math.sqrt(0.75), 0.0])
        c = rng.uniform(-3, 3, size=2) @ np.array([a, b]) + [0.0, 0.0, 9.0 * flatness]
        flat = crystal(np.array([a, b, c]) @ turn, [(0, 0, 0), (0.5, 0.5, 0.5)], (55, 17))
        try:
            check_crystal(flat)
        except BadCrystal:
            continue
        assert min_distance(flat) >= 0.5
