"""What is wrong with a dataset is found, and a sound one is left in peace."""

from __future__ import annotations

import itertools
import json
import math
from typing import Any

import numpy as np
import pytest
from pymatgen.analysis.structure_matcher import StructureMatcher

from matgen import Crystal, Record
from matgen.crystal.cell import canonical_cell
from matgen.data.checking import (
    DUPLICATE,
    INCOMPARABLE,
    LEAKED_MATERIAL,
    LEAKED_STRUCTURE,
    SAME_ID,
    UNREADABLE,
    CheckSummary,
    Finding,
    check_data,
)
from matgen.data.plausibility import PLAUSIBLE
from matgen.records import Skipped
from matgen.units import CANONICAL_UNITS
from matgen_datasets.mp_le20 import MpLe20
from matgen_executors.local import LocalExecutor
from tests.unit.data.listed import Listed, another_description, real_crystals, supercell

CRYSTALS = real_crystals(30)


def checked(
    rows: list[Any], *, sample: int = 0, **named: Any
) -> tuple[list[Finding], CheckSummary]:
    found: list[Finding] = []
    with LocalExecutor().open() as pool:
        summary = check_data(
            Listed(rows=tuple(rows), **named),
            pool,
            lambda *_: None,
            report=found.append,
            sample=sample,
        )
    return found, summary


def kinds(found: list[Finding]) -> dict[str, list[tuple[str, ...]]]:
    told: dict[str, list[tuple[str, ...]]] = {}
    for finding in found:
        told.setdefault(finding.kind, []).append(finding.ids)
    return told


def different(n: int) -> list[Crystal]:
    """Return crystals of different formulas."""
    by_formula = {tuple(np.unique(c.numbers)): c for c in CRYSTALS}
    return list(by_formula.values())[:n]


def test_nothing_is_found_in_sound_data() -> None:
    rows = [
        (split, Record(f"{split}{i}", crystal, {"band_gap": 1.0}))
        for split, crystals in (("train", different(8)[:5]), ("val", different(8)[5:]))
        for i, crystal in enumerate(crystals)
    ]
    found, summary = checked(rows, measured_in={"band_gap": "eV"})
    assert found == []
    assert summary.leakage == 0
    assert summary.rows == {"train": 5, "val": 3, "test": 0}


def test_a_copy_in_another_split_is_leakage_and_in_the_same_one_a_duplicate() -> None:
    rng = np.random.default_rng(0)
    one, two = different(2)
    rows = [
        ("train", Record("one", one)),
        ("train", Record("two", two)),
        ("train", Record("two again", supercell(two, np.diag([1, 2, 1])))),
        ("val", Record("one again", another_description(one, rng, strain=0.0))),
    ]
    found, summary = checked(rows)
    assert kinds(found) == {
        DUPLICATE: [("two", "two again")],
        LEAKED_STRUCTURE: [("one", "one again")],
        LEAKED_MATERIAL: [("one", "one again")],
    }
    assert summary.leakage == 2
    [finding] = [f for f in found if f.kind == LEAKED_STRUCTURE]
    assert finding.splits == ("train", "val")


def test_a_strained_copy_leaks_by_structure_though_its_space_group_is_another() -> None:
    cube = Crystal(3.35 * np.eye(3), np.zeros((1, 3)), np.array([84]))
    sheared = Crystal(cube.lattice @ (np.eye(3) + 0.02 * np.eye(3, k=1)), cube.frac, cube.numbers)
    found, _ = checked([("train", Record("a", cube)), ("test", Record("b", sheared))])
    assert list(kinds(found)) == [LEAKED_STRUCTURE]


def test_other_structures_of_one_space_group_and_formula_are_leakage_of_material_only() -> None:
    def rutile(c_over_a: float, u: float) -> Crystal:
        points = [[0, 0, 0], [0.5, 0.5, 0.5]]
        points += [[u, u, 0], [-u, -u, 0], [0.5 + u, 0.5 - u, 0.5], [0.5 - u, 0.5 + u, 0.5]]
        return Crystal(
            4.6 * np.diag([1, 1, c_over_a]), np.array(points), np.array([22] * 2 + [8] * 4)
        )

    found, _ = checked(
        [("train", Record("a", rutile(0.64, 0.305))), ("val", Record("b", rutile(1.5, 0.2)))]
    )
    assert list(kinds(found)) == [LEAKED_MATERIAL]


def test_the_space_groups_of_the_dataset_are_believed() -> None:
    (one,) = different(1)
    rows = [
        ("train", Record("a", one, {"space_group": 1.0})),
        ("val", Record("b", one, {"space_group": 2.0})),
    ]
    found, _ = checked(rows, measured_in={"space_group": "number"})
    assert list(kinds(found)) == [LEAKED_STRUCTURE]


def test_pairs_are_those_of_plain_pymatgen() -> None:
    records = list(itertools.islice(MpLe20(rows="all").records("train"), 4000))
    by_formula: dict[bytes, list[Record]] = {}
    for record in records:
        elements, counts = np.unique(record.crystal.numbers, return_counts=True)
        key = np.concatenate([elements, counts // np.gcd.reduce(counts)]).tobytes()
        by_formula.setdefault(key, []).append(record)
    buckets = [bucket for bucket in by_formula.values() if len(bucket) > 1 and len(bucket) < 8][::6]
    matcher = StructureMatcher()
    expected = set()
    for bucket in buckets:
        for a, b in itertools.combinations(bucket, 2):
            first, second = a.crystal.to_structure(), b.crystal.to_structure()
            if matcher.fit(first, second) or matcher.fit(second, first):
                expected.add((a.id, b.id))
    found, _ = checked([("train", record) for bucket in buckets for record in bucket])
    assert set(kinds(found).get(DUPLICATE, [])) == expected
    assert expected


def test_a_sample_compares_its_crystals_with_all_others() -> None:
    rng = np.random.default_rng(3)
    rows = [("train", Record(f"{i}", c)) for i, c in enumerate(different(10))]
    rows += [
        ("train", Record(f"{i}'", another_description(c, rng, strain=0.0)))
        for i, c in enumerate(different(10))
    ]
    everything = kinds(checked(rows)[0])[DUPLICATE]
    found, summary = checked(rows, sample=5)
    some = kinds(found)[DUPLICATE]
    assert set(some) < set(everything)
    assert 3 <= len(some) <= 5
    assert summary.compared == 5
    assert kinds(checked(rows[::-1], sample=5)[0])[DUPLICATE] != []


def single(length: float = 3.35, number: int = 84) -> Crystal:
    return Crystal(length * np.eye(3), np.zeros((1, 3)), np.array([number]))


@pytest.mark.parametrize("name", sorted(PLAUSIBLE))
def test_a_value_out_of_range_is_found(name: str) -> None:
    low, high = PLAUSIBLE[name]
    rows = [
        ("train", Record(f"{place}", single(3.0 + 0.05 * place, 20 + place), {name: value}))
        for place, value in enumerate((low - 1.0, low, high, high + 1.0))
    ]
    found, _ = checked(rows, measured_in={name: CANONICAL_UNITS[name]})
    assert kinds(found) == {f"implausible {name}": [("0",), ("3",)]}


def test_what_is_no_sound_crystal_or_number_is_found() -> None:
    overlapping = Crystal(3.0 * np.eye(3), np.array([[0, 0, 0], [0, 0, 0.1]]), np.array([12, 8]))
    nowhere = Crystal(3.0 * np.eye(3), np.array([[math.nan, 0, 0]]), np.array([3]))
    rows = [
        ("train", Record("overlap", overlapping)),
        ("train", Record("nan", nowhere)),
        ("train", Record("gap", single(), {"gap": math.inf})),
        ("val", Record("thin", single(12.0, 1))),
        ("val", Record("gap", single(4.0, 29))),
        ("val", Skipped("page 3", "blank")),
    ]
    found, summary = checked(rows, measured_in={"gap": "eV"})
    assert kinds(found) == {
        "no sound crystal": [("overlap",), ("nan",)],
        INCOMPARABLE: [("nan",)],
        "property is not finite": [("gap",)],
        "implausible density of the crystal": [("thin",)],
        SAME_ID: [("gap",)],
        UNREADABLE: [()],
    }
    assert summary.missing == {"train": {"gap": 2}, "val": {"gap": 2}, "test": {"gap": 0}}


def test_a_unit_that_is_not_canonical_is_found_and_others_are_free() -> None:
    found, _ = checked([], measured_in={"band_gap": "meV", "hardness": "GPa"})
    assert [f.detail for f in found] == ["band_gap: meV, canonical is eV"]


def test_a_cell_that_is_not_reduced_counts_only_where_the_dataset_says_they_all_are() -> None:
    crystal = canonical_cell(CRYSTALS[3])
    rows = [
        ("train", Record("reduced", crystal)),
        ("train", Record("double", supercell(single(), np.diag([1, 1, 2])))),
        ("train", Record("skew", supercell(single(4.0, 29), [[1, 0, 0], [1, 1, 0], [0, 0, 1]]))),
    ]
    assert checked(rows)[0] == []
    found, _ = checked(rows, claims_reduced=True)
    assert kinds(found) == {"cell is not the reduced one": [("double",), ("skew",)]}
    assert "the primitive cell has 1" in found[0].detail


def test_the_summary_is_json_and_names_what_was_looked_for_in_vain() -> None:
    _, summary = checked([("train", Record("a", single()))])
    told = json.loads(json.dumps(summary.to_json(), allow_nan=False))
    assert told["findings"] == dict.fromkeys(
        [LEAKED_MATERIAL, LEAKED_STRUCTURE, DUPLICATE, SAME_ID, UNREADABLE], 0
    )
    assert told["leakage"] == 0
