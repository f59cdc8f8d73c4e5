"""A shortlist: each crystal once, in order, with neighbours, products and vibrations."""

from __future__ import annotations

import importlib.util
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from matgen import Crystal, Record, Sample
from matgen.errors import BadFile, BadOptions
from matgen.io.writing import write_samples
from matgen.shortlist.candidates import Candidate, read_evaluated
from matgen.shortlist.files import write_shortlist
from matgen.shortlist.known import KnownMaterials
from matgen.shortlist.phonons import VibrationCheck, Vibrations
from matgen.shortlist.ranking import Entry, ranked
from matgen.shortlist.vibration_log import VibrationLog
from matgen_relaxers.chgnet import Chgnet
from matgen_toy.spheres import Spheres

HAS_CHGNET = importlib.util.find_spec("chgnet") is not None


def cube(a: float, *numbers: int) -> Crystal:
    frac = np.arange(len(numbers))[:, None] / 2 * np.ones(3)
    return Crystal(a * np.eye(3), frac, np.array(numbers))


def evaluation(folder: Path, rows: list[dict[str, Any]]) -> Path:
    """Write what ``matgen evaluate`` would have."""
    folder.mkdir()
    usual = {
        "valid_structure": True, "converged": True, "novel": True, "repeats": None,
        "known_as": None, "status": "ok",
    }  # fmt: skip
    full = [{"index": index, **usual, **row} for index, row in enumerate(rows)]
    pq.write_table(pa.Table.from_pylist(full), folder / "samples.parquet")
    report = {
        "measurements": {},
        "settings": {},
        "asked": len(rows),
        "statuses": {},
        "warnings": [],
    }
    (folder / "report.json").write_text(json.dumps(report))
    samples = [Sample(index, cube(4.0 + index, 11, 17)) for index in range(len(rows))]
    write_samples(folder / "relaxed.extxyz", samples, asked=len(rows))
    return folder


ROWS: list[dict[str, Any]] = [
    {"energy_above_hull": 0.08},
    {"energy_above_hull": 0.01, "repeats": 0},
    {"energy_above_hull": 0.30},
    {"energy_above_hull": None},
    {"energy_above_hull": 0.02, "novel": False, "known_as": "mp-1"},
    {"energy_above_hull": 0.03, "valid_structure": False},
    {"energy_above_hull": -0.01, "converged": False},
    {"energy_above_hull": 0.05, "repeats": 1},
]


def test_each_crystal_comes_once_with_its_lowest_energy(tmp_path: Path) -> None:
    found = read_evaluated(evaluation(tmp_path / "e", ROWS), threshold=0.1, novel_only=True)
    assert [(c.index, c.above_hull, c.merged) for c in found.candidates] == [
        (6, -0.01, ()),
        (1, 0.01, (7, 0)),
    ]
    assert found.candidates[1].crystal.lattice[0, 0] == pytest.approx(5.0)
    assert found.counts == {
        "candidates": 2,
        "known": 1,
        "no valid structure": 1,
        "more than 0.1 eV/atom above the hull": 1,
        "not relaxed, or outside the hull": 1,
        "the same as a lower one": 2,
    }
    assert sum(found.counts.values()) == len(ROWS)


def test_known_ones_are_kept_when_asked_for(tmp_path: Path) -> None:
    found = read_evaluated(evaluation(tmp_path / "e", ROWS), threshold=0.1, novel_only=False)
    assert {c.index: c.known_as for c in found.candidates} == {6: "", 1: "", 4: "mp-1"}


def test_what_is_no_evaluation_says_what_to_do(tmp_path: Path) -> None:
    crystals = tmp_path / "crystals.extxyz"
    crystals.write_text("")
    with pytest.raises(BadFile, match=r"matgen evaluate .*crystals.extxyz --relax chgnet"):
        read_evaluated(crystals, threshold=0.1, novel_only=True)
    bare = evaluation(tmp_path / "bare", [{}])
    with pytest.raises(BadOptions, match="without a potential and a hull"):
        read_evaluated(bare, threshold=0.1, novel_only=True)


def entry(index: int, first: float, second: float | None, status: str = "ok") -> Entry:
    candidate = Candidate(index, cube(4.0, 11, 17), first, converged=True, known_as="", merged=())
    return Entry(candidate, second_above_hull=second, second_status=status)


def test_the_order_is_that_of_the_worse_opinion_and_unknown_comes_last() -> None:
    entries = [
        entry(0, 0.00, 0.09),
        entry(1, 0.05, 0.04),
        entry(2, -0.2, None, "not relaxed: burst"),
    ]
    order = ranked(entries)
    assert [e.candidate.index for e in order] == [1, 0, 2]
    assert order[1].disagreement == pytest.approx(0.09)
    assert order[2].status == "second potential: not relaxed: burst"
    alone = [replace(e, second_above_hull=None, second_status="") for e in entries]
    assert [e.candidate.index for e in ranked(alone)] == [2, 0, 1]


def test_a_crystal_far_below_the_hull_is_no_discovery_but_a_doubt() -> None:
    assert entry(0, -3.1, -3.0).status == "far below the hull, which may lack a known phase"
    assert entry(0, -0.05, -0.3).status == "ok"


def test_a_structure_that_maps_is_nearer_than_any_that_does_not() -> None:
    salt, caesium = cube(4.1, 55, 17), cube(4.1, 11, 17)
    stretched = Crystal(np.diag([4.1, 4.1, 7.0]), salt.frac, salt.numbers)
    known = KnownMaterials([Record("far", stretched), Record("same", salt), Record("na", caesium)])
    near = known.nearest(cube(4.15, 17, 55))
    assert near is not None
    assert (near.id, near.formula, near.relation) == ("same", "CsCl", "structure")
    assert near.distance < 0.1
    other = known.nearest(cube(9.0, 55, 17))
    assert other is not None
    assert (other.id, other.relation) == ("far", "formula")
    mixed = known.nearest(cube(4.0, 11, 9))
    assert mixed is not None
    assert (mixed.id, mixed.relation, mixed.distance) == ("na", "composition", 0.5)
    assert KnownMaterials([]).nearest(salt) is None


def test_files_are_in_the_order_of_the_list(tmp_path: Path) -> None:
    entries = [entry(7, 0.0, None, ""), entry(3, 0.1, None, "")]
    for _ in range(2):
        write_shortlist(tmp_path, entries, about={"format": 1}, imaginary_thz=0.3, symprec=0.01)
    told = json.loads((tmp_path / "shortlist.json").read_text())
    assert [row["index"] for row in told["crystals"]] == [7, 3]
    assert sorted(path.name for path in (tmp_path / "cifs").iterdir()) == [
        "001-NaCl.cif",
        "002-NaCl.cif",
    ]
    assert "Pm-3m" in (tmp_path / "cifs" / "001-NaCl.cif").read_text()
    assert len((tmp_path / "shortlist.csv").read_text().splitlines()) == 3


def test_verdicts() -> None:
    assert Vibrations(-0.2, -0.2).verdict(0.3) == "stable"
    assert Vibrations(-0.4).verdict(0.3) == "unstable at Γ"
    assert Vibrations(0.0, -0.4).verdict(0.3) == "unstable"
    assert Vibrations(error="it burst").verdict(0.3) == "failed: it burst"


def test_vibrations_that_are_done_are_found_again(tmp_path: Path) -> None:
    log, salt = VibrationLog(tmp_path, Spheres()), cube(4.0, 11, 17)
    assert log.get(salt) is None
    log.put(salt, Vibrations(0.0, 1.0, 9.0, 2, 4))
    assert log.get(salt) == Vibrations(0.0, 1.0, 9.0, 2, 4)
    assert VibrationLog(tmp_path, Spheres(max_steps=7)).get(salt) is None
    [path] = tmp_path.iterdir()
    path.write_text('{"lowest')
    assert log.get(salt) is None


def test_a_potential_without_forces_is_refused() -> None:
    with pytest.raises(BadOptions, match="gives no forces"):
        Spheres().forces("cpu")


@pytest.mark.slow
@pytest.mark.skipif(not HAS_CHGNET, reason="chgnet is not installed")
def test_silicon_vibrates_and_cubic_barium_titanate_falls_apart() -> None:
    check = VibrationCheck(Chgnet(), "cpu")
    lattice = 2.73 * np.array([[0.0, 1.0, 1.0], [1.0, 0.0, 1.0], [1.0, 1.0, 0.0]])
    frac = np.array([[0.0, 0.0, 0.0], [0.25, 0.25, 0.25]])
    silicon = check.vibrations(
        Crystal(lattice, frac, np.array([14, 14])), imaginary_thz=0.3, progress=lambda _: None
    )
    assert silicon.verdict(0.3) == "stable"
    assert silicon.lowest_at_gamma_thz == pytest.approx(0.0, abs=0.05)
    # Raman: 15.5 THz; CHGNet is known to be too soft.
    assert silicon.highest_thz is not None
    assert 11.0 < silicon.highest_thz < 17.0
    half = 0.5
    sites = [[0, 0, 0], [half, half, half], [half, half, 0], [half, 0, half], [0, half, half]]
    perovskite = Crystal(4.0 * np.eye(3), np.array(sites, float), np.array([56, 22, 8, 8, 8]))
    titanate = check.vibrations(perovskite, imaginary_thz=0.3, progress=lambda _: None)
    # Its ferroelectric mode.
    assert titanate.verdict(0.3) == "unstable at Γ"
