"""Random cells: the same crystal, the same lattice tokens, other axes or the mirror image."""

from __future__ import annotations

import warnings
from collections import Counter

import numpy as np
import pytest

from matgen import Crystal, Tokens, testing
from matgen.crystal.cell import canonical_cell
from matgen.crystal.oxidation import OxidationAssigner
from matgen.crystal.periodic import wrapped
from matgen.errors import OutsideRange
from matgen.io.crystal_table import CrystalTable
from matgen_datasets.mp_le20 import FILE
from matgen_materium.atoms import Atoms
from matgen_materium.bins import Bins
from matgen_materium.cells import lattice_parameters, lattice_vectors
from matgen_materium.equivalent_cells import equivalent_cells
from matgen_materium.orderings import High

RANDOM, BOTH = Atoms(cells="random"), Atoms(cells="random", origins="random")
N = 200
NEAR_ANG = 0.005
"""As benchmarks/exactness.py counts descriptions as the same."""

# Parameters that the grid holds, and the order of the lattice's point group.
LATTICES = {
    "cubic": ((4.0, 4.0, 4.0, 90.0, 90.0, 90.0), 48),
    "face-centred cubic": ((4.0, 4.0, 4.0, 60.0, 60.0, 60.0), 48),
    "hexagonal": ((3.2, 3.2, 5.0, 90.0, 90.0, 120.0), 24),
    "hexagonal, c short": ((3.0, 4.2, 4.2, 120.0, 90.0, 90.0), 24),
    "tetragonal": ((4.0, 4.0, 6.0, 90.0, 90.0, 90.0), 16),
    "rhombohedral": ((4.0, 4.0, 4.0, 72.0, 72.0, 72.0), 12),
    "orthorhombic": ((4.0, 5.0, 6.0, 90.0, 90.0, 90.0), 8),
    "base-centred": ((4.0, 4.0, 6.0, 90.0, 90.0, 108.0), 8),
    "monoclinic": ((4.0, 5.0, 6.0, 90.0, 102.0, 90.0), 4),
    "triclinic": ((4.0, 5.0, 6.0, 84.0, 78.0, 72.0), 2),
    "nearly cubic": ((4.0, 4.02, 4.04, 90.06, 90.0, 89.94), 2),
}


def in_general(lattice: str) -> Crystal:
    """Return a crystal without symmetry: four sites anywhere on the grid, no two alike."""
    parameters, _ = LATTICES[lattice]
    points = np.array([[0, 0, 0], [101, 233, 377], [503, 701, 89], [997, 313, 599]])
    numbers = np.array([3, 8, 26, 57], dtype=np.int64)
    return Crystal(lattice_vectors(np.array(parameters)), points / 1152, numbers, 0 * numbers)


def written(crystal: Crystal) -> Tokens:
    return Atoms().encode(crystal, High(), np.random.default_rng(0))


def words(crystal: Crystal) -> tuple[int, ...]:
    return tuple(written(crystal).ids.tolist())


def points(crystal: Crystal) -> tuple[int, ...]:
    """Return the points of the grid that the sites are at, in their order."""
    return tuple(Atoms().bins.quantise_frac(crystal.frac).ravel().tolist())


def redrawn(crystal: Crystal, seed: int = 0, atoms: Atoms = RANDOM) -> Crystal:
    return atoms.redescribed(crystal, np.random.default_rng(seed))


def distances(crystal: Crystal) -> dict[tuple[int, int], np.ndarray]:
    """Return, for each pair of elements, all distances below 4.1 Å, ascending."""
    reach = np.arange(-4, 5)
    images = np.stack(np.meshgrid(reach, reach, reach), axis=-1).reshape(-1, 3)
    found: dict[tuple[int, int], list[np.ndarray]] = {}
    for i, first in enumerate(crystal.numbers.tolist()):
        for j, second in enumerate(crystal.numbers.tolist()):
            apart = (crystal.frac[j] - crystal.frac[i] + images) @ crystal.lattice
            lengths = np.linalg.norm(apart, axis=1)
            found.setdefault((first, second), []).append(lengths[lengths < 4.1])
    return {pair: np.sort(np.concatenate(parts)) for pair, parts in found.items()}


def assert_same_distances(one: Crystal, other: Crystal) -> None:
    ours, theirs = distances(one), distances(other)
    assert ours.keys() == theirs.keys()
    for pair, lengths in ours.items():
        # Nothing but rounding: the cell is turned as a whole.
        np.testing.assert_allclose(lengths, theirs[pair], rtol=0, atol=1e-9)


def same_description(one: Crystal, other: Crystal) -> bool:
    a, b = lattice_parameters(one.lattice), lattice_parameters(other.lattice)
    if one.n_sites != other.n_sites or abs(a - b).max() > 0.05:
        return False
    apart = wrapped(one.frac[:, None] - other.frac[None]) @ one.lattice
    near = np.linalg.norm(apart, axis=-1) < NEAR_ANG
    near &= one.numbers[:, None] == other.numbers[None]
    return bool(near.any(axis=0).all() and near.any(axis=1).all())


def mirrored(crystal: Crystal) -> Crystal:
    return Crystal(crystal.lattice, -crystal.frac, crystal.numbers, crystal.oxidation)


@pytest.fixture(scope="module")
def real() -> list[Crystal]:
    """Crystals of the bundled set, evenly spread over it, as their tokens hold them."""
    table, assigner = CrystalTable.read(FILE), OxidationAssigner()
    held = []
    for row in range(0, len(table), len(table) // N):
        crystal = table.crystal(row)
        try:
            tokens = written(crystal.with_oxidation(assigner.assign(crystal).oxidation))
        except OutsideRange:
            continue
        held.append(Atoms().decode(tokens))
    return held


@pytest.mark.parametrize("lattice", LATTICES)
def test_a_crystal_without_symmetry_has_as_many_descriptions_as_its_lattice_symmetries(
    lattice: str,
) -> None:
    crystal, order = in_general(lattice), LATTICES[lattice][1]
    drawn = Counter(points(redrawn(crystal, seed)) for seed in range(60 * order))
    assert len(drawn) == order
    # Each comes 60 times on average; five standard deviations of a binomial count are 39 at most.
    assert max(abs(count - 60) for count in drawn.values()) < 39
    assert points(crystal) in drawn
    assert points(mirrored(crystal)) in drawn


@pytest.mark.parametrize("lattice", LATTICES)
def test_every_equivalent_cell_has_the_very_parameters_and_the_inverse_is_another(
    lattice: str,
) -> None:
    cell = in_general(lattice).lattice
    changes = equivalent_cells(cell)
    assert (abs(np.rint(np.linalg.det(changes))) == 1).all()
    np.testing.assert_allclose(
        lattice_parameters(changes @ cell) - lattice_parameters(cell), 0.0, atol=1e-9
    )
    every = {change.tobytes() for change in changes}
    assert len(every) == len(changes)
    for one in changes:
        assert np.rint(np.linalg.inv(one)).astype(np.int64).tobytes() in every
        assert {(one @ other).tobytes() for other in changes} == every


def test_equivalent_cells_are_the_symmetries_that_spglib_finds_of_the_lattice(real) -> None:
    import spglib

    for crystal in real:
        cell = (crystal.lattice, np.zeros((1, 3)), [1])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = spglib.get_symmetry(cell, symprec=1e-6)
        # Its rotations act on columns of coordinates, ours on rows of lattice vectors.
        theirs = {np.array(rotation, dtype=np.int64).T.tobytes() for rotation in found["rotations"]}
        ours = {change.tobytes() for change in equivalent_cells(crystal.lattice)}
        assert ours == theirs


def test_a_redescribed_crystal_has_the_same_distances(real) -> None:
    for seed, crystal in enumerate(real[::3]):
        for atoms in (RANDOM, BOTH):
            assert_same_distances(crystal, redrawn(crystal, seed, atoms))


def test_a_redescribed_crystal_matches_in_pymatgen(real) -> None:
    from pymatgen.analysis.structure_matcher import StructureMatcher

    # As they are: its search for primitive cells has tolerances of its own (docs/preparing.md).
    matcher = StructureMatcher(primitive_cell=False)
    for seed, crystal in enumerate(real[::4]):
        other = redrawn(crystal, seed, BOTH)
        assert matcher.fit(crystal.to_structure(), other.to_structure())


def test_lattice_and_species_of_a_sequence_stay_and_coordinates_do_not(real) -> None:
    n_moved = 0
    for seed, crystal in enumerate(real):
        before, after = written(crystal).ids, written(redrawn(crystal, seed)).ids
        first_lattice, _ = Atoms().places(crystal.n_sites)
        np.testing.assert_array_equal(before[first_lattice:], after[first_lattice:])
        np.testing.assert_array_equal(np.sort(before[2:-8:4]), np.sort(after[2:-8:4]))
        n_moved += not np.array_equal(before, after)
    # Where every site is special, most cells look alike.
    assert n_moved > len(real) / 4


def test_the_canonical_cell_is_found_again_or_that_of_the_mirror_image(real) -> None:
    found = []
    for seed, crystal in enumerate(real):
        wanted = canonical_cell(crystal), canonical_cell(mirrored(crystal))
        again = canonical_cell(redrawn(crystal, seed, BOTH))
        found.append(any(same_description(again, one) for one in wanted))
    # 99.8 % of descriptions without noise (docs/preparing.md), and what decision 6 leaves.
    assert np.mean(found) >= 0.95


def test_a_triclinic_crystal_is_written_as_it_is_or_as_its_mirror_image(real) -> None:
    triclinic = [crystal for crystal in real if len(equivalent_cells(crystal.lattice)) == 2]
    assert triclinic
    for crystal in triclinic:
        allowed = {words(crystal), words(mirrored(crystal))}
        assert {words(redrawn(crystal, seed)) for seed in range(20)} == allowed


def test_what_is_drawn_depends_on_the_stream_alone() -> None:
    crystal = in_general("cubic")
    first, again, other = (words(redrawn(crystal, seed, BOTH)) for seed in (1, 1, 2))
    assert first == again != other


def test_cell_and_origin_are_drawn_independently() -> None:
    crystal = in_general("orthorhombic")
    cells, shifts = set(), set()
    for seed in range(100):
        sites = np.array(points(redrawn(crystal, seed, BOTH))).reshape(-1, 3)
        # The first site was at the origin: it shows the shift alone.
        shifts.add(tuple(sites[0]))
        cells.add(tuple(((sites - sites[0]) % 1152).ravel()))
    assert len(cells) == 8
    assert len(shifts) > 95


def test_asking_for_random_cells_leaves_the_origins_of_a_run_without_them_as_they_were() -> None:
    crystal = in_general("cubic")
    shift = np.random.default_rng(5).integers(1152, size=3)
    moved = redrawn(crystal, 5, Atoms(origins="random"))
    assert points(moved) == points(
        Crystal(crystal.lattice, crystal.frac + shift / 1152, crystal.numbers)
    )


@pytest.mark.parametrize(
    ("atoms", "draws"),
    [(Atoms(), False), (RANDOM, True), (Atoms(origins="random"), True), (BOTH, True)],
)
def test_a_representation_says_whether_it_draws(atoms: Atoms, *, draws: bool) -> None:
    assert atoms.stochastic is draws
    crystal = in_general("cubic")
    descriptions = {words(redrawn(crystal, seed, atoms)) for seed in range(9)}
    assert (len(descriptions) > 1) is draws


@pytest.mark.parametrize(
    "atoms", [RANDOM, BOTH, Atoms(cells="random", bins=Bins.paper(), lattice="first")]
)
def test_random_cells_keep_the_laws_of_a_representation(atoms: Atoms) -> None:
    testing.check_representation(atoms)
