"""Splits of real crystals and of copies of them that only look different."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from matgen import Crystal, Record
from matgen.crystal.composition import chemical_system, reduced_formula
from matgen.data.material_table import MaterialTable, describe, same_structures
from matgen.data.split_folder import write_split
from matgen.data.splitting import Assignment, SplitPlan, assign
from matgen.errors import BadFile, BadOptions
from matgen.records import LabelSource, Skipped
from matgen_datasets.imported import Imported
from matgen_executors.local import LocalExecutor
from tests.unit.data.listed import Listed, another_description, real_crystals, supercell

CRYSTALS = real_crystals(40)


def unheard(*_: object) -> None:
    """Hear nothing of the progress."""


def assigned(plan: SplitPlan, rows: list[Record], **named: Any) -> Assignment:
    listed = Listed(rows=tuple(("train", row) for row in rows), **named)
    with LocalExecutor().open() as pool:
        return assign(plan, listed, pool, unheard)


def sides(plan: SplitPlan, rows: list[Record], **named: Any) -> dict[str, str]:
    """Return the split of each record's id; of one in none, why."""
    found: dict[str, str] = {}
    assignment = assigned(plan, rows, **named)
    for split, record in assignment.records(
        on_skip=lambda _: None, on_left_out=lambda r, why: found.update({r.id: why})
    ):
        found[record.id] = split
    return found


def third(by: Any, **named: Any) -> SplitPlan:
    return SplitPlan(by, val=0.3, test=0.3, **named)


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(seed=st.integers(0, 10**6), strain=st.sampled_from([0.0, 0.002, 0.01]))
@pytest.mark.parametrize("by", ["material", "formula", "system"])
def test_copies_that_only_look_different_are_on_one_side(by: Any, seed: int, strain: float) -> None:
    rng = np.random.default_rng(seed)
    rows = [
        Record(f"{place}/{copy}", another_description(crystal, rng, strain=strain))
        for copy in range(2)
        for place, crystal in enumerate(CRYSTALS)
    ]
    rows += [Record(f"{place}/as it is", crystal) for place, crystal in enumerate(CRYSTALS)]
    by_crystal = defaultdict(set)
    for name, side in sides(third(by), rows).items():
        by_crystal[name.partition("/")[0]].add(side)
    assert {name: found for name, found in by_crystal.items() if len(found) > 1} == {}
    assert set().union(*by_crystal.values()) == {"train", "val", "test"}


@pytest.mark.parametrize("by", ["material", "formula", "system"])
def test_sides_do_not_depend_on_the_order_of_the_rows(by: Any) -> None:
    rng = np.random.default_rng(5)
    copies = [another_description(c, rng, strain=0.01) for c in CRYSTALS]
    rows = [Record(f"r{i}", crystal) for i, crystal in enumerate([*CRYSTALS, *copies])]
    shuffled = [rows[i] for i in rng.permutation(len(rows))]
    assert sides(third(by), rows) == sides(third(by), shuffled)


@pytest.mark.parametrize("by", ["material", "formula", "system"])
def test_another_seed_gives_other_sides(by: Any) -> None:
    rows = [Record(f"r{i}", crystal) for i, crystal in enumerate(CRYSTALS)]
    assert sides(third(by, seed=1), rows) != sides(third(by, seed=2), rows)


def test_by_formula_and_by_system_keep_together_what_they_say() -> None:
    rows = [Record(f"r{i}", crystal) for i, crystal in enumerate(real_crystals(80))]
    for by, key_of in (
        ("formula", reduced_formula),
        ("system", lambda c: chemical_system(c.numbers)),
    ):
        found = sides(third(by), rows)
        of_key = defaultdict(set)
        for row in rows:
            of_key[key_of(row.crystal)].add(found[row.id])
        assert all(len(one) == 1 for one in of_key.values())


def test_polymorphs_may_part_by_material_but_not_by_formula() -> None:
    rows = [Record(f"{i}", polymorph(i)) for i in range(3)]
    apart = [len(set(sides(third("material", seed=s), rows).values())) for s in range(20)]
    together = [len(set(sides(third("formula", seed=s), rows).values())) for s in range(20)]
    assert max(apart) > 1
    assert set(together) == {1}


def polymorph(place: int) -> Crystal:
    """Iron on a simple, a body-centred or a face-centred cubic lattice."""
    points = (
        [[0, 0, 0]],
        [[0, 0, 0], [0.5, 0.5, 0.5]],
        [[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]],
    )[place]
    return Crystal(
        (2.4, 2.87, 3.6)[place] * np.eye(3), np.array(points, dtype=float), np.full(len(points), 26)
    )


def test_shares_are_about_those_asked_for() -> None:
    crystals = real_crystals(80, max_sites=20)
    rows = [Record(f"r{i}", crystal) for i, crystal in enumerate(crystals)]
    found = [
        side
        for seed in range(10)
        for side in sides(SplitPlan("formula", 0.2, 0.1, seed), rows).values()
    ]
    # 800 draws: three standard deviations of the larger share are 0.05.
    assert found.count("val") / len(found) == pytest.approx(0.2, abs=0.05)
    assert found.count("test") / len(found) == pytest.approx(0.1, abs=0.05)


def dated(times: list[Any], crystals: list[Crystal] | None = None) -> list[Record]:
    chosen = crystals or CRYSTALS
    return [
        Record(f"r{i}", chosen[i], {} if time is None else {"year": time})
        for i, time in enumerate(times)
    ]


YEARS = {"measured_in": {"year": "year"}}


def test_by_time_trains_on_the_past_and_equal_times_stay_together() -> None:
    times = [2010.0] * 7 + [2015.0] * 2 + [2020.0]
    crystals = list({reduced_formula(c): c for c in CRYSTALS}.values())[:10]
    found = sides(SplitPlan("time", 0.2, 0.1), dated(times, crystals), **YEARS)
    assert list(found.values()) == ["train"] * 7 + ["val"] * 2 + ["test"]


def test_by_time_leaves_out_later_copies_of_earlier_crystals_and_undated_rows() -> None:
    rng = np.random.default_rng(1)
    crystals = list({reduced_formula(c): c for c in CRYSTALS}.values())[:6]
    again = another_description(crystals[0], rng, strain=0.005)
    rows = dated([1.0, 2.0, 3.0, 4.0, 5.0, None, 6.0], [*crystals, again])
    found = sides(SplitPlan("time", 0.2, 0.2), rows, **YEARS)
    assert found["r0"] == "train"
    assert found["r5"] == "undated"
    assert found["r6"] == "shares a material"
    assert "test" not in found.values()


def test_dates_written_as_texts_are_sorted_as_texts() -> None:
    crystals = list({reduced_formula(c): c for c in CRYSTALS}.values())[:4]
    rows = dated(["2001-05-01", "2010-01-01", "1999-12-31", "2020-02-02"], crystals)
    found = sides(SplitPlan("time", 0.0, 0.25), rows, **YEARS)
    assert [name for name, side in found.items() if side == "test"] == ["r3"]


@pytest.mark.parametrize(
    ("plan", "rows", "message"),
    [
        (SplitPlan("formula", 0.6, 0.4), [], "leave something to train on"),
        (SplitPlan("formula", -0.1, 0.4), [], "at least 0"),
        (SplitPlan("time", time_column="when"), [], "no column 'when'"),
        (SplitPlan("time"), dated([None]), "no value in any row"),
        (SplitPlan("time"), dated([1.0, "1999"]), "mixes numbers and texts"),
    ],
)
def test_what_cannot_work_is_said(plan: SplitPlan, rows: list[Record], message: str) -> None:
    with pytest.raises(BadOptions, match=message):
        assigned(plan, rows, **YEARS)


def test_a_written_split_reads_back_and_says_what_it_left_out(tmp_path: Path) -> None:
    two = (LabelSource("ours"), LabelSource("theirs", "PBE"))
    copy = supercell(CRYSTALS[0], np.diag([2, 1, 1]))
    rows = [
        *dated([float(i) for i in range(20)]),
        Record("late", copy, {"year": 50.0, "gap": 1.5}, {"gap": "theirs"}),
        Record("gapped", CRYSTALS[20], {"year": 0.0, "gap": 0.5}, {"gap": "ours"}),
    ]
    listed = Listed(
        rows=(*(("train", row) for row in rows), ("val", Skipped("page 3", "blank"))),
        measured_in={"year": "year", "gap": "eV"},
        sourced={"gap": two},
    )
    folder = tmp_path / "split"
    with LocalExecutor().open() as pool:
        made = write_split(SplitPlan("time"), listed, folder, pool, unheard, made_from={})
        with pytest.raises(BadFile, match="is there already"):
            write_split(SplitPlan("time"), listed, folder, pool, unheard, made_from={})
    read = Imported(path=str(folder))
    back = {r.id: (split, r) for split in read.splits for r in read.records(split)}
    assert read.splits == ("train", "val", "test")
    assert made.counts["train"] == sum(split == "train" for split, _ in back.values())
    assert made.counts["shares a material"] == made.counts["unreadable"] == 1
    assert set(back) == {row.id for row in rows} - {"late"}
    _, gapped = back["gapped"]
    assert (dict(gapped.properties), dict(gapped.sources)) == (
        {"year": 0.0, "gap": 0.5},
        {"gap": "ours"},
    )
    assert read.label_sources["gap"] == two
    np.testing.assert_array_equal(gapped.crystal.frac, CRYSTALS[20].frac)
    problems = [json.loads(line) for line in (folder / "problems.jsonl").read_text().splitlines()]
    assert [(p["id"], p["kind"]) for p in problems] == [
        ("late", "shares a material"),
        ("", "unreadable"),
    ]


def test_a_table_gives_back_its_crystals_and_finds_pairs_across_tiles() -> None:
    crystals = [CRYSTALS[0]] * 40 + [CRYSTALS[1]]
    with MaterialTable() as table, LocalExecutor().open() as pool:
        for crystal in crystals:
            table.keep(crystal)
            table.add(describe(crystal))
        np.testing.assert_array_equal(table.crystal(40).frac, CRYSTALS[1].frac)
        np.testing.assert_array_equal(table.crystal(39).lattice, CRYSTALS[0].lattice)
        np.testing.assert_array_equal(table.crystal(39).numbers, CRYSTALS[0].numbers)
        asked: list[tuple[int, int]] = []

        def wanted(row: int, other: int) -> bool:
            asked.append((row, other))
            return row == 0

        found = sorted(same_structures(table, pool, unheard, wanted=wanted))
    assert found == [(0, other) for other in range(1, 40)]
    assert sorted(asked) == [(i, j) for i in range(40) for j in range(i + 1, 40)]
