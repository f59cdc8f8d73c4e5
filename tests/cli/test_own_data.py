"""A user's own file with a numeric column, all the way to samples asked by that column."""

import json
from pathlib import Path

import pytest

from matgen.io.writing import write_samples
from matgen.records import Sample
from tests.cli.conftest import Cli

pytestmark = pytest.mark.slow


@pytest.fixture
def own_file(tmp_path: Path) -> Path:
    """The textbook crystals with a made-up column, as extended XYZ."""
    from matgen_toy.textbook import Textbook

    records = [*Textbook().records("train"), *Textbook().records("val")]
    path = tmp_path / "mine.extxyz"
    samples = [Sample(i, record.crystal) for i, record in enumerate(records)]
    write_samples(path, samples, asked=len(samples))
    lines = path.read_text().splitlines(keepends=True)
    for number, line in enumerate(lines):
        lines[number] = line.replace("asked=", f"dielectric={number % 7}.5 asked=")
    path.write_text("".join(lines))
    return path


def test_a_column_of_ones_own_data_becomes_a_condition(
    cli: Cli, own_file: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    done = cli(
        "train", "--dataset", own_file, "--preset", "tiny", "--cond", "density",
        "--cond-column", "dielectric:1", "--set", "dataset.val_fraction=0.3",
        "--max-steps", 3, "--out", run,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    saved = json.loads((run / "run.json").read_text())["model"]["conditions"][1]
    assert saved["settings"]["title"] == "dielectric"
    assert saved["settings"]["scale"] != 1.0
    out = tmp_path / "asked.jsonl"
    done = cli("sample", "--model", run, "--cond", "dielectric=2.5", "-n", 2, "--out", out)
    assert done.returncode == 0, done.stderr
    assert json.loads(out.read_text().splitlines()[0])["requested"] == {"dielectric": 2.5}
    done = cli("sample", "--model", run, "--cond", "dielectric=900", "-n", 1, "--out", out)
    assert "outside the training data" in done.stderr


def test_a_lattice_grid_fitted_to_the_data_goes_from_store_to_model_to_samples(
    cli: Cli, own_file: Path, tmp_path: Path
) -> None:
    stores, run = tmp_path / "stores", tmp_path / "run"
    asked = (
        "--dataset", own_file, "--cond", "density", "--set", "dataset.val_fraction=0.3",
        "--set", "representation.lattice_range=dataset", "--set", "representation.origins=random",
    )  # fmt: skip
    done = cli("data", "prepare", *asked, "--out", stores, "--json")
    assert done.returncode == 0, done.stderr
    done = cli("train", *asked[:-4], "--stores", stores, "--out", run)
    assert done.returncode == 2
    assert "lattice_range is 'fitted' there, 'fixed' here" in done.stderr
    assert len(done.stderr) < 500
    train = ("train", *asked, "--preset", "tiny", "--stores", stores, "--out", run)
    done = cli(*train, "--max-steps", 3)
    assert done.returncode == 0, done.stderr
    saved = json.loads((run / "run.json").read_text())["model"]["representation"]["settings"]
    grids = saved["bins"]["lattice"]
    assert saved["lattice_range"] == "fitted"
    assert grids[0] == grids[2]
    assert grids[0]["n"] < 1152
    scales = json.loads((run / "vocabulary.json").read_text())["scales"]
    assert scales["a_ang"]["n"] == grids[0]["n"]
    done = cli("train", "--resume", run, "--max-steps", 5)
    assert done.returncode == 0, done.stderr
    done = cli("sample", "--model", run, "-n", 2, "--out", tmp_path / "s.jsonl")
    assert done.returncode == 0, done.stderr


def test_a_dataset_without_a_validation_split_is_refused_before_any_work(
    cli: Cli, own_file: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "imported"
    done = cli("data", "import", own_file, "--out", folder)
    assert done.returncode == 0, done.stderr
    described = json.loads((folder / "dataset.json").read_text())
    (folder / "dataset.json").write_text(json.dumps({**described, "splits": ["train"]}))
    done = cli("data", "prepare", "--dataset", folder, "--out", tmp_path / "stores")
    assert done.returncode == 2
    assert "no split 'val' (it has train)" in done.stderr
    assert "matgen data split" in done.stderr
    assert not (tmp_path / "stores").exists()
