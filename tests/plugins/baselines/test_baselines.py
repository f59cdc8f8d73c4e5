"""Ion exchange and random prototypes, from real crystals."""

from __future__ import annotations

from collections import Counter
from itertools import islice, product

import numpy as np
import pytest
from pymatgen.core import Species
from pymatgen.core.structure_prediction.substitution_probability import SubstitutionProbability

from matgen import Crystal, Record, elements
from matgen.crystal.composition import reduced_formula
from matgen.crystal.symmetry import find_symmetry
from matgen.errors import BadCrystal, BadOptions
from matgen.generation.generators import generated
from matgen_baselines.ion_exchange import IonExchange
from matgen_baselines.random_prototypes import RandomPrototypes, prototypes, usual_states
from matgen_baselines.substitutions import Substitutions
from matgen_baselines.volumes import AtomicVolumes
from matgen_datasets.mp_le20 import MpLe20

KNOWN = list(islice(MpLe20().records("train"), 4000))
LI, OXYGEN, NA, CL, FE = 3, 8, 11, 17, 26


def salt(*, first: int = NA, second: int = CL, a: float = 4.0) -> Record:
    lattice = a * np.array([[0.0, 1.0, 1.0], [1.0, 0.0, 1.0], [1.0, 1.0, 0.0]]) / np.sqrt(2)
    frac = np.array([[0.0, 0.0, 0.0], [0.5, 0.5, 0.5]])
    return Record(f"{first}-{second}", Crystal(lattice, frac, np.array([first, second])))


def test_probabilities_are_those_of_pymatgen() -> None:
    table, own = SubstitutionProbability(), Substitutions(1e-3)
    rng = np.random.default_rng(0)
    ions = sorted((s.Z, int(s.oxi_state)) for s in table.species if float(s.oxi_state).is_integer())
    for _ in range(300):
        new, old = (ions[place] for place in rng.integers(len(ions), size=2))
        pair = [Species(elements.symbols[z], state) for z, state in (new, old)]
        assert own.probability(new, old) == pytest.approx(table.cond_prob(*pair))
    for new, old in (
        ((NA, 1), (LI, 1)),
        ((LI, 1), (NA, 1)),
        ((FE, 3), (FE, 2)),
        ((OXYGEN, -2), (CL, -1)),
    ):
        ions = [Species(elements.symbols[z], state) for z, state in (new, old)]
        assert own.probability(new, old) == pytest.approx(table.cond_prob(*ions))


def test_exchanges_of_rock_salt_are_all_that_counting_by_hand_finds() -> None:
    least, table = 1e-3, SubstitutionProbability()
    na, cl = Species("Na", 1), Species("Cl", -1)
    by_hand = {
        ((one.Z, int(one.oxi_state)), (two.Z, int(two.oxi_state))): p
        for one, two in product(table.species, repeat=2)
        if one.oxi_state + two.oxi_state == 0
        and (p := table.cond_prob(one, na) * table.cond_prob(two, cl)) >= least
        and one.Z != two.Z
        and (one.Z, two.Z) != (NA, CL)
    }
    found = Substitutions(least).exchanges((((NA, 1), 1), ((CL, -1), 1)))
    assert set(found.ions) == set(by_hand)
    total = sum(by_hand.values())
    for ions, chance in zip(found.ions, found.chances, strict=True):
        assert chance == pytest.approx(by_hand[ions] / total)


def test_exchanges_are_drawn_as_often_as_their_probabilities_say() -> None:
    others = [Record(r.id, r.crystal, {"energy_above_hull": 1.0}) for r in KNOWN]
    session = IonExchange().open([Record("salt", salt().crystal), *others])
    n = 3000
    drawn = [sample.crystal for sample in generated(session, n, seed=0)]
    pairs = Counter(tuple(c.numbers.tolist()) for c in drawn if c is not None)
    expected: Counter[tuple[int, ...]] = Counter()
    exchange = Substitutions(1e-3).exchanges((((NA, 1), 1), ((CL, -1), 1)))
    for ions, chance in zip(exchange.ions, exchange.chances, strict=True):
        expected[tuple(z for z, _ in ions)] += float(chance)
    assert sum(pairs.values()) == n
    assert set(pairs) <= set(expected)
    for pair, chance in expected.items():
        # Five standard deviations of a count.
        assert abs(pairs[pair] - n * chance) < 5 * np.sqrt(n * chance) + 1


def test_children_are_neutral_new_in_an_element_and_keep_their_sites() -> None:
    session = IonExchange().open(KNOWN)
    parents: dict[bytes, list[Crystal]] = {}
    for record in KNOWN:
        parents.setdefault(record.crystal.frac.tobytes(), []).append(record.crystal)
    drawn = [sample.crystal for sample in generated(session, 200, seed=3)]
    assert all(crystal is not None for crystal in drawn)
    for child in drawn:
        assert child is not None
        assert child.oxidation is not None
        assert child.oxidation.sum() == 0
        kept = parents[child.frac.tobytes()]
        assert not all(np.array_equal(child.numbers, parent.numbers) for parent in kept)
        alike = [_kinds(parent) == _kinds(child) for parent in kept]
        assert any(alike)


def _kinds(crystal: Crystal) -> list[int]:
    """Which sites hold one element, whichever it is."""
    return [int(np.flatnonzero(crystal.numbers == z)[0]) for z in crystal.numbers]


def test_unseen_formulas_are_not_those_of_the_dataset() -> None:
    known = {reduced_formula(record.crystal) for record in KNOWN}
    session = IonExchange(unseen=True).open(KNOWN)
    drawn = [sample.crystal for sample in generated(session, 100, seed=0)]
    assert {reduced_formula(c) for c in drawn if c is not None} & known == set()
    plain = generated(IonExchange().open(KNOWN), 100, seed=0)
    assert {reduced_formula(s.crystal) for s in plain if s.crystal is not None} & known


def test_parents_lie_within_the_chosen_distance_of_the_hull() -> None:
    stable, unstable = salt(), salt(first=LI)
    far = [Record(r.id, r.crystal, {"energy_above_hull": 0.2}) for r in (unstable, *KNOWN[:50])]
    with pytest.raises(BadOptions, match="max_above_hull_ev_per_atom"):
        IonExchange().open(far)
    near = Record("near", stable.crystal, {"energy_above_hull": 0.0})
    volumes = [Record(r.id, r.crystal, {"energy_above_hull": 1.0}) for r in KNOWN]
    for sample in generated(IonExchange().open([near, *volumes]), 20, seed=0):
        assert sample.crystal is not None
        np.testing.assert_allclose(sample.crystal.frac, stable.crystal.frac)


def test_compounds_that_the_table_lacks_are_failed_samples_and_the_rest_goes_on() -> None:
    lost = [salt(first=90, second=94)] * 5  # Th and Pu: no oxidation states, no substitutions
    session = IonExchange(tries=3).open(lost)
    samples = list(generated(session, 4, seed=0))
    assert [sample.index for sample in samples] == [0, 1, 2, 3]
    assert all("no exchange in 3 compounds" in sample.error for sample in samples)
    with pytest.raises(BadCrystal, match="no exchange"):
        session.draw(np.random.default_rng(0))
    # Others only lend the volumes of their elements.
    others = [Record(r.id, r.crystal, {"energy_above_hull": 1.0}) for r in KNOWN]
    parents = [*lost, *[salt()] * 5, *others]
    mixed = list(generated(IonExchange(tries=1).open(parents), 40, seed=0))
    assert [sample.index for sample in mixed] == list(range(40))
    # Half of the parents cannot be exchanged, and one try is all there is.
    assert 5 < sum(sample.crystal is None for sample in mixed) < 35


def shape(crystal: Crystal) -> tuple[bytes, bytes]:
    """What scaling the cell and changing the atoms leave alone."""
    scaled = crystal.lattice / crystal.volume ** (1 / 3)
    return crystal.frac.tobytes(), (scaled.round(6) + 0.0).tobytes()


def test_occupied_prototypes_keep_their_space_group() -> None:
    session = RandomPrototypes().open(KNOWN)
    groups = {shape(c): find_symmetry(c, symprec=0.01).number for c in prototypes()}
    for sample in generated(session, 60, seed=0):
        crystal = sample.crystal
        assert crystal is not None
        assert crystal.oxidation is not None
        assert crystal.oxidation.sum() == 0
        assert find_symmetry(crystal, symprec=0.01).number == groups[shape(crystal)]


def test_random_elements_take_usual_states_only() -> None:
    session = RandomPrototypes(max_sites=8).open(KNOWN)
    for sample in generated(session, 60, seed=1):
        crystal = sample.crystal
        assert crystal is not None
        assert crystal.n_sites <= 8
        assert crystal.oxidation is not None
        for z, state in zip(crystal.numbers.tolist(), crystal.oxidation.tolist(), strict=True):
            assert state in usual_states(z, 0.05)


def test_usual_states_of_iron_and_oxygen() -> None:
    assert set(usual_states(FE, 0.05)) == {2, 3}
    assert usual_states(OXYGEN, 0.05) == (-2,)
    assert usual_states(10, 0.05) == ()


def test_prototypes_need_elements_to_choose_from() -> None:
    with pytest.raises(BadOptions, match="elements with oxidation states"):
        RandomPrototypes().open([salt()] * 9)
    with pytest.raises(BadOptions, match="needs known crystals"):
        RandomPrototypes().open([])


def test_volumes_add_up_to_those_of_real_crystals() -> None:
    volumes = AtomicVolumes(KNOWN[:3000])
    errors = [
        volumes.volume(record.crystal.numbers) / record.crystal.volume - 1.0
        for record in KNOWN[3000:]
    ]
    errors = [error for error in errors if np.isfinite(error)]
    assert len(errors) > 900
    # Of crystals not fitted to; a cell length is off by a third of it.
    assert np.median(np.abs(errors)) < 0.12


def test_an_element_in_few_crystals_has_no_volume() -> None:
    volumes = AtomicVolumes([*[salt()] * 9, salt(first=LI)])
    assert np.isnan(volumes.per_element[LI])
    assert np.isfinite(volumes.volume(np.array([NA, CL])))
