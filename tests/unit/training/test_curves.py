from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from matgen.training.curve_figure import Format, draw_curves
from matgen.training.curve_page import Table, page_of
from matgen.training.curve_series import Shown, smoothed
from matgen.training.curves import Curves, XAxis, read_curves
from tests.written_run import LINES, step_line, validation_line


def written(folder: Path, *lines: object, end: str = "") -> Curves:
    path = folder / "metrics.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines) + end)
    return read_curves(path)


def test_steps_and_validations_are_read_with_their_numbers(tmp_path: Path) -> None:
    curves = written(tmp_path, validation_line(0, 5.0), step_line(10, loss=4.5))
    assert [(line.step, line.loss) for line in curves.validations] == [(0, 5.0)]
    assert curves.validations[0].kinds == {"element": 6.0, "lattice": 4.0}
    [step] = curves.steps
    assert (step.loss, step.tokens, step.seconds, step.memory_mb) == (4.5, 1000, 5.0, 500)


def test_a_run_without_a_log_has_no_lines(tmp_path: Path) -> None:
    assert read_curves(tmp_path / "metrics.jsonl") == Curves((), ())


def test_an_empty_log_has_no_lines(tmp_path: Path) -> None:
    assert written(tmp_path) == Curves((), ())


def test_a_last_line_that_was_cut_is_passed_over(tmp_path: Path) -> None:
    curves = written(tmp_path, step_line(10), end='{"event": "step", "st')
    assert [line.step for line in curves.steps] == [10]
    assert curves.n_unreadable == 0


@pytest.mark.parametrize("damage", ["{", "[1]", "7", '{"event": "step"}', '{"step": "ten"}', "\0"])
def test_other_lines_that_are_none_are_counted(tmp_path: Path, damage: str) -> None:
    curves = written(tmp_path, step_line(10), end=f"{damage}\n{json.dumps(step_line(20))}\n")
    assert [line.step for line in curves.steps] == [10, 20]
    assert curves.n_unreadable == 1


def test_a_line_of_a_newer_version_is_none_of_ours_and_no_damage(tmp_path: Path) -> None:
    curves = written(tmp_path, {"event": "eclipse", "step": 5}, step_line(10, colour="red"))
    assert [line.step for line in curves.steps] == [10]
    assert curves.n_unreadable == 0


def test_what_is_no_number_is_nan(tmp_path: Path) -> None:
    old = {"event": "step", "step": 30}
    curves = written(tmp_path, step_line(10, loss=None), step_line(20, loss=math.nan), old)
    assert [math.isnan(line.loss) for line in curves.steps] == [True, True, True]
    assert math.isnan(curves.steps[2].learning_rate)


def test_of_a_step_that_was_taken_twice_the_second_counts(tmp_path: Path) -> None:
    curves = written(tmp_path, step_line(10), step_line(20, loss=1.0), step_line(20, loss=2.0))
    assert [(line.step, line.loss) for line in curves.steps[1:]] == [(20, 2.0)]


def test_the_best_validation_is_the_lowest_that_is_a_number(tmp_path: Path) -> None:
    curves = written(
        tmp_path,
        validation_line(0, math.nan),
        validation_line(10, 2.0),
        validation_line(20, 1.0),
        validation_line(30, 1.0),
    )
    assert curves.best is not None
    assert curves.best.step == 20


@pytest.mark.parametrize(
    ("step", "tokens"), [(0, 0.0), (5, 500.0), (10, 1000.0), (25, 3000.0), (40, 5000.0)]
)
def test_tokens_between_and_behind_logged_steps_go_with_the_steps(
    tmp_path: Path, step: int, tokens: float
) -> None:
    curves = written(tmp_path, step_line(10, tokens=1000), step_line(20, tokens=2000),
                     step_line(30, tokens=4000), step_line(35, tokens=4500))  # fmt: skip
    assert curves.tokens_at(step) == tokens


def test_before_the_first_logged_step_tokens_are_not_known(tmp_path: Path) -> None:
    assert math.isnan(written(tmp_path, validation_line(7, 5.0)).tokens_at(7))


@pytest.mark.parametrize(
    ("x_axis", "places"),
    [
        (XAxis.STEPS, [10.0, 20.0]),
        (XAxis.TOKENS, [1000.0, 2000.0]),
        (XAxis.MINUTES, [1 / 12, 1 / 6]),
        (XAxis.EPOCHS, [0.2, 0.4]),
    ],
)
def test_lines_stand_where_the_axis_says(
    tmp_path: Path, x_axis: XAxis, places: list[float]
) -> None:
    curves = written(tmp_path, step_line(10), step_line(20))
    assert curves.along(x_axis, curves.steps, tokens_per_epoch=5000) == pytest.approx(places)


def test_smoothing_leaves_a_straight_line_and_what_is_constant_alone() -> None:
    line = np.linspace(3.0, 1.0, 200)
    assert smoothed(np.full(200, 2.5)) == pytest.approx(np.full(200, 2.5))
    # At the ends there are neighbours on one side only.
    assert smoothed(line)[20:-20] == pytest.approx(line[20:-20])


def test_smoothing_bridges_what_is_no_number() -> None:
    values = np.full(50, 2.0)
    values[20] = math.nan
    assert smoothed(values) == pytest.approx(np.full(50, 2.0))
    assert np.isnan(smoothed(np.full(5, math.nan))).all()


def shown(folder: Path, *lines: object, label: str = "first") -> Shown:
    return Shown(label, written(folder, *lines), 5000.0)


@pytest.mark.parametrize(("kind", "magic"), [("png", b"\x89PNG"), ("pdf", b"%PDF")])
def test_the_same_curves_are_the_same_file(tmp_path: Path, kind: Format, magic: bytes) -> None:
    run = shown(tmp_path, *LINES)
    files = [draw_curves([run], x_axis=XAxis.TOKENS, kind=kind) for _ in range(2)]
    assert files[0].startswith(magic)
    assert files[0] == files[1]


def text_of(*runs: Shown, x_axis: XAxis = XAxis.TOKENS) -> str:
    return draw_curves(runs, x_axis=x_axis, kind="svg").decode()


def test_a_figure_names_runs_units_and_kinds_of_token(tmp_path: Path) -> None:
    first = shown(tmp_path, *LINES)
    drawn = text_of(first, Shown("second & third", first.curves, 5000.0))
    for text in ("first", "second &amp; third", "nats/token", "thousand crystal tokens",
                 "validation, element tokens", "validation, lattice tokens", "gradient norm",
                 "learning rate (10⁻³)", "validation, none given"):  # fmt: skip
        assert text in drawn


@pytest.mark.parametrize(
    ("x_axis", "label"),
    [(XAxis.STEPS, "steps"), (XAxis.MINUTES, "minutes of training"), (XAxis.EPOCHS, "epochs")],
)
def test_the_axis_is_named(tmp_path: Path, x_axis: XAxis, label: str) -> None:
    assert f">{label}<" in text_of(shown(tmp_path, *LINES), x_axis=x_axis)


def test_a_model_without_conditions_has_no_panels_for_them(tmp_path: Path) -> None:
    drawn = text_of(shown(tmp_path, validation_line(0, 5.0, given=5.0, free=5.0)))
    assert "none given" not in drawn


@pytest.mark.parametrize(
    "lines",
    [
        [validation_line(0, 5.0)],
        [step_line(10)],
        [step_line(10, loss=None, learning_rate=0.0, gradient_norm=None)],
        [validation_line(0, math.nan, given=math.nan, free=math.nan, kinds={})],
        [validation_line(7, 5.0), validation_line(9, 5.0)],
    ],
    ids=["one look", "one step", "a skipped step", "no number", "no tokens known"],
)
def test_short_and_broken_runs_are_drawn(
    tmp_path: Path, lines: list[object], recwarn: pytest.WarningsRecorder
) -> None:
    assert "loss (nats/token)" in text_of(shown(tmp_path, *lines))
    assert [str(warning.message) for warning in recwarn] == []


def test_twenty_runs_each_have_a_look_of_their_own(tmp_path: Path) -> None:
    curves = written(tmp_path, *LINES)
    drawn = text_of(*(Shown(f"run {n}", curves, 5000.0) for n in range(20)))
    assert all(f"run {n}<" in drawn for n in range(20))


def test_a_page_holds_the_figure_and_loads_nothing(tmp_path: Path) -> None:
    svg = draw_curves([shown(tmp_path, *LINES)], x_axis=XAxis.STEPS, kind="svg")
    page = page_of("a < b", svg, [Table("t", ("x",), [("1 & 2",)]), Table("empty", ("y",), [])])
    assert "<svg" in page
    assert "1 &amp; 2" in page
    assert "a &lt; b" in page
    assert "empty" not in page
    assert not [word for word in ("<?xml", "<script", "<link", "src=", "@import") if word in page]
