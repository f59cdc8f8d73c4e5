"""Train, resume, sample, evaluate through the command line, and what mistakes are told."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import Cli

pytestmark = pytest.mark.slow


def test_a_run_directory_holds_what_the_documentation_says(run_folder: Path) -> None:
    held = {path.name for path in run_folder.iterdir()}
    assert {"run.json", "vocabulary.json", "model.safetensors", "metrics.jsonl"} <= held
    info = json.loads((run_folder / "run.json").read_text())
    assert info["model"]["ordering"]["use"] == "materium:high"
    assert info["data"]["train"]["n_sequences"] == 14


def test_resume_goes_on_from_the_last_step(cli: Cli, run_folder: Path) -> None:
    done = cli("train", "--resume", run_folder, "--max-steps", 40, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["step"] == 40


def test_a_grid_of_conditions_is_sampled_and_evaluated(
    cli: Cli, run_folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "grid.extxyz"
    done = cli(
        "sample", "--model", run_folder, "--cond", "density=3,8", "--cond", "hhi=2.0",
        "-n", 3, "--out", out, "--json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    assert summary["asked"] == 6
    assert summary["written"] == 6
    assert "requested_hhi" in out.read_text() or "hhi" in out.read_text()
    done = cli(
        "evaluate", out, "--reference", "textbook", "--workers", 1, "--relax", "spheres",
        "--hull", "close_packing", "--json", "--out", tmp_path / "report",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["asked"] == 6
    assert (tmp_path / "report" / "report.json").exists()


@pytest.mark.parametrize("name", ["a.jsonl", "cifs.zip", "cifs"])
def test_every_output_format_reads_back_with_its_count(
    cli: Cli, run_folder: Path, tmp_path: Path, name: str
) -> None:
    out = tmp_path / name
    done = cli("sample", "--model", run_folder, "-n", 3, "--out", out)
    assert done.returncode == 0, done.stderr
    done = cli(
        "evaluate", out, "--evaluator", "validity", "--reference", "none", "--workers", 1,
        "--out", tmp_path / "report", "--json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["asked"] == 3


def test_samples_repeat_with_their_seed_and_differ_with_another(
    cli: Cli, run_folder: Path, tmp_path: Path
) -> None:
    texts = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        out = tmp_path / f"{name}.jsonl"
        assert cli(
            "sample", "--model", run_folder, "-n", 2, "--seed", seed, "--out", out
        ).returncode == 0  # fmt: skip
        texts.append(out.read_text())
    assert texts[0] == texts[1] != texts[2]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--cond", "hhi=2000"], "hhi=2"),
        (["--cond", "density=-1"], "density=-1 is outside"),
        (["--cond", "band_gap=1.5"], "trained without 'band_gap'; it knows density"),
        (["--cond", "density"], "write NAME=VALUE"),
        (["--cond", "reduced_formula=NaCl", "--cond", "n_sites=3"], "exclude each other"),
        (["--temperature", "bond=0.5"], "bond"),
        (["--temperature", "cold"], "--temperature cold"),
        (["--set", "sampler.nonsense=1"], "has no setting 'nonsense'"),
        (["--sampler", "ancestrall"], "did you mean 'ancestral'?"),
        (["--device", "tpu"], "--device tpu"),
    ],
)
def test_a_mistake_in_sample_is_one_line_and_exit_code_two(
    cli: Cli, run_folder: Path, tmp_path: Path, arguments: list[str], told: str
) -> None:
    done = cli("sample", "--model", run_folder, "--out", tmp_path / "x.jsonl", *arguments)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert told in " ".join(done.stderr.split())
    assert not (tmp_path / "x.jsonl").exists()


def test_resume_refuses_settings_that_would_make_it_another_run(cli: Cli, run_folder: Path) -> None:
    done = cli("train", "--resume", run_folder, "--ordering", "xyz", "--learning-rate", 1)
    assert done.returncode == 2
    assert "--ordering, --learning-rate cannot be given" in done.stderr


def test_an_output_below_a_file_is_one_line_and_exit_code_two(
    cli: Cli, run_folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    done = cli("sample", "--model", run_folder, "-n", 1, "--out", tmp_path / "file" / "x.jsonl")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert f"cannot write {tmp_path / 'file'}" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--ordering", "hihg"], "did you mean 'high'?"),
        (["--preset", "huge"], "known: tiny, small, paper"),
        (["--set", "backbone.depth=3"], "has no setting 'depth'"),
        (["--set", "backbone=3"], "COMPONENT.SETTING=VALUE"),
        (["--set", "nothing.at=1"], "no such component"),
        (["--cond", "band_gap"], "reads the column 'band_gap'"),
        (["--cond-column", "dielectric"], "NAME:UNIT"),
        (["--dataset", "no_such_set"], "no dataset is called 'no_such_set'"),
    ],
)
def test_a_mistake_in_train_is_one_line_and_exit_code_two(
    cli: Cli, tmp_path: Path, arguments: list[str], told: str
) -> None:
    dataset = [] if "--dataset" in arguments else ["--dataset", "textbook"]
    done = cli("train", *dataset, *arguments, "--max-steps", 1, "--out", tmp_path / "run")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert told in " ".join(done.stderr.split())


def test_a_run_from_a_newer_matgen_is_refused(cli: Cli, run_folder: Path, tmp_path: Path) -> None:
    info = json.loads((run_folder / "run.json").read_text())
    newer = tmp_path / "newer"
    newer.mkdir()
    (newer / "run.json").write_text(json.dumps({**info, "format": 99}))
    done = cli("sample", "--model", newer, "--out", tmp_path / "x.jsonl")
    assert done.returncode == 2
    assert "format 99" in done.stderr


def test_truncated_weights_are_refused(cli: Cli, run_folder: Path, tmp_path: Path) -> None:
    torn = tmp_path / "torn"
    torn.mkdir()
    for name in ("run.json", "vocabulary.json"):
        (torn / name).write_bytes((run_folder / name).read_bytes())
    (torn / "model.safetensors").write_bytes((run_folder / "model.safetensors").read_bytes()[:999])
    done = cli("sample", "--model", torn, "--out", tmp_path / "x.jsonl")
    assert done.returncode == 2
    assert "cannot read weights" in done.stderr


def test_ranks_that_cannot_meet_are_refused_instead_of_writing_over_each_other(
    tmp_path: Path,
) -> None:
    done = subprocess.run(
        [sys.executable, Path(__file__).parents[2] / "cli.py", "train", "--out", tmp_path / "run"],
        capture_output=True,
        text=True,
        check=False,
        env={"HOME": str(tmp_path), "PATH": "/usr/bin:/bin", "WORLD_SIZE": "2"},
    )
    assert done.returncode == 2
    assert "start them with torchrun" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "run").exists()


def test_a_prepared_store_brings_its_dataset_and_refuses_another(cli: Cli, tmp_path: Path) -> None:
    chosen = ("--representation", "cubic", "--ordering", "by_species", "--cond", "density")
    prepared = cli("data", "prepare", "--dataset", "textbook", *chosen, "--out", tmp_path / "s")
    assert prepared.returncode == 0, prepared.stderr
    train = ("train", "--stores", tmp_path / "s", *chosen, "--backbone", "one_block")
    done = cli(*train, "--max-steps", 1, "--out", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    saved = json.loads((tmp_path / "run" / "run.json").read_text())
    assert saved["dataset"]["use"] == "toy:textbook"
    refused = cli(*train, "--dataset", "mp_le20", "--out", tmp_path / "other")
    assert refused.returncode == 2
    assert "was prepared from toy:textbook" in " ".join(refused.stderr.split())


def test_a_run_killed_before_its_first_checkpoint_starts_again(cli: Cli, tmp_path: Path) -> None:
    run = tmp_path / "run"
    asked = ["--dataset", "textbook", "--preset", "tiny", "--cond", "density"]
    assert cli("train", *asked, "--max-steps", 1, "--out", run).returncode == 0
    for path in (*(run / "checkpoints").rglob("*"), run / "model.safetensors"):
        if path.is_file():
            path.unlink()
    done = cli("train", "--resume", run, "--max-steps", 2)
    assert done.returncode == 0, done.stderr
    assert (run / "model.safetensors").exists()
