"""Evaluations are compared with intervals, and never called better where they mean other things."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from matgen.errors import BadFile, BadOptions
from matgen.evaluation import comparison_files, report_files
from matgen.evaluation.comparison import compare
from matgen.evaluation.differences import better, of_figures, of_samples
from matgen.evaluation.intervals import wilson
from matgen.evaluation.report import Report
from matgen.records import Crystal, Measurement, Sample
from tests.unit.evaluation.browser import chromium, opened

CELL = Crystal(np.eye(3) * 4.1, np.array([[0.0, 0, 0], [0.5, 0.5, 0.5]]), np.array([55, 17]))


def _write(folder: Path, share: float, energy: float, *, asked: int = 400, hull: str = "a") -> Path:
    rng = np.random.default_rng(1)
    stable: list[float | str | bool | None] = [i < share * asked for i in range(asked)]
    energies: list[float | str | bool | None] = list(rng.normal(energy, 0.1, asked).tolist())
    measurement = Measurement(
        asked=asked,
        per_sample={"stable": stable, "energy_above_hull": energies},
        summary={
            "stable": share,
            "energy_above_hull_mean": float(np.mean(energies)),  # type: ignore[arg-type]  # numbers
            "seconds_mean": 1.0,
        },
        units={"energy_above_hull_mean": "eV/atom", "seconds_mean": "s"},
        intervals={"seconds_mean": (0.9, 1.1)},
    )
    settings: dict[str, object] = {
        "protocol": {"name": "toy", "label": "toy/still"},
        "evaluators": [{"use": "metrics:stability", "settings": {"threshold": 0.1}}],
        "relaxer": {"use": "toy:still", "settings": {}},
        "hull": {"use": f"toy:{hull}", "settings": {}},
        "reference": None,
        "geometry_compared": "relaxed",
        "matcher": {"length": 0.2},
        "rmsd_matcher": {"length": 0.5},
        "symprec_ang": 0.01,
        "versions": {"matgen": "1"},
    }
    report = Report([Sample(0, CELL)], asked, {"stability": measurement}, None, settings)
    report_files.write(report, folder)
    return folder


def test_newcombes_interval_is_that_of_his_paper() -> None:
    # Newcombe 1998, table II, example (a), method 10: 56/70 - 48/80.
    low, high = of_figures(48 / 80, wilson(48, 80), 56 / 70, wilson(56, 70))
    assert low == pytest.approx(0.0524, abs=5e-5)
    assert high == pytest.approx(0.3339, abs=5e-5)


def test_the_bootstrap_of_a_difference_has_the_width_of_theory() -> None:
    rng = np.random.default_rng(7)
    first, second = rng.normal(0.0, 1.0, 400), rng.normal(1.0, 2.0, 900)
    found = of_samples(first.tolist(), second.tolist(), "mean")
    assert found is not None
    half = 1.96 * math.sqrt(first.var() / 400 + second.var() / 900)
    assert (found[1] - found[0]) / 2 == pytest.approx(half, rel=0.1)
    assert found[0] < second.mean() - first.mean() < found[1]
    assert of_samples([1.0], [1.0, 2.0], "mean") is None


@pytest.mark.parametrize(
    ("figure", "way"),
    [
        ("sun", "higher"), ("valid_composition", "higher"), ("metre", "higher"),
        ("metre_rmse", "lower"), ("energy_above_hull_median", "lower"), ("rmsd_mean", "lower"),
        ("density_error_mean", "lower"), ("space_group_reached_0.01", "higher"),
        ("seconds_mean", None), ("stability", None),
    ],
)  # fmt: skip
def test_which_way_a_figure_is_better(figure: str, way: str | None) -> None:
    assert better(figure) == way


def test_a_clear_difference_is_significant_and_a_small_one_is_not(tmp_path: Path) -> None:
    folders = [_write(tmp_path / n, *v) for n, v in
               {"a": (0.40, 0.30), "b": (0.60, 0.20), "c": (0.41, 0.302)}.items()]  # fmt: skip
    found = compare(folders)
    assert [run.name for run in found.runs] == ["a", "b", "c"]
    rows = {row.figure: row for row in found.rows}
    stable = rows["stable"]
    assert [value.significant for value in stable.values if value] == [False, True, False]
    assert stable.best == 1
    assert rows["energy_above_hull_mean"].best == 1
    assert rows["seconds_mean"].best is None
    assert not found.differing
    table = comparison_files.markdown(found)
    assert "0.6 [0.5513, 0.6468]; +0.2 * **best**" in table


def test_two_that_are_equally_good_have_no_best(tmp_path: Path) -> None:
    folders = [_write(tmp_path / n, *v) for n, v in
               {"a": (0.40, 0.30), "b": (0.60, 0.20), "c": (0.61, 0.20)}.items()]  # fmt: skip
    assert next(row for row in compare(folders).rows if row.figure == "stable").best is None


def test_runs_against_other_hulls_are_told_and_none_is_best_unless_allowed(tmp_path: Path) -> None:
    folders = [_write(tmp_path / "a", 0.4, 0.3), _write(tmp_path / "b", 0.6, 0.2, hull="b")]
    found = compare(folders)
    assert any("hull differs: a: toy:a; b: toy:b" in warning for warning in found.warnings)
    assert any("No run is called best" in warning for warning in found.warnings)
    assert all(row.best is None for row in found.rows)
    assert next(row for row in compare(folders, allow_different=True).rows).best == 1


def test_folders_of_one_name_are_told_apart(tmp_path: Path) -> None:
    folders = [_write(tmp_path / n / "evaluation", 0.4, 0.3) for n in ("a", "b")]
    assert [run.name for run in compare(folders).runs] == ["a/evaluation", "b/evaluation"]


def test_what_is_no_evaluation_is_refused(tmp_path: Path) -> None:
    whole = _write(tmp_path / "a", 0.4, 0.3)
    with pytest.raises(BadOptions, match="two evaluations or more"):
        compare([whole])
    with pytest.raises(BadOptions, match="twice"):
        compare([whole, tmp_path / "." / "a"])
    with pytest.raises(BadFile, match=r"report\.json"):
        compare([whole, tmp_path])
    torn = _write(tmp_path / "b", 0.4, 0.3)
    (torn / "samples.parquet").write_bytes(b"PAR1")
    with pytest.raises(BadFile, match=r"samples\.parquet"):
        compare([whole, torn])
    (torn / "report.json").write_text(json.dumps({"format": 1}))
    with pytest.raises(BadFile, match="evaluate again"):
        compare([whole, torn])


@pytest.mark.slow
def test_the_page_is_drawn_without_a_complaint_or_a_request(tmp_path: Path) -> None:
    found = compare([_write(tmp_path / "a", 0.4, 0.3), _write(tmp_path / "b", 0.6, 0.2)])
    comparison_files.write(found, tmp_path / "out")
    with chromium() as browser:
        look = opened(browser, tmp_path / "out" / "comparison.html", width=390)
        assert look.rows("figure-table") == len(found.rows)
        assert look.page.locator("#figure-table .best").count() == 2
        look.page.locator("#chart-energy_above_hull").scroll_into_view_if_needed()
        look.page.wait_for_selector("#chart-energy_above_hull[data-drawn] .main-svg")
        assert look.page.evaluate("document.documentElement.scrollWidth") <= 390
        assert look.complaints == []
        assert [url for url in look.requests if not url.startswith("file:")] == []
