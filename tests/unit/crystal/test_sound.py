"""Many crystals checked at once are judged as one by one, or left to be."""

from pathlib import Path

import numpy as np
import pytest

from matgen.crystal.checks import check_crystal
from matgen.crystal.periodic import plane_spacings
from matgen.crystal.sound import sound_rows
from matgen.errors import BadCrystal
from matgen.io.crystal_table import CrystalTable
from matgen.records import Crystal

DATA = Path(__file__).parents[3] / "plugins" / "matgen_datasets" / "data" / "mp_le20.parquet"


@pytest.fixture(scope="module")
def table():
    return CrystalTable.read(DATA)


def rows_of(crystals):
    return (
        np.array([c.lattice for c in crystals]),
        np.cumsum([0, *(c.n_sites for c in crystals)]),
        np.concatenate([c.numbers for c in crystals]),
        np.concatenate([c.frac for c in crystals]),
    )


def passes(crystal):
    try:
        check_crystal(crystal)
    except BadCrystal:
        return False
    return True


def test_every_crystal_of_the_bundled_set_is_sound_but_two_in_narrow_cells(table):
    sound = sound_rows(table.lattices, table.ends, table.numbers, table.frac, 20)
    left = [table.crystal(int(row)) for row in np.flatnonzero(~sound)]
    assert len(left) == 2
    assert all(plane_spacings(crystal.lattice).min() < 1.0 for crystal in left)


def spoiled(crystal, rng):
    """Return a crystal with something wrong, or nearly wrong, with it."""
    lattice, frac, numbers = crystal.lattice.copy(), crystal.frac.copy(), crystal.numbers.copy()
    kind = rng.integers(8)
    site = rng.integers(crystal.n_sites)
    if kind == 0:
        frac[site] = frac[0] + rng.normal(size=3) * 0.1 + rng.integers(-2, 3, size=3)
    elif kind == 1:
        lattice *= rng.uniform(0.05, 0.6)
    elif kind == 2:
        lattice[2] = (
            lattice[0] * rng.normal()
            + lattice[1]
            + rng.normal(size=3) * 10.0 ** -(rng.integers(0, 9))
        )
    elif kind == 3:
        frac[site, 1] = rng.choice([np.nan, np.inf, 7.25])
    elif kind == 4:
        lattice[rng.integers(3), rng.integers(3)] = rng.choice([np.nan, np.inf, 1.0])
    elif kind == 5:
        numbers[site] = rng.choice([0, -3, 119, 118])
    elif kind == 6:
        lattice = -lattice
    return Crystal(lattice, frac, numbers)


def test_no_crystal_is_called_sound_that_is_refused_alone_and_few_are_left_over(table):
    rng = np.random.default_rng(7)
    some = rng.choice(len(table), 1500, replace=False)
    crystals = [spoiled(table.crystal(int(row)), rng) for row in some]
    with np.errstate(all="ignore"):
        expected = np.array([passes(crystal) for crystal in crystals])
        sound = sound_rows(*rows_of(crystals), 20)
    assert 0.2 < expected.mean() < 0.8
    assert not (sound & ~expected).any()
    # What is left to look at alone: cells too narrow to tell at once.
    assert (expected & ~sound).sum() < 0.1 * len(crystals)


def test_a_cell_with_more_sites_than_allowed_is_not_looked_at(table):
    n_sites = np.diff(table.ends)
    sound = sound_rows(table.lattices, table.ends, table.numbers, table.frac, 6)
    assert sound.any()
    assert n_sites[sound].max() == 6
