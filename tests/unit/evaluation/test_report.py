"""A report gives every sample one status, warns of what looks like a mistake, names its setup."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from matgen.evaluation import report_files
from matgen.evaluation.published import beside, published
from matgen.evaluation.report import Report
from matgen.evaluation.statuses import counted, kind_of
from matgen.records import Crystal, Measurement, Relaxation, Sample

SALT = Crystal(np.eye(3) * 4.1, np.array([[0.0, 0, 0], [0.5, 0.5, 0.5]]), np.array([55, 17]))
SETTINGS: dict[str, object] = {
    "protocol": {"name": "toy", "label": "toy/still"},
    "relaxer": {"use": "toy:still", "settings": {"max_steps": 3}},
    "hull": None,
    "reference": {"description": "one | two", "crystals": 2},
    "geometry_compared": "relaxed",
    "matcher": {"length": 0.2},
    "rmsd_matcher": {"length": 0.5},
    "symprec_ang": 0.01,
    "versions": {"matgen": "1", "chgnet": ""},
}


def _report(
    samples: list[Sample],
    measurements: dict[str, Measurement],
    relaxations: list[Relaxation] | None = None,
    asked: int | None = None,
) -> Report:
    return Report(samples, asked or len(samples), measurements, relaxations, SETTINGS)


def _flags(**columns: list[bool | str | None]) -> dict[str, Measurement]:
    asked = len(next(iter(columns.values())))
    return {"all": Measurement(asked=asked, per_sample={k: list(v) for k, v in columns.items()})}


def test_each_sample_has_the_first_status_that_holds() -> None:
    samples = [Sample(i, SALT) for i in range(6)]
    samples[1] = Sample(1, None, error="unfinished")
    relaxations = [
        Relaxation(SALT, -1.0, converged=True),
        Relaxation(None, error="unfinished"),
        Relaxation(None, error="two sites came within 0.2 Å"),
        Relaxation(None, error="two sites came within 0.21 Å of each other"),
        Relaxation(SALT, -1.0, converged=True),
        Relaxation(SALT, -1.0, converged=False),
    ]
    found = _report(
        samples,
        _flags(
            valid_structure=[True, None, False, True, True, True, None],
            hull_error=[None, None, None, None, "no energy of Pm", None, None],
        ),
        relaxations,
        asked=7,
    )
    assert found.statuses == [
        "ok",
        "no crystal",
        "invalid structure",
        "not relaxed: two sites came within … Å of each other",
        "outside hull",
        "not converged",
        "not sampled",
    ]
    assert sum(counted(found.statuses).values()) == 7


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ("the volume became 4.2 times the original; stopped outside 0.33 to 3",
         "the volume became … times the original"),
        ("ValueError: cannot broadcast (3,) to (4,)", "ValueError"),
        ("energy or forces are not finite", "energy or forces are not finite"),
        ("-1e-05 eV", "… eV"),
        ("", "no reason given"),
        ("word " * 30, ("word " * 30)[:59].rstrip() + "…"),
    ],
)  # fmt: skip
def test_errors_that_differ_in_their_numbers_are_of_one_kind(error: str, kind: str) -> None:
    assert kind_of(error) == kind


def test_a_report_without_relaxation_calls_a_valid_crystal_ok() -> None:
    assert _report([Sample(0, SALT)], {}).statuses == ["ok"]


@pytest.mark.parametrize(
    ("columns", "told"),
    [
        ({"valid_structure": [False, False, False]}, "Not one of the 3 crystals is a valid"),
        ({"relaxed": [False, False, None]}, "Not one of the 3 crystals was relaxed"),
        ({"novel": [False, False, False], "unique": [True, True, False]}, "reference itself"),
        ({"novel": [False, False, False], "unique": [True, True, True]}, "All 3 samples that"),
        ({"novel": [False, False, None], "stable": [True, True, None]}, "Everything is stable"),
    ],
)
def test_what_looks_like_a_mistake_is_told(
    columns: dict[str, list[bool | None]], told: str
) -> None:
    samples = [Sample(i, SALT) for i in range(3)]
    relaxed = [Relaxation(SALT, -1.0, converged=True)] * 3
    report = _report(samples, _flags(**columns), relaxed)  # type: ignore[arg-type]  # all flags
    assert any(told in warning for warning in report.warnings)
    assert "**Warning:**" in report_files.markdown(report)
    assert report.to_json()["warnings"] == report.warnings


def test_no_crystal_at_all_is_told_and_nothing_else() -> None:
    report = _report([Sample(0, None, error="unfinished")], _flags(novel=[None]), asked=2)
    assert report.warnings == [
        "None of the 2 samples is a crystal; every rate is 0 and says nothing else."
    ]


def test_ordinary_results_are_told_no_warning() -> None:
    samples = [Sample(i, SALT) for i in range(3)]
    columns = {"valid_structure": [True, False, True], "novel": [True, False, None]}
    assert _report(samples, _flags(**columns)).warnings == []  # type: ignore[arg-type]


def test_space_groups_are_found_and_a_broken_cell_has_none(tmp_path: Path) -> None:
    flat = Crystal(np.diag([4.0, 4.0, 0.0]), np.zeros((1, 3)), np.array([11]))
    stacked = Crystal(np.eye(3) * 4, np.zeros((2, 3)), np.array([11, 11]))
    report = _report(
        [Sample(0, SALT), Sample(1, flat), Sample(2, stacked), Sample(3, None, error="x")],
        {},
        [Relaxation(SALT, -1.0), *[Relaxation(None, error="no")] * 3],
    )
    report_files.write(report, tmp_path)
    table = pq.read_table(tmp_path / "samples.parquet").to_pydict()
    assert table["space_group_sampled"] == [221, None, None, None]
    assert table["space_group_relaxed"] == [221, None, None, None]
    assert table["status"] == report.statuses


def test_the_markdown_names_the_setup_and_keeps_its_columns() -> None:
    text = report_files.markdown(_report([Sample(0, SALT)], {}))
    assert "1 samples evaluated under toy/still" in text
    assert "| reference | one \\| two, 2 crystals |" in text
    assert "| potential | toy:still (max_steps=3) |" in text
    assert "chgnet" not in text


def test_published_figures_stand_beside_their_own_label_only() -> None:
    assert {row.model for row in beside("mattergen")} >= {"MatterGen", "DiffCSP (MP-20)"}
    assert beside("mattergen/chgnet+hull_mp2020+ref_mp_le20") == []
    assert beside("") == []
    for row in published():
        assert row.source
        assert row.figures
