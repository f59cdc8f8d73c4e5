from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from matgen.errors import BadFile, NewerFormat
from matgen.found_runs import DamagedRun, find_runs
from matgen.run_comparison import changed_settings, differences, names_of, outcome
from matgen.run_dir import shipped_model
from matgen.stored_run import RunState, StoredRun, read_run
from matgen.training.settings import TrainingSettings
from tests.written_run import LINES, step_line, validation_line, write_run

COUNTERS = {"step": 100, "epoch": 2, "seconds": 50.0, "tokens": 10_000, "skipped_steps": 1}


def test_counts_are_those_of_the_log(tmp_path: Path) -> None:
    run = read_run(write_run(tmp_path / "a"))
    assert (run.step, run.epoch, run.seconds, run.tokens) == (100, 2, 50.0, 10_000.0)
    assert run.best == (4.0, 100)
    assert run.tokens_per_epoch == 5000


def test_a_checkpoint_behind_the_last_logged_step_counts(tmp_path: Path) -> None:
    later = {"step": 104, "epoch": 2, "seconds": 52.0, "tokens": 10_390, "skipped_steps": 3}
    run = read_run(write_run(tmp_path / "a", checkpoint=later))
    assert (run.step, run.seconds, run.tokens, run.n_skipped) == (104, 52.0, 10_390, 3)


def test_the_header_of_the_weights_tells_their_loss_and_size(tmp_path: Path) -> None:
    run = read_run(write_run(tmp_path / "a", best=(3.5, 60)))
    assert run.best == (3.5, 60)
    assert run.weights is not None
    assert run.weights.n_parameters == 12


@pytest.mark.parametrize(
    ("training", "counters", "state"),
    [
        ({"epochs": 2}, {}, RunState.FINISHED),
        ({"epochs": 3}, {}, RunState.CAN_GO_ON),
        ({"epochs": 3, "max_steps": 100}, {}, RunState.FINISHED),
        ({"epochs": 3, "max_steps": 101}, {}, RunState.CAN_GO_ON),
        ({"epochs": 3, "max_minutes": 0.8}, {}, RunState.FINISHED),
        ({"epochs": 3, "max_minutes": 0.9}, {}, RunState.CAN_GO_ON),
        ({"epochs": 3, "early_stopping": 4}, {"without_gain": 4}, RunState.FINISHED),
        ({"epochs": 3, "early_stopping": 4}, {"without_gain": 3}, RunState.CAN_GO_ON),
        ({"epochs": 3, "max_steps": None, "max_minutes": None}, {}, RunState.CAN_GO_ON),
    ],
)
def test_a_run_is_finished_where_a_limit_ends_it(
    tmp_path: Path, training: dict[str, Any], counters: dict[str, Any], state: RunState
) -> None:
    folder = write_run(tmp_path / "a", training=training, checkpoint={**COUNTERS, **counters})
    assert read_run(folder).state is state


def test_a_run_that_saved_nothing_yet_is_told_from_one_copied_for_its_weights(
    tmp_path: Path,
) -> None:
    begun = write_run(tmp_path / "begun", lines=[], best=(5.0, 0))
    copied = write_run(tmp_path / "copied", best=(5.0, 0))
    (copied / "metrics.jsonl").unlink()
    assert read_run(begun).state is RunState.NO_CHECKPOINT
    assert read_run(copied).state is RunState.WEIGHTS_ONLY
    assert read_run(shipped_model()).state is RunState.WEIGHTS_ONLY


def test_a_torn_checkpoint_is_passed_over_and_told(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "a", checkpoint=COUNTERS)
    torn = folder / "checkpoints" / "step-00000120"
    torn.mkdir()
    (torn / "trainer.json").write_text("{")
    run = read_run(folder)
    assert run.checkpoint["step"] == 100
    assert len(run.problems) == 1
    assert str(torn) in run.problems[0]


def test_damaged_weights_are_told_and_the_log_has_the_best_loss(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "a", best=(3.5, 60))
    (folder / "model.safetensors").write_bytes(b"\x00" * 20)
    run = read_run(folder)
    assert run.best == (4.0, 100)
    assert run.problems[0].startswith("model.safetensors is damaged")


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadFile, match="is no run directory"):
        read_run(tmp_path)


def test_a_run_of_a_newer_version_says_to_upgrade(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "a")
    (folder / "run.json").write_text('{"format": 999, "matgen": "9.0"}')
    with pytest.raises(NewerFormat, match=r"written by matgen 9\.0"):
        read_run(folder)


@pytest.mark.parametrize("path", ["model", "training", "model.ordering", "model.conditions",
                                  "data.train", "dataset"])  # fmt: skip
def test_a_run_json_that_lacks_a_part_says_which(tmp_path: Path, path: str) -> None:
    folder = write_run(tmp_path / "a")
    info = json.loads((folder / "run.json").read_text())
    *above, last = path.split(".")
    part = info
    for key in above:
        part = part[key]
    part[last] = None
    (folder / "run.json").write_text(json.dumps(info))
    with pytest.raises(BadFile, match=f"it lacks {path}$"):
        read_run(folder)


def test_runs_are_found_one_level_down_and_the_newest_comes_first(tmp_path: Path) -> None:
    write_run(tmp_path / "old", created="2026-01-01T00:00:00+00:00")
    write_run(tmp_path / "sweep" / "new", created="2026-03-01T00:00:00+00:00")
    # Half past midnight two hours east of Greenwich is before midnight there.
    write_run(tmp_path / "between", created="2026-02-01T00:30:00+02:00")
    write_run(tmp_path / "later", created="2026-02-01T00:00:00+00:00")
    write_run(tmp_path / "too" / "deep" / "down")
    write_run(tmp_path / ".hidden")
    found = [run.folder.name for run in find_runs(tmp_path)]
    assert found == ["new", "later", "between", "old"]


def test_a_run_itself_is_the_only_one_found_in_it(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "a", checkpoint=COUNTERS)
    assert [run.folder for run in find_runs(folder)] == [folder]


def test_damaged_runs_are_found_among_the_sound(tmp_path: Path) -> None:
    write_run(tmp_path / "sound")
    (write_run(tmp_path / "lost") / "run.json").unlink()
    (write_run(tmp_path / "torn") / "run.json").write_text('{"format": 1')
    found = {run.folder.name: run for run in find_runs(tmp_path)}
    assert isinstance(found["sound"], StoredRun)
    for name in ("lost", "torn"):
        damaged = found[name]
        assert isinstance(damaged, DamagedRun)
        assert "run.json" in damaged.problems[0]


def test_only_what_differs_is_a_difference(tmp_path: Path) -> None:
    first = read_run(write_run(tmp_path / "a"))
    training = {"learning_rate": 5e-4, "betas": [0.9, 0.95]}
    second = read_run(write_run(tmp_path / "b", ordering="materium:xyz", training=training))
    assert differences([first, first]) == {}
    assert differences([first, second]) == {
        "ordering": ["materium:high", "materium:xyz"],
        "training.learning_rate": [1e-3, 5e-4],
        "training.betas": [None, [0.9, 0.95]],
    }


def test_a_condition_that_one_lacks_is_one_difference(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "b")
    info = json.loads((folder / "run.json").read_text())
    gap = {"use": "materium:band_gap", "settings": {"softening": 0.1}}
    columns = [{"use": "materium:column", "settings": {"title": t}} for t in ("x", "y")]
    info["model"]["conditions"] += [gap, *columns]
    (folder / "run.json").write_text(json.dumps(info))
    assert differences([read_run(write_run(tmp_path / "a")), read_run(folder)]) == {
        "condition.materium:band_gap": [None, "yes"],
        "condition.materium:column": [None, "yes"],
        "condition.materium:column#2": [None, "yes"],
    }


def test_settings_at_their_defaults_are_not_changed(tmp_path: Path) -> None:
    defaults = TrainingSettings().model_dump(mode="json")
    folder = write_run(tmp_path / "a", training={**defaults, "seed": 7, "of_old": 1})
    assert changed_settings(read_run(folder)) == {
        "training.seed": (7, 0),
        "training.of_old": (1, None),
    }


def test_the_outcome_is_that_of_the_lowest_loss(tmp_path: Path) -> None:
    lines = [
        validation_line(0, 5.0),
        *(step_line(n, loss=3.0, skipped_steps=n // 50) for n in range(10, 101, 10)),
        validation_line(50, 2.0),
        validation_line(70, 1.5),
        validation_line(90, 1.25),
        validation_line(100, 1.75),
    ]
    told = outcome(read_run(write_run(tmp_path / "a", lines=lines)))
    assert (told["best_loss"], told["best_step"]) == (1.25, 90)
    assert (told["given"], told["free"]) == (1.0, 1.5)
    assert (told["kind.element"], told["kind.lattice"]) == (2.25, 0.25)
    assert (told["first_loss"], told["last_loss"]) == (5.0, 1.75)
    assert told["validations_since_best"] == 1
    assert told["fall_in_last_fifth"] == 0.25
    assert told["training_loss"] == 3.0
    assert (told["tokens"], told["seconds"], told["tokens_per_s"]) == (10_000, 50.0, 200.0)
    assert told["skipped_steps"] == 2
    assert told["parameters"] is None


def test_of_a_run_that_has_not_begun_nothing_is_known(tmp_path: Path) -> None:
    told = outcome(read_run(write_run(tmp_path / "a", lines=[])))
    assert set(told.values()) == {None}


def test_no_figure_of_an_outcome_is_nan(tmp_path: Path) -> None:
    lines = [
        validation_line(0, math.nan),
        step_line(10, loss=None, gradient_norm=None, tokens=None),
    ]
    told = outcome(read_run(write_run(tmp_path / "a", lines=lines)))
    assert [key for key, value in told.items() if value is not None and math.isnan(value)] == []


def test_names_are_as_short_as_they_can_be_and_differ(tmp_path: Path) -> None:
    first, second = tmp_path / "a" / "seed0", tmp_path / "b" / "seed0"
    assert names_of([first, tmp_path / "b" / "seed1"]) == ["seed0", "seed1"]
    assert names_of([first, second]) == ["a/seed0", "b/seed0"]


def test_reading_leaves_a_run_as_it_is(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "a", lines=LINES, checkpoint=COUNTERS, best=(4.0, 100))
    before = {path: path.stat().st_mtime_ns for path in sorted(folder.rglob("*"))}
    outcome(read_run(folder))
    assert {path: path.stat().st_mtime_ns for path in sorted(folder.rglob("*"))} == before
