"""Quantisation: one owner, both ways, points on special positions."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from matgen import Crystal, testing
from matgen.errors import BadOptions, OutsideRange
from matgen_materium.atoms import Atoms
from matgen_materium.bins import Bins, Grid
from matgen_materium.orderings import High

BINS = [Bins(), Bins.paper()]


@pytest.mark.parametrize("bins", BINS)
@given(x=st.floats(-3, 3))
def test_a_coordinate_comes_back_within_half_a_bin(bins: Bins, x: float) -> None:
    back = bins.frac(bins.quantise_frac(np.array([x])))[0]
    off = abs((back - x + 0.5) % 1.0 - 0.5)
    assert off <= 0.5 / bins.n_coordinate + 1e-12
    assert 0.0 <= back < 1.0


@pytest.mark.parametrize("bins", BINS)
def test_quantising_twice_changes_nothing(bins: Bins) -> None:
    every = np.arange(bins.n_coordinate)
    assert np.array_equal(bins.quantise_frac(bins.frac(every)), every)
    for parameter, grid in enumerate(bins.lattice):
        column = np.zeros((grid.n, 6), dtype=np.int64)
        column[:, parameter] = np.arange(grid.n)
        again = bins.lattice_bins(bins.parameters(column))[0]
        assert np.array_equal(again, column)


def test_special_positions_are_points_of_the_default_grid() -> None:
    special = np.array([0, 1 / 2, 1 / 3, 2 / 3, 1 / 4, 3 / 4, 1 / 6, 5 / 6, 1 / 8, 3 / 8])
    bins = Bins()
    assert np.allclose(bins.frac(bins.quantise_frac(special)), special, atol=1e-15)


def test_sixty_ninety_and_a_hundred_and_twenty_degrees_are_points() -> None:
    bins = Bins()
    parameters = np.array([5.0, 5.0, 5.0, 60.0, 90.0, 120.0])
    assert np.allclose(bins.parameters(bins.lattice_bins(parameters)[0]), parameters, atol=1e-9)


def test_one_is_the_same_coordinate_as_zero() -> None:
    assert Bins().quantise_frac(np.array([1.0, -1e-9, 0.999999])).tolist() == [0, 0, 0]


def test_a_cell_that_is_too_long_is_refused_by_default_and_clipped_on_request() -> None:
    parameters = np.array([5.0, 5.0, 40.0, 90.0, 90.0, 90.0])
    with pytest.raises(OutsideRange, match=r"c = 40\.000"):
        Atoms().encode(long_cell(parameters), High(), np.random.default_rng(0))
    clipped = Bins(outside="clip")
    bins, inside = clipped.lattice_bins(parameters)
    assert bins[2] == clipped.lattice[2].n - 1
    assert inside.all()
    Atoms(bins=clipped).encode(long_cell(parameters), High(), np.random.default_rng(0))


def long_cell(parameters: np.ndarray) -> Crystal:
    zero = np.zeros(1, dtype=np.int64)
    return Crystal(np.diag(parameters[:3]), np.zeros((1, 3)), zero + 29, zero)


def test_grids_over_a_range_hold_its_ends_at_the_same_step_and_one_grid_serves_lengths() -> None:
    lowest = np.array([2.411, 3.0, 4.0, 59.99, 61.0, 70.0])
    highest = np.array([9.0, 12.0, 47.813, 110.0, 120.01, 90.0])
    bins = Bins().over(lowest, highest)
    assert len(set(bins.lattice[:3])) == len(set(bins.lattice[3:])) == 1
    for ends in (lowest, highest):
        places, inside = bins.lattice_bins(ends)
        assert inside.all()
        assert (abs(bins.parameters(places) - ends) <= [0.01 + 1e-9] * 3 + [0.03 + 1e-9] * 3).all()
    special = np.array([4.0, 4.0, 4.0, 60.0, 90.0, 120.0])
    assert np.allclose(bins.parameters(bins.lattice_bins(special)[0]), special, atol=1e-9)


def test_the_paper_has_1024_bins_and_its_own_ranges() -> None:
    paper = Bins.paper()
    assert paper.n_tokens == 1024
    assert [round(grid.highest, 9) for grid in paper.lattice] == [10.0, 12.5, 20.0, 120, 120, 120]


def test_the_vocabulary_says_what_bins_mean() -> None:
    atoms = Atoms(bins=Bins.paper())
    scales = atoms.vocabulary().to_json()["scales"]
    assert isinstance(scales, dict)
    k = 500
    read = [scale["lowest"] + scale["step"] * k for scale in scales.values()]
    assert read[0] == pytest.approx(float(atoms.bins.frac(np.array(k))))
    assert read[1:] == pytest.approx(atoms.bins.parameters(np.full(6, k)).tolist())
    assert list(scales)[1:4] == ["a_ang", "b_ang", "c_ang"]


def test_a_range_that_one_outlier_makes_absurd_is_refused() -> None:
    lowest = np.array([3.0, 3.0, 3.0, 60.0, 60.0, 60.0])
    highest = np.array([9.0, 9.0, 2e6, 120.0, 120.0, 120.0])
    with pytest.raises(BadOptions, match=r"from 3 to 2e\+06 need .* leave such crystals out"):
        Bins().over(lowest, highest)


@pytest.mark.parametrize(("lowest", "highest"), [(108.96, 120.06), (20.0, 160.0), (90.0, 121.0)])
def test_no_angles_lead_into_a_dead_end(lowest: float, highest: float) -> None:
    angles = Grid(lowest=lowest, step=1.5, n=int((highest - lowest) / 1.5) + 1)
    lengths = Bins().lattice[:3]
    atoms = Atoms(bins=Bins(n_coordinate=24, lattice=(*lengths, angles, angles, angles)))
    for seed in range(4):
        testing.check_grammar(atoms, seed=seed)
