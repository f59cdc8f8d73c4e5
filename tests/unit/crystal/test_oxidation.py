import itertools
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymatgen.core import Lattice, Structure

from matgen import elements
from matgen.crystal.charge_balance import balance_mixed, balance_uniform
from matgen.crystal.composition import parse_formula
from matgen.crystal.oxidation import OxidationAssigner
from matgen.records import Crystal


def spacegroup(symbol, lattice, species, coordinates):
    structure = Structure.from_spacegroup(symbol, lattice, species, coordinates)
    return Crystal.from_structure(structure.get_primitive_structure())


def loose(text):
    """A crystal of this composition; where the sites are does not matter to uniform states."""
    numbers = np.repeat(list(parse_formula(text)), list(parse_formula(text).values()))
    n = len(numbers)
    frac = np.column_stack([np.arange(n) / n, np.zeros(n), np.zeros(n)])
    return Crystal(np.diag([3.0 * n, 4.0, 5.0]), frac, numbers)


def states(crystal, assignment):
    return {
        elements.symbols[z]: sorted(assignment.oxidation[crystal.numbers == z].tolist())
        for z in np.unique(crystal.numbers)
    }


@pytest.fixture
def assigner():
    return OxidationAssigner()


@pytest.fixture
def magnetite():
    return spacegroup(
        "Fd-3m",
        Lattice.cubic(8.396),
        ["Fe", "Fe", "O"],
        [[0, 0, 0], [0.625, 0.625, 0.625], [0.3799, 0.3799, 0.3799]],
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Na Cl", {"Na": 1, "Cl": -1}),
        ("Fe2 O3", {"Fe": 3, "O": -2}),
        ("Sr Ti O3", {"Sr": 2, "Ti": 4, "O": -2}),
        ("La Al O3", {"La": 3, "Al": 3, "O": -2}),
        ("Li Fe P O4", {"Li": 1, "Fe": 2, "P": 5, "O": -2}),
        ("Cs Pb Br3", {"Cs": 1, "Pb": 2, "Br": -1}),
        ("Mg2 Sn", {"Mg": 2, "Sn": -4}),
        ("Na H", {"Na": 1, "H": -1}),
        ("Ga As", {"Ga": 3, "As": -3}),
    ],
)
def test_salts_get_the_states_of_the_textbook(assigner, text, expected):
    crystal = loose(text)
    found = assigner.assign(crystal)
    assert found.how == "uniform"
    assert {symbol: set(s) for symbol, s in states(crystal, found).items()} == {
        symbol: {state} for symbol, state in expected.items()
    }


@pytest.mark.parametrize(
    "text", ["Fe", "S8", "O2", "Sn", "Xe", "Ni3 Al", "Ti Ni", "Cs Au", "Yb Sn Pd", "Rf"]
)
def test_elements_and_alloys_are_all_zero(assigner, text):
    found = assigner.assign(loose(text))
    assert found.how == "zero"
    assert not found.oxidation.any()


def test_magnetite_has_two_iron_two_and_four_iron_three_by_orbit(assigner, magnetite):
    found = assigner.assign(magnetite)
    assert found.how == "mixed"
    assert states(magnetite, found)["Fe"] == [2, 2, 3, 3, 3, 3]
    # The two tetrahedral sites have four oxygens at 1.89 Å, the octahedral ones six at 2.06 Å.
    distances = magnetite.to_structure().distance_matrix
    for site in np.flatnonzero(magnetite.numbers == 26):
        n_near = int((distances[site, magnetite.numbers == 8] < 2.3).sum())
        assert found.oxidation[site] == {4: 2, 6: 3}[n_near]


def test_the_higher_state_goes_to_the_site_with_the_shorter_bonds(assigner):
    # Breathing BaBiO3: Bi(0) has oxygens at 2.1 Å, Bi(½½½) at 2.3 Å; of Bi3+ and Bi5+ the latter
    # is smaller.
    a = 8.8
    d = 2.1 / a
    octahedron = [s * np.eye(3)[i] * d for i in range(3) for s in (1, -1)]
    frac = np.array([[0, 0, 0], [0.5, 0.5, 0.5], [0.25, 0.25, 0.25], [0.75, 0.75, 0.75]])
    face = np.array([[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])
    everything = np.concatenate([*(face + f for f in frac), *(face + o for o in octahedron)])
    crystal = Crystal(
        a * np.eye(3), everything, np.array([83] * 8 + [56] * 8 + [8] * 24, dtype=np.int64)
    )
    found = assigner.assign(crystal)
    assert found.how == "mixed"
    assert found.oxidation[:4].tolist() == [5] * 4
    assert found.oxidation[4:8].tolist() == [3] * 4


def test_a_peroxide_that_no_table_explains_is_all_zero(assigner):
    found = assigner.assign(loose("Ba O2"))
    assert found.how == "zero"


def test_twelve_elements_take_bounded_work(assigner):
    numbers = [25, 26, 27, 42, 44, 75, 76, 16, 17, 7, 35, 53]
    n = len(numbers)
    crystal = Crystal(
        np.diag([3.0 * n, 4.0, 5.0]),
        np.column_stack([np.arange(n) / n, np.zeros(n), np.zeros(n)]),
        np.array(numbers, dtype=np.int64),
    )
    span = sum(max(s) - min(s) for s in (elements.oxidation_states[z] for z in numbers))
    combinations = np.prod([float(len(elements.oxidation_states[z]) - 1) for z in numbers])

    found = assigner.assign(crystal)

    assert found.oxidation.sum() == 0
    assert assigner.n_states <= 2 * n * (span + 1)
    assert combinations > 1000 * assigner.n_states


def test_a_composition_seen_before_costs_nothing(assigner):
    assigner.assign(loose("Li Fe P O4"))
    before = assigner.n_states
    assigner.assign(loose("Li2 Fe2 P2 O8"))
    assert assigner.n_states == before > 0


def test_an_assigner_travels_to_a_worker_with_what_it_knows(assigner, magnetite):
    assigner.assign(magnetite)
    twin = pickle.loads(pickle.dumps(assigner))
    before = twin.n_states
    np.testing.assert_array_equal(
        twin.assign(magnetite).oxidation, assigner.assign(magnetite).oxidation
    )
    assert twin.n_states == before


def log_weight(chosen, counts):
    weights = {
        z: dict(zip(elements.oxidation_states[z], elements.oxidation_weights[z], strict=True))
        for z in counts
    }
    return sum(n * np.log(weights[z][chosen[z]]) for z, n in counts.items())


compositions = st.dictionaries(
    st.sampled_from([1, 3, 6, 7, 8, 9, 15, 16, 20, 22, 25, 26, 29, 34, 56, 58, 79, 82]),
    st.integers(1, 4),
    min_size=2,
    max_size=4,
)


@given(compositions)
@settings(max_examples=150, deadline=None)
def test_the_uniform_choice_is_the_likeliest_of_all_products(counts):
    found = balance_uniform(counts).choices
    if elements.metallic[list(counts)].all():
        return
    best, best_log = None, -np.inf
    choices = [[s for s in elements.oxidation_states[z] if s] for z in counts]
    for combination in itertools.product(*choices):
        if sum(s * n for s, n in zip(combination, counts.values(), strict=True)):
            continue
        log = log_weight(dict(zip(counts, combination, strict=True)), counts)
        if log > best_log:
            best, best_log = combination, log
    if best is None:
        assert found is None
    else:
        assert log_weight({z: found[z].state for z in counts}, counts) == pytest.approx(best_log)
        assert sum(found[z].state * n for z, n in counts.items()) == 0


@given(compositions, st.randoms(use_true_random=False))
@settings(max_examples=60, deadline=None)
def test_a_mixed_choice_is_neutral_keeps_orbits_whole_and_mixes_adjacent_states(counts, random):
    orbits = {}
    for z, n in counts.items():
        left, sizes = 2 * n, []
        while left:
            sizes.append(random.randint(1, left))
            left -= sizes[-1]
        orbits[z] = sizes
    found = balance_mixed(orbits).choices
    if found is None:
        return
    charge = 0
    for z, choice in found.items():
        charge += choice.state * (sum(orbits[z]) - choice.n_strong)
        charge += choice.strong * choice.n_strong
        if choice.mixed:
            table = [s for s in elements.oxidation_states[z] if s]
            assert abs(table.index(choice.state) - table.index(choice.strong)) == 1
            assert choice.state * choice.strong > 0
            assert any(
                sum(part) == choice.n_strong
                for r in range(1, len(orbits[z]))
                for part in itertools.combinations(orbits[z], r)
            )
    assert charge == 0


def test_real_crystals_are_neutral_or_all_zero_and_states_are_in_the_table(mp_le20, assigner):
    for crystal in mp_le20[::60]:
        found = assigner.assign(crystal)
        assert found.oxidation.sum() == 0
        assert (found.how == "zero") == (not found.oxidation.any())
        assert all(
            state in elements.oxidation_states[z]
            for z, state in zip(crystal.numbers, found.oxidation, strict=True)
        )


def test_the_states_follow_the_sites_under_any_permutation(mp_le20):
    rng = np.random.default_rng(3)
    assigner = OxidationAssigner()
    n_mixed = 0
    for crystal in mp_le20[::60]:
        found = assigner.assign(crystal)
        if found.how != "mixed":
            continue
        n_mixed += 1
        order = rng.permutation(crystal.n_sites)
        again = OxidationAssigner().assign(crystal.take(order))
        np.testing.assert_array_equal(again.oxidation, found.oxidation[order])
    assert n_mixed > 30
