"""``matgen runs``: what people see of their runs, also of damaged ones."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from matgen.commands import app
from tests.cli.conftest import Cli
from tests.written_run import write_run

COUNTERS = {"step": 100, "epoch": 2, "seconds": 50.0, "tokens": 10_000}


def runs(*arguments: object) -> Result:
    """Run ``matgen runs`` in this process."""
    return CliRunner().invoke(app, ["runs", *map(str, arguments)])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two sound runs, one level apart, and a damaged one."""
    write_run(tmp_path / "first", checkpoint=COUNTERS, best=(4.0, 100))
    write_run(
        tmp_path / "sweep" / "second",
        training={"learning_rate": 5e-4},
        ordering="materium:xyz",
        created="2026-04-01T12:00:00+00:00",
    )
    (write_run(tmp_path / "damaged") / "run.json").write_text("{")
    return tmp_path


def test_list_has_a_row_for_each_run_and_says_what_is_damaged(folder: Path) -> None:
    done = runs("list", folder)
    assert done.exit_code == 0, done.output
    told = " ".join(done.stdout.split())
    for text in ("finished", "no checkpoint yet", "damaged", "4.0000 at 100", "100 (2)", "0:00:50",
                 "textbook, high", "textbook, xyz", "llama 2 × 32"):  # fmt: skip
        assert text in told
    assert "run.json" in done.stderr


def test_list_json_has_the_newest_first_and_numbers_as_numbers(folder: Path) -> None:
    told = json.loads(runs("list", folder, "--json").stdout)
    assert [Path(run["path"]).name for run in told][-2:] == ["second", "first"]
    first = told[-1]
    assert first["state"] == "finished"
    assert (first["steps"], first["epochs"], first["seconds"]) == (100, 2, 50.0)
    assert (first["best_loss"], first["best_step"], first["parameters"]) == (4.0, 100, 12)
    assert (first["dataset"], first["ordering"]) == ("toy:textbook", "materium:high")
    assert first["backbone"] == {"use": "materium:llama", "settings": {"layers": 2, "width": 32}}
    [damaged] = [run for run in told if run["state"] == "damaged"]
    assert "cannot read" in damaged["problems"][0]


def test_a_folder_without_runs_is_no_error_and_one_line(tmp_path: Path) -> None:
    done = runs("list", tmp_path)
    assert done.exit_code == 0
    assert done.stdout == ""
    assert done.stderr.startswith(f"no runs in {tmp_path}; matgen train")
    assert json.loads(runs("list", tmp_path, "--json").stdout) == []


def test_a_folder_that_is_not_there_is_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    done = runs("list", tmp_path / "nowhere")
    assert done.exit_code == 2
    assert "name the one that holds your runs" in " ".join(done.stderr.split())


def test_show_tells_model_conditions_changed_settings_data_and_outcome(folder: Path) -> None:
    done = runs("show", folder / "first")
    assert done.exit_code == 0, done.output
    told = " ".join(re.sub(r"[│┃]", " ", done.stdout).split())
    for text in ("finished", "with matgen 0.1.0", "layers 2, width 32", "density 90.0 % 1.5 20",
                 "learning_rate 0.001 0.0004", "train 100 5,100 0 train",
                 "lowest validation loss (nats/token) 4.0000", "on element tokens 5.0000",
                 "crystal tokens 10,000", "torch 2.13.0"):  # fmt: skip
        assert text in told


def test_show_json_holds_everything(folder: Path) -> None:
    told = json.loads(runs("show", folder / "first", "--json").stdout)
    assert told["changed_settings"]["training.epochs"] == {"value": 2, "default": 50}
    assert told["last_step"]["step"] == told["last_validation"]["step"] == 100
    assert told["outcome"]["kind.lattice"] == 3.0
    assert told["model"]["conditions"][0]["use"] == "materium:density"
    assert told["versions"]["torch"] == "2.13.0"


def test_a_run_without_numbers_is_valid_json(tmp_path: Path) -> None:
    lines = [{"event": "step", "step": 3, "loss": None}]
    text = runs("show", write_run(tmp_path / "a", lines=lines), "--json").stdout
    assert "NaN" not in text
    assert json.loads(text)["last_step"]["loss"] is None


def test_compare_shows_only_what_differs_and_how_each_ended(folder: Path) -> None:
    done = runs("compare", folder / "first", folder / "sweep" / "second")
    assert done.exit_code == 0, done.output
    told = " ".join(re.sub(r"[│┃]", " ", done.stdout).split())
    assert "ordering materium:high materium:xyz" in told
    assert "training.learning_rate 0.001 0.0005" in told
    assert "training.epochs" not in told
    assert "with conditions given 3.7500 3.7500" in told
    assert "parameters 12 –" in told


def test_compare_json_names_runs_as_shortly_as_they_differ(folder: Path) -> None:
    told = json.loads(runs("compare", folder / "first", folder / "sweep/second", "--json").stdout)
    assert told["runs"] == {
        "first": str(folder / "first"), "second": str(folder / "sweep" / "second"),
    }  # fmt: skip
    assert told["differences"]["ordering"] == ["materium:high", "materium:xyz"]
    assert told["outcomes"]["second"]["best_loss"] == 4.0


def test_runs_that_are_alike_are_said_to_be(tmp_path: Path) -> None:
    done = runs("compare", write_run(tmp_path / "a"), write_run(tmp_path / "b"))
    assert done.exit_code == 0
    assert "are the same" in done.stderr


def test_comparing_a_run_with_itself_is_refused(folder: Path) -> None:
    done = runs("compare", folder / "first", folder / "sweep" / ".." / "first")
    assert done.exit_code == 2
    assert "takes two runs or more" in done.stderr


@pytest.mark.parametrize("command", ["show", "compare", "plot"])
def test_a_damaged_run_is_one_line_where_it_is_asked_for(folder: Path, command: str) -> None:
    done = runs(command, folder / "damaged")
    assert done.exit_code == 2
    assert "cannot read" in done.stderr
    assert "Traceback" not in done.output


def test_plot_writes_a_picture_and_prints_its_path(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "figures" / "curves.png"
    done = runs("plot", folder / "first", folder / "first", "--out", out)
    assert done.exit_code == 0, done.output
    assert done.stdout == f"{out}\n"
    assert out.read_bytes().startswith(b"\x89PNG")


def test_the_same_run_twice_is_drawn_once(folder: Path, tmp_path: Path) -> None:
    once, twice = tmp_path / "once.svg", tmp_path / "twice.svg"
    runs("plot", folder / "first", "--out", once)
    runs("plot", folder / "first", folder / "first", "--out", twice)
    assert once.read_bytes() == twice.read_bytes()


def test_the_legend_says_what_differs(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "curves.svg"
    runs("plot", folder / "first", folder / "sweep/second", "--x", "epochs", "--out", out)
    drawn = out.read_text()
    assert "first: ordering high, learning rate 0.001" in drawn
    assert "second: ordering xyz, learning rate 0.0005" in drawn


def test_an_html_page_stands_alone_and_has_the_comparison(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "curves.html"
    done = runs("plot", folder / "first", folder / "sweep/second", "--out", out)
    assert done.exit_code == 0, done.output
    page = out.read_text()
    for text in ("<svg", "training.learning_rate", "lowest validation loss"):
        assert text in page
    assert re.findall(r"(?:src|href)=\"(?!#)", page) == []


def test_a_run_that_logged_nothing_is_left_out_of_a_figure(folder: Path, tmp_path: Path) -> None:
    empty, out = write_run(tmp_path / "empty", lines=[]), tmp_path / "curves.svg"
    done = runs("plot", folder / "first", empty, "--out", out)
    assert done.exit_code == 0
    assert f"{empty}: left out" in done.stderr
    alone = runs("plot", empty, "--out", tmp_path / "none.svg")
    assert alone.exit_code == 2
    assert "nothing is logged" in alone.stderr
    assert not (tmp_path / "none.svg").exists()


def test_another_kind_of_file_is_refused_and_the_known_ones_named(folder: Path) -> None:
    done = runs("plot", folder / "first", "--out", folder / "curves.docx")
    assert done.exit_code == 2
    assert ".png, .svg, .pdf and .html" in " ".join(done.stderr.split())


def test_a_run_that_training_made_is_shown_whole(cli: Cli, run_folder: Path) -> None:
    [listed] = json.loads(cli("runs", "list", run_folder.parent, "--json").stdout)
    assert listed["state"] == "finished"
    assert listed["steps"] == 30
    assert listed["problems"] == []
    shown = json.loads(cli("runs", "show", run_folder, "--json").stdout)
    assert shown["outcome"]["parameters"] > 100_000
    assert shown["changed_settings"]["training.max_steps"] == {"value": 30, "default": None}
    assert [kind for kind in shown["outcome"] if kind.startswith("kind.")]


@pytest.mark.parametrize("command", [["list"], ["show"], ["plot", "--out"]])
def test_looking_at_runs_imports_neither_torch_nor_a_plugin(
    folder: Path, command: list[str]
) -> None:
    first = folder / "first"
    words = ["runs", command[0], str(first), *command[1:]]
    code = f"""
import sys
from matgen.commands import app
try:
    app({[*words, *([str(folder / "x.svg")] if "--out" in words else [])]!r})
except SystemExit as end:
    assert not end.code, end.code
print([n for n in ("torch", "pymatgen", "matgen_materium", "plotly") if n in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "[]"
