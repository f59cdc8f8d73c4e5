"""Masks and displacements are those of pymatgen and MatterGen; laws of sameness."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from matgen.elements import symbols
from matgen.evaluation.matching import (
    DEFAULT,
    Candidate,
    OrderedMatcher,
    Tolerances,
    composition_key,
    match_and_rmsd,
    novel_mask,
    unique_mask,
)
from matgen.evaluation.reference import Reference
from matgen.records import Crystal
from matgen_executors.local import LocalPool

GOLDEN = Path(__file__).parents[2] / "golden" / "eval" / "mattergen_structures.json.gz"
NUMBERS = {symbol: number for number, symbol in enumerate(symbols)}


def _crystal(saved: dict[str, Any]) -> Crystal:
    return Crystal(
        np.array(saved["lattice"]),
        np.array(saved["frac_coords"]),
        np.array([NUMBERS[symbol] for symbol in saved["species"]], dtype=np.int64),
    )


@pytest.fixture(scope="module")
def golden() -> dict[str, Any]:
    return json.loads(gzip.decompress(GOLDEN.read_bytes()))  # type: ignore[no-any-return] # JSON


@pytest.fixture(scope="module")
def perturbed(golden: dict[str, Any]) -> list[Crystal]:
    return [_crystal(saved) for saved in golden["perturbed"]["structures"]]


def test_unique_masks_are_mattergens(golden: dict[str, Any], perturbed: list[Crystal]) -> None:
    assert unique_mask(perturbed, LocalPool()).mask == golden["perturbed"]["unique"]


@pytest.mark.slow
def test_unique_mask_of_generated_pairs_is_mattergens(golden: dict[str, Any]) -> None:
    release = [_crystal(saved) for saved in golden["release"]["structures"]]
    assert unique_mask(release, LocalPool()).mask == golden["release"]["unique"]


def test_novel_masks_are_mattergens(golden: dict[str, Any], perturbed: list[Crystal]) -> None:
    reference = Reference(_crystal(saved) for saved in golden["reference"])
    assert novel_mask(perturbed, reference, LocalPool()).mask == golden["perturbed"]["novel"]


def test_displacements_are_mattergens_in_angstrom(
    golden: dict[str, Any], perturbed: list[Crystal]
) -> None:
    for index in range(0, len(golden["originals"]), 3):
        found = match_and_rmsd(_crystal(golden["originals"][index]), perturbed[index])
        # Rounding of the assignment's sums only.
        assert found.rmsd_ang == pytest.approx(golden["rmsd_ang"][index], abs=1e-9)


def test_every_pair_agrees_with_plain_pymatgen(perturbed: list[Crystal]) -> None:
    matcher, plain_matcher = OrderedMatcher(), DEFAULT.pymatgen()
    keys = [composition_key(crystal) for crystal in perturbed]
    pairs = [(i, j) for i in range(len(keys)) for j in range(i) if keys[i] == keys[j]]
    assert len(pairs) > 20
    for i, j in pairs:
        plain = plain_matcher.fit(perturbed[i].to_structure(), perturbed[j].to_structure())
        fast = matcher.fit(Candidate(perturbed[i]), Candidate(perturbed[j]))
        assert fast == plain


def _rock_salt(length: float = 5.6) -> Crystal:
    fcc = np.array([[0.0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])
    frac = np.concatenate([fcc, fcc + np.array([0.5, 0, 0])])
    return Crystal(np.eye(3) * length, frac, np.array([11] * 4 + [17] * 4))


def test_a_crystal_equals_its_supercell_shifted_reordered_and_swollen() -> None:
    crystal = _rock_salt()
    doubled = Crystal(
        np.diag([2.0, 1, 1]) @ crystal.lattice * 1.1,
        np.concatenate([crystal.frac, crystal.frac + np.array([1, 0, 0])]) / [2, 1, 1] + 0.123,
        np.tile(crystal.numbers, 2),
    ).take(np.random.default_rng(0).permutation(16))
    assert unique_mask([crystal, doubled], LocalPool()).mask == [True, False]
    strict = OrderedMatcher(Tolerances(length=0.05, scale=False))
    assert unique_mask([crystal, doubled], LocalPool(), strict).mask == [True, True]


def test_what_cannot_be_compared_is_neither_unique_nor_novel() -> None:
    needle = Crystal(np.diag([1.0, 1.0, 9000.0]), np.zeros((1, 3)), np.array([11]))
    broken = Crystal(np.full((3, 3), np.nan), np.zeros((1, 3)), np.array([11]))
    flat = Crystal(np.zeros((3, 3)), np.zeros((1, 3)), np.array([11]))
    empty = Crystal(np.eye(3), np.zeros((0, 3)), np.zeros(0, dtype=np.int64))
    unknown = Crystal(np.eye(3) * 4, np.zeros((1, 3)), np.array([0]))
    crystals = [None, needle, broken, flat, empty, unknown, _rock_salt()]
    reference = Reference([broken, _rock_salt(5.5)])
    assert unique_mask(crystals, LocalPool()).mask == [None] * 6 + [True]
    assert novel_mask(crystals, reference, LocalPool()).mask == [None] * 6 + [False]
    assert (len(reference), reference.n_skipped) == (1, 1)


def test_a_crystal_that_did_not_move_has_no_displacement() -> None:
    found = match_and_rmsd(_rock_salt(), _rock_salt())
    assert found.matches
    assert found.mapped
    assert found.rmsd_ang == pytest.approx(0.0, abs=1e-7)


def test_another_crystal_gets_the_largest_displacement() -> None:
    chloride = Crystal(np.eye(3) * 3.4, np.array([[0.0, 0, 0], [0.5] * 3]), np.array([11, 17]))
    stretched = Crystal(
        np.diag([2.0, 2.0, 40.0]), np.array([[0.0, 0, 0], [0.5] * 3]), np.array([11, 17])
    )
    found = match_and_rmsd(chloride, stretched)
    assert not found.matches
    assert not found.mapped
    assert found.rmsd_ang > 0.5
