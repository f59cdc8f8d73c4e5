"""Ours and pymatgen's answers are the same on real and on hostile crystals, to the last bit."""

from __future__ import annotations

import gzip
import json
import signal
import time
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from pymatgen.core.structure_matcher import StructureMatcher

from matgen.errors import BadOptions
from matgen.evaluation.matching import (
    MATCHERS,
    RMSD,
    Candidate,
    Comparisons,
    DisorderedMatcher,
    Matcher,
    OrderedMatcher,
    Tolerances,
    comparable,
    composition_key,
    matcher_named,
    unique_mask,
)
from matgen.evaluation.matching.merging import merged_kinds, take_each_others_place
from matgen.evaluation.matching.reduction import reduced
from matgen.evaluation.time_limit import OutOfTime, time_limit
from matgen.records import Crystal
from matgen.testing import crystals as hostile
from matgen_executors.local import LocalPool

CARBON = Path(__file__).parents[2] / "golden" / "eval" / "carbon_24.json.gz"


def _carbon(n: int) -> list[Crystal]:
    rows = json.loads(gzip.decompress(CARBON.read_bytes()))["structures"][:n]
    return [
        Crystal(
            np.array(row["lattice"]),
            np.array(row["frac_coords"]),
            np.full(len(row["frac_coords"]), 6, dtype=np.int64),
        )
        for row in rows
    ]


def _changed(crystal: Crystal, rng: np.random.Generator, *, noise_ang: float) -> Crystal:
    """Return the crystal strained, moved, with other axes, sometimes doubled, in another order."""
    lattice = crystal.lattice @ (np.eye(3) + rng.normal(0, 0.01, (3, 3)))
    frac = crystal.frac + rng.random(3)
    frac += rng.normal(0, noise_ang, frac.shape) @ np.linalg.inv(lattice)
    change = np.eye(3, dtype=np.int64)
    for _ in range(3):
        i, j = rng.permutation(3)[:2]
        change[i] += rng.integers(-1, 2) * change[j]
    copies = int(rng.integers(1, 3))
    change[0] *= copies
    points = [change[0] // copies * copy for copy in range(copies)]
    sites = np.concatenate([frac + point for point in points]) @ np.linalg.inv(change)
    order = rng.permutation(len(sites))
    return Crystal(change @ lattice, sites[order], np.tile(crystal.numbers, copies)[order])


def _family() -> list[Crystal]:
    """Hostile crystals and what noise of several sizes makes of them, by formula."""
    rng = np.random.default_rng(7)
    family = []
    for crystal in hostile():
        family += [crystal] + [_changed(crystal, rng, noise_ang=n) for n in (0.0, 0.1, 0.4)]
    return family


def _pairs(crystals: list[Crystal]) -> list[tuple[int, int]]:
    keys = [composition_key(crystal) for crystal in crystals]
    n = range(len(crystals))
    return [(i, j) for i, j in product(n, n) if keys[i] == keys[j]]


@pytest.mark.parametrize("crystal", [*_family(), *_carbon(25)])
def test_reduced_cells_are_pymatgens_to_the_last_bit(crystal: Crystal) -> None:
    StructureMatcher._get_reduced_istructure.cache_clear()
    theirs = StructureMatcher._get_reduced_structure(crystal.to_structure())
    ours = reduced(crystal)
    assert np.array_equal(ours.lattice, theirs.lattice.matrix)
    assert np.array_equal(ours.frac, theirs.frac_coords)
    assert ours.kinds.tolist() == list(theirs.atomic_numbers)


@pytest.mark.parametrize("name", ["ordered", "cdvae", "matbench"])
def test_answers_on_hostile_crystals_are_pymatgens(name: str) -> None:
    family, matcher = _family(), matcher_named(name)
    plain = matcher.tolerances.pymatgen()
    ours = [Candidate(crystal) for crystal in family]
    # That the reduced cells are the same is tested above; reducing again takes most of the time.
    theirs = [plain._get_reduced_structure(c.to_structure()) for c in family]
    answers = set()
    for i, j in _pairs(family):
        found = matcher.fit(ours[i], ours[j])
        assert found == plain.fit(theirs[i], theirs[j], skip_structure_reduction=True), (i, j)
        answers.add(found)
    assert answers == {True, False}


@pytest.mark.parametrize(
    "tolerances",
    [
        pytest.param(Tolerances(0.3, 0.5, 10.0), id="cdvae"),
        pytest.param(RMSD, id="rmsd", marks=pytest.mark.slow),
    ],
)
def test_distances_on_hostile_crystals_are_pymatgens_to_the_last_bit(
    tolerances: Tolerances,
) -> None:
    family, matcher, plain = _family(), OrderedMatcher(tolerances), tolerances.pymatgen()
    n_found = 0
    for i, j in _pairs(family)[::5]:
        found = matcher.closest(Candidate(family[i]), Candidate(family[j]))
        want = plain.get_rms_dist(family[i].to_structure(), family[j].to_structure())
        assert (None if found is None else (found.rms, found.largest)) == want, (i, j)
        n_found += found is not None
    assert n_found > 20


def test_answers_on_many_structures_of_one_formula_are_pymatgens() -> None:
    carbon = _carbon(40)
    matcher, plain = OrderedMatcher(), Tolerances().pymatgen()
    ours = [Candidate(crystal) for crystal in carbon]
    theirs = [plain._get_reduced_structure(c.to_structure()) for c in carbon]
    answers = []
    for i, j in product(range(len(carbon)), repeat=2):
        answers.append(matcher.fit(ours[i], ours[j]))
        assert answers[-1] == plain.fit(theirs[i], theirs[j], skip_structure_reduction=True)
    assert len(carbon) < sum(answers) < len(answers) / 2


def test_a_shift_of_one_site_is_judged_by_the_site_tolerance() -> None:
    chloride = hostile()[1]
    moved = chloride.frac.copy()
    moved[1, 0] += 0.2
    other = Crystal(chloride.lattice, moved, chloride.numbers)
    # 0.2 × 4.12 Å, shared by two sites: 0.41 Å each, of (V/N)^(1/3) = 3.27 Å: 0.126.
    for site, same in ((0.12, False), (0.13, True)):
        matcher = OrderedMatcher(Tolerances(site=site))
        assert matcher.fit(Candidate(chloride), Candidate(other)) is same


def test_merging_takes_alloys_for_one() -> None:
    cell, sites = 2.9 * np.eye(3), np.array([[0.0, 0, 0], [0.5, 0.5, 0.5]])
    doubled, four = (
        np.diag([5.8, 2.9, 2.9]),
        np.array([[0, 0, 0], [0.25, 0.5, 0.5], [0.5, 0, 0], [0.75, 0.5, 0.5]]),
    )
    ordered = Crystal(cell, sites, np.array([26, 27]))
    other = Crystal(doubled, four, np.array([26, 26, 27, 27]))
    assert not matcher_named("ordered").fit(Candidate(ordered), Candidate(other))
    assert matcher_named("disordered").fit(Candidate(ordered), Candidate(other))


def test_elements_without_a_radius_share_with_none() -> None:
    assert take_each_others_place(26, 27)
    assert not take_each_others_place(54, 53)
    assert not take_each_others_place(18, 17)
    assert merged_kinds(frozenset({26, 27, 8, 54})) == {26: 26, 27: 26}
    fluoride = Crystal(np.diag([4.3, 4.3, 7.0]), np.eye(3) * 0.3, np.array([54, 9, 9]))
    long = Crystal(np.diag([3.0, 3.0, 14.4]), np.eye(3) * 0.3, np.array([54, 9, 9]))
    # MatterGen's fails here with a TypeError.
    assert not matcher_named("disordered").fit(Candidate(fluoride), Candidate(long))


@pytest.mark.parametrize("text", list(MATCHERS))
def test_a_matcher_can_be_read_back_from_what_it_prints(text: str) -> None:
    matcher = matcher_named(text)
    assert matcher_named(str(matcher)) == matcher


def test_free_text_sets_what_it_names() -> None:
    wide = matcher_named("ltol=0.5, stol=0.5, angle_tol=10, scale=false, supercell=true")
    assert wide == OrderedMatcher(RMSD)
    assert matcher_named("stol=0.1,disordered") == DisorderedMatcher(Tolerances(site=0.1))
    assert matcher_named("matbench") == OrderedMatcher(Tolerances(site=1.0, scale=False))


@pytest.mark.parametrize(
    "text", ["", "orderd", "ltol", "ltol=x", "ltol=-1", "stol=nan", "ltol=1,ltol=2", "scale=maybe"]
)
def test_an_unknown_matcher_is_an_error_that_says_what_there_is(text: str) -> None:
    with pytest.raises(BadOptions, match=r"known: ordered, disordered|expected a number"):
        matcher_named(text)


class _Endless(Matcher):
    """Never answers."""

    def fit(self, first: Candidate, second: Candidate) -> bool:
        del first, second
        while True:
            sum(range(1000))

    def __str__(self) -> str:
        return "endless"


def test_a_pair_without_an_answer_in_time_counts_as_different_and_is_counted() -> None:
    crystal = hostile()[1]
    found = unique_mask([crystal, crystal, crystal], LocalPool(), _Endless(), pair_seconds=0.02)
    assert found.mask == [True] * 3
    assert found.n_timed_out == 3


def test_a_time_limit_leaves_the_one_around_it_in_force() -> None:
    with pytest.raises(OutOfTime), time_limit(0.05):
        with pytest.raises(OutOfTime), time_limit(0.01):
            _busy(1.0)
        _busy(1.0)
    assert signal.getitimer(signal.ITIMER_PROF) == (0.0, 0.0)


def _busy(seconds: float) -> None:
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass


def test_a_cell_that_cannot_be_reduced_matches_nothing_and_is_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from pymatgen.core.lattice import Lattice

    def fails(*_: object, **__: object) -> None:
        raise ValueError("can't find niggli")

    crystal = replace(hostile()[9], frac=hostile()[9].frac + 0.015625)
    monkeypatch.setattr(Lattice, "get_niggli_reduced_lattice", fails)
    comparisons = Comparisons(OrderedMatcher())
    assert not comparisons.same(Candidate(crystal), Candidate(crystal))
    assert comparisons.n_failed == 1


def test_the_first_or_the_last_of_a_group_is_kept() -> None:
    crystal = hostile()[9]
    copies = [crystal, hostile()[0], crystal, hostile()[0], crystal]
    first = unique_mask(copies, LocalPool())
    last = unique_mask(copies, LocalPool(), keep="last")
    assert first.mask == [True, True, False, False, False]
    assert first.partners == [None, None, 0, 1, 0]
    assert last.mask == [False, False, False, True, True]
    assert last.partners == [2, 3, 4, None, None]
    assert all(map(comparable, copies))


def test_a_cell_of_a_thousand_sites_is_reduced_in_seconds_and_little_memory() -> None:
    # Its supercell matrices number millions: pymatgen's own search has to decide.
    steps = np.stack(np.meshgrid(*[np.arange(10)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    primitive = 1.8 * np.array([[0.0, 1, 1], [1, 0, 1], [1, 1, 0]])
    large = Crystal(10 * primitive, steps / 10, np.full(1000, 29))
    small = Crystal(primitive, np.zeros((1, 3)), np.array([29]))
    assert len(Candidate(large).reduced) == 1
    assert OrderedMatcher().fit(Candidate(large), Candidate(small))
