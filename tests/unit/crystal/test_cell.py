import subprocess
import sys

import numpy as np
import pytest
from pymatgen.analysis.structure_matcher import StructureMatcher

from matgen.crystal.cell import canonical_cell, wrap
from matgen.crystal.reduction import ALIKE_EPS, is_niggli
from matgen.errors import BadCrystal
from matgen.records import Crystal


def other_setting(crystal, rng):
    """The same crystal under a random unimodular change of cell, doubled along one axis, moved."""
    change = np.eye(3)
    for _ in range(4):
        a, b = rng.choice(3, 2, replace=False)
        change[a] += rng.integers(-1, 2) * change[b]
    change *= rng.choice([-1.0, 1.0], size=(3, 1))
    frac = crystal.frac @ np.linalg.inv(change) + rng.random(3)
    double = np.ones(3)
    double[rng.integers(3)] = 2.0
    copies = np.concatenate([frac / double, frac / double + 0.5 * (double == 2.0)])
    order = rng.permutation(2 * crystal.n_sites)
    return Crystal(
        (change @ crystal.lattice) * double[:, None],
        copies[order] + rng.integers(-2, 3, size=copies.shape),
        np.concatenate([crystal.numbers, crystal.numbers])[order],
    )


@pytest.fixture(scope="module")
def some(mp_le20):
    return [mp_le20[i] for i in np.random.default_rng(7).choice(len(mp_le20), 60, replace=False)]


def lengths_and_angles(lattice):
    gram = lattice @ lattice.T
    lengths = np.sqrt(np.diagonal(gram))
    cosines = gram / np.outer(lengths, lengths)
    return np.array([*lengths, cosines[1, 2], cosines[0, 2], cosines[0, 1]])


def test_a_supercell_in_another_setting_becomes_an_equivalent_crystal_in_the_same_cell(some):
    rng = np.random.default_rng(0)
    matcher = StructureMatcher(primitive_cell=False, scale=False)
    for crystal in some:
        once = canonical_cell(crystal)
        again = canonical_cell(other_setting(crystal, rng))
        assert again.n_sites == once.n_sites
        np.testing.assert_allclose(
            lengths_and_angles(again.lattice), lengths_and_angles(once.lattice), atol=1e-4
        )
        assert matcher.fit(once.to_structure(), again.to_structure())


def test_the_canonical_cell_is_niggli_right_handed_and_wrapped(some):
    rng = np.random.default_rng(1)
    for crystal in some:
        cell = canonical_cell(other_setting(crystal, rng))
        assert is_niggli(cell.lattice, ALIKE_EPS)
        assert np.linalg.det(cell.lattice) > 0
        assert (cell.frac >= 0).all()
        assert (cell.frac < 1).all()


def test_a_canonical_cell_is_its_own(some):
    for crystal in some:
        once = canonical_cell(crystal)
        again = canonical_cell(once)
        assert described_alike(once, again, atol_ang=1e-4)
        np.testing.assert_array_equal(again.lattice, once.lattice)


def test_every_description_of_a_crystal_leads_to_one(some):
    rng = np.random.default_rng(3)
    for crystal in some:
        once = canonical_cell(crystal)
        for _ in range(3):
            again = canonical_cell(other_setting(crystal, rng))
            # Cells may be turned in space, and the file's float32 is averaged over the copies.
            assert described_alike(once, again, atol_ang=1e-4)


@pytest.mark.parametrize("m", [2, 3, 4, 8])
@pytest.mark.parametrize("noise_ang", [0.002, 0.003, 0.004, 0.006])
def test_a_noisy_supercell_is_reduced_or_left_but_never_lost(some, m, noise_ang):
    rng = np.random.default_rng(4)
    repeats = {2: (2, 1, 1), 3: (1, 3, 1), 4: (2, 1, 2), 8: (2, 2, 2)}[m]
    shifts = np.array(list(np.ndindex(*repeats)), dtype=float)
    for crystal in some[:15]:
        frac = (crystal.frac[None] + shifts[:, None]).reshape(-1, 3) / repeats
        lattice = crystal.lattice * np.array(repeats)[:, None]
        steps = rng.normal(size=frac.shape)
        steps *= noise_ang / np.linalg.norm(steps, axis=1, keepdims=True)
        numbers = np.tile(crystal.numbers, m)
        noisy = Crystal(lattice, frac + steps @ np.linalg.inv(lattice), numbers)
        cell = canonical_cell(noisy)
        assert cell.volume / cell.n_sites == pytest.approx(crystal.volume / crystal.n_sites)
        assert (m * crystal.n_sites) % cell.n_sites == 0
        if noise_ang < 0.0025:
            assert cell.n_sites <= crystal.n_sites


def test_a_lattice_on_a_border_of_niggli_conditions_has_a_cell():
    lattice = np.array(
        [
            [3.0, 0.0, 0.0],
            [-1.4991694217797726, 2.598555568926803, 0.0],
            [1.000114520632661, 1.7316096941469743, 2.236818286666503],
        ]
    )
    crystal = Crystal(lattice, np.zeros((1, 3)), np.array([29]))
    cell = canonical_cell(crystal)
    assert cell.volume == pytest.approx(crystal.volume)
    assert abs(lengths_and_angles(cell.lattice)[3:]).max() <= 0.5 + 1e-3


def test_strained_lattices_near_high_symmetry_are_never_refused(some):
    rng = np.random.default_rng(5)
    for crystal in some:
        for strain in (1e-5, 1e-4, 3e-4, 1e-3):
            bent = crystal.lattice @ (np.eye(3) + strain * rng.normal(size=(3, 3)))
            cell = canonical_cell(Crystal(bent, crystal.frac, crystal.numbers))
            assert abs(lengths_and_angles(cell.lattice)[3:]).max() <= 0.5 + 2e-3


@pytest.mark.parametrize(
    "crystal",
    [
        # CsCl with two valences of iron; a tetragonal oxide of the same two.
        Crystal(
            4.1 * np.eye(3),
            np.array([[0.0, 0, 0], [0.5, 0.5, 0.5]]),
            np.array([26, 26]),
            np.array([2, 3]),
        ),
        Crystal(
            np.diag([4.1, 4.1, 8.6]),
            np.array([[0.0, 0, 0], [0, 0, 0.5], [0.5, 0.5, 0.25], [0.5, 0.5, 0.75]]),
            np.array([26, 26, 8, 8]),
            np.array([2, 3, -2, -3]),
        ),
    ],
)
def test_given_states_decide_where_elements_alone_would_not(crystal):
    rng = np.random.default_rng(6)
    once = canonical_cell(crystal)
    for _ in range(30):
        order = rng.permutation(crystal.n_sites)
        moved = crystal.frac[order] + rng.random(3)
        axes = rng.permutation(3) if crystal.n_sites == 2 else np.arange(3)
        again = canonical_cell(
            Crystal(
                crystal.lattice[axes],
                moved[:, axes],
                crystal.numbers[order],
                crystal.oxidation[order],
            )
        )
        places = [
            {(s, *(np.round(f, 6) % 1.0)) for s, f in zip(c.oxidation, c.frac, strict=True)}
            for c in (once, again)
        ]
        assert places[0] == places[1]


def test_a_cell_too_large_to_reduce_says_so():
    n = 2001
    line = np.column_stack([np.arange(n) / n, np.zeros(n), np.zeros(n)])
    crystal = Crystal(np.diag([3.0 * n, 3.0, 3.0]), line, np.full(n, 26))
    with pytest.raises(BadCrystal, match="2001 sites; cells of up to 2000"):
        canonical_cell(crystal)


def described_alike(one, other, *, atol_ang):
    """Whether lattice parameters and the sites, as a set, are the same numbers."""
    if one.n_sites != other.n_sites:
        return False
    if not np.allclose(
        lengths_and_angles(one.lattice), lengths_and_angles(other.lattice), atol=atol_ang
    ):
        return False
    apart = one.frac[:, None] - other.frac[None]
    apart = np.linalg.norm((apart - np.round(apart)) @ one.lattice, axis=-1)
    same = (apart < atol_ang) & (one.numbers[:, None] == other.numbers[None])
    return bool((same.sum(axis=0) == 1).all() and (same.sum(axis=1) == 1).all())


def test_the_niggli_cell_has_the_parameters_that_pymatgen_finds(some):
    rng = np.random.default_rng(2)
    for crystal in some:
        expected = crystal.to_structure().lattice.get_niggli_reduced_lattice()
        found = canonical_cell(other_setting(crystal, rng)).lattice
        np.testing.assert_allclose(
            np.sort(np.linalg.norm(found, axis=1)), np.sort(expected.abc), atol=1e-3
        )


def test_a_left_handed_crystal_is_turned_and_not_mirrored():
    # Three sites and a lattice without any mirror: distances with sign tell the hands apart.
    lattice = np.diag([3.0, 4.0, 5.0]) @ np.diag([-1.0, 1.0, 1.0])
    frac = np.array([[0.0, 0, 0], [0.2, 0, 0], [0.2, 0.1, 0], [0.2, 0.1, 0.15]])
    crystal = Crystal(lattice, frac, np.array([3, 4, 5, 6], dtype=np.int64))

    cell = canonical_cell(crystal)

    def hand(of):
        steps = np.diff(of.frac, axis=0)
        steps -= np.round(steps)
        return np.linalg.det(steps @ of.lattice)

    assert hand(cell) == pytest.approx(hand(crystal))
    assert np.linalg.det(cell.lattice) > 0


def test_sites_of_different_oxidation_states_are_not_merged():
    chain = Crystal(
        np.diag([6.0, 3.1, 3.2]),
        np.array([[0.0, 0, 0], [0.5, 0, 0]]),
        np.array([26, 26], dtype=np.int64),
    )
    assert canonical_cell(chain).n_sites == 1
    mixed = canonical_cell(chain.with_oxidation(np.array([2, 3], dtype=np.int64)))
    assert sorted(mixed.oxidation.tolist()) == [2, 3]
    equal = canonical_cell(chain.with_oxidation(np.array([-2, -2], dtype=np.int64)))
    assert equal.oxidation.tolist() == [-2]


@pytest.mark.parametrize(
    ("lattice", "expected"),
    [
        (np.eye(3), True),
        (np.diag([2.0, 1.0, 3.0]), False),  # not by length
        ([[1, 0, 0], [0.4, 1, 0], [0, 0, 2]], False),  # an acute angle beside right ones
        ([[1, 0, 0], [-0.4, 1, 0], [0, 0, 2]], True),
        ([[1, 0, 0], [-0.6, 1, 0], [0, 0, 2]], False),  # a shorter b exists
        ([[0, 1, 1], [1, 0, 1], [1, 1, 0]], True),  # face-centred
        ([[-1, 1, 1], [1, -1, 1], [1, 1, -1]], True),  # body-centred
    ],
)
def test_niggli_cells_are_recognised(lattice, expected):
    assert is_niggli(np.array(lattice, dtype=float)) is expected


def test_wrapping_never_gives_one():
    assert wrap(np.array([-1e-17, 1.0, -0.25, 2.5])).tolist() == [0.0, 0.0, 0.75, 0.5]


def test_the_canonical_cell_needs_no_pymatgen():
    code = (
        "import sys, numpy as np\n"
        "from matgen.records import Crystal\n"
        "from matgen.crystal.cell import canonical_cell\n"
        "canonical_cell(Crystal(4*np.eye(3), np.array([[0,0,0],[.5,.5,.5]]), np.array([55,17])))\n"
        "assert not {'spglib', 'pymatgen', 'ase'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
