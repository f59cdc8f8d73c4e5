"""Entries that are left out are told once and sorted, however often a dataset reads its files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from matgen import Crystal, Record
from matgen.data.checking import SAME_ID, UNREADABLE, Finding, check_data
from matgen.data.contents import contents
from matgen.data.left_out import ToldOnce
from matgen.data.split_folder import write_split
from matgen.data.splitting import SplitPlan
from matgen.data.statistics import gather
from matgen.records import Skipped
from matgen.roles.citing import references
from matgen_datasets.files import Files
from matgen_datasets.jarvis import Jarvis
from matgen_datasets.mixed import Mixed
from matgen_datasets.mp_le20 import MpLe20
from matgen_executors.local import LocalExecutor

GOOD = (
    '2\nLattice="{a} 0 0 0 {a} 0 0 0 {a}" Properties=species:S:1:pos:R:3 id={name} '
    'pbc="T T T"\n{e} 0 0 0\nCl {h} {h} {h}\n'
)
ELEMENTS = ("Na", "K", "Rb", "Cs", "Ag", "Cu", "Li", "Tl", "In", "Au", "Ga", "Fr")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Twelve crystals, one of them twice under one id, and two broken files."""
    rows = [
        GOOD.format(a=4.0 + i / 10, h=2.0 + i / 20, name=f"c{i}", e=e)
        for i, e in enumerate(ELEMENTS)
    ]
    root = tmp_path / "mine"
    root.mkdir()
    (root / "a.extxyz").write_text("".join([*rows, rows[3]]), encoding="utf-8")
    (root / "broken.cif").write_text("data_x\n_cell_length_a ?\n", encoding="utf-8")
    (root / "empty.cif").write_text("", encoding="utf-8")
    return root


def test_bad_entries_of_files_count_once_though_both_splits_read_them(folder: Path) -> None:
    dataset = Files(path=str(folder), val_fraction=0.3)
    expected = {"unreadable": 2, "same id": 1}
    assert contents(dataset, lambda *_: None).left_out == expected
    found: list[Finding] = []
    with LocalExecutor().open() as pool:
        summary = check_data(dataset, pool, lambda *_: None, report=found.append)
        assert gather(dataset, dataset.splits, pool, lambda *_: None).left_out == expected
        out = folder.parent / "split"
        made = write_split(SplitPlan("formula"), dataset, out, pool, lambda *_: None, made_from={})
    assert (summary.counts[UNREADABLE], summary.counts[SAME_ID]) == (2, 1)
    assert [f.ids for f in found if f.kind == SAME_ID] == [("c3",)]
    assert sum(made.counts[kind] for kind in made.counts) == 15
    lines = [json.loads(line) for line in (out / "problems.jsonl").read_text().splitlines()]
    assert sorted((line["kind"], line["id"]) for line in lines) == [
        ("same id", "c3"), ("unreadable", ""), ("unreadable", ""),
    ]  # fmt: skip


def test_one_split_may_tell_of_two_entries_in_the_same_words() -> None:
    heard: list[Skipped] = []
    once = ToldOnce(heard.append)
    for split in (["a", "a", "b"], ["a", "b", "b"], ["c"]):
        skip = once.split()
        for source in split:
            skip(Skipped(source, "no crystal"))
    assert sorted(s.source for s in heard) == ["a", "a", "b", "b", "c"]


def test_a_mixture_is_cited_with_its_parts() -> None:
    mixed = Mixed(parts=(MpLe20(), Jarvis()))
    assert references(mixed) == (*MpLe20.cites, *Jarvis.cites)
    assert len(references(mixed)) > 1


def test_rows_that_another_part_holds_out_are_told_with_the_reason() -> None:
    from tests.unit.data.listed import Listed

    class Other(Listed):
        name = "other"

    def cube(number: int) -> Crystal:
        return Crystal(3.0 * np.eye(3), np.zeros((1, 3)), np.array([number]))

    ours = Listed(rows=(("train", Record("a", cube(29))), ("train", Record("b", cube(47)))))
    mixed = Mixed(parts=(ours, Other(rows=(("val", Record("c", cube(29))),))))
    found = contents(mixed, lambda *_: None)
    assert found.counts == {"train": 1, "val": 1, "test": 0}
    assert found.left_out == {"held out elsewhere": 1}
    assert found.first_left_out["held out elsewhere"] == (
        "listed:a: shares reduced formula and space group with a val row of other"
    )
