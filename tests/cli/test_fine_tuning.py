"""Start from another run on the command line: train, go on, sample, and what mistakes are told."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from matgen.io.writing import write_samples
from matgen.records import Sample
from matgen_toy.textbook import Textbook
from tests.cli.conftest import Cli

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def base(cli: Cli, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model of the textbook that knows two conditions."""
    folder = tmp_path_factory.mktemp("runs") / "base"
    done = cli(
        "train", "--dataset", "textbook", "--preset", "tiny", "--cond", "density",
        "--cond", "reduced_formula", "--max-steps", 20, "--learning-rate", 0.002, "--out", folder,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def tuned(cli: Cli, base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that starts from it, with a third condition."""
    folder = tmp_path_factory.mktemp("runs") / "tuned"
    done = cli(
        "train", "--from", base, "--cond", "hhi", "--set", "backbone.dropout=0.2",
        "--max-steps", 3, "--out", folder,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    told = " ".join(done.stderr.split())
    assert f"from {base}: 1,494 tokens, 2 conditions (density, reduced_formula) and " in told
    assert "new: no token, 1 condition (hhi)" in told
    return folder


def copied(run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(run, tmp_path / "copy"))


def without_checkpoints(run: Path, tmp_path: Path) -> Path:
    """Return a copy as it was before the first one was saved."""
    copy = copied(run, tmp_path)
    shutil.rmtree(copy / "checkpoints")
    (copy / "checkpoints").mkdir()
    return copy


def info(run: Path) -> dict[str, Any]:
    return json.loads((run / "run.json").read_text())


def losses(run: Path) -> list[float]:
    lines = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
    return [line["loss"] for line in lines if line["event"] == "validation"]


def test_a_run_starts_where_the_other_one_ended(base: Path, tuned: Path) -> None:
    assert min(losses(base)) < losses(base)[0] - 0.3
    assert losses(tuned)[0] == pytest.approx(min(losses(base)), abs=0.1)


def test_run_json_says_where_the_weights_are_from(base: Path, tuned: Path) -> None:
    told = info(tuned)["from"]
    assert told["run"] == str(base)
    assert len(told["sha256"]) == 64
    assert told["tokens"] == {"kept": 1494, "new": 0, "dropped": 0}
    assert told["conditions"]["new"] == ["hhi"]
    assert told["numbers"]["new"] > 0
    model = info(tuned)["model"]
    assert model["backbone"]["settings"] == {
        **info(base)["model"]["backbone"]["settings"],
        "dropout": 0.2,
    }
    assert "from" not in info(base)


def test_it_goes_on_from_its_own_checkpoint_without_the_other_run(
    cli: Cli, base: Path, tuned: Path, tmp_path: Path
) -> None:
    run = copied(tuned, tmp_path)
    saved = info(run)
    saved["from"]["run"] = "/nowhere"
    (run / "run.json").write_text(json.dumps(saved))
    done = cli("train", "--resume", run, "--max-steps", 5, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["step"] == 5


def test_old_and_new_conditions_are_sampled_together(cli: Cli, tuned: Path, tmp_path: Path) -> None:
    out = tmp_path / "s.jsonl"
    done = cli(
        "sample", "--model", tuned, "--cond", "density=5", "--cond", "hhi=2", "-n", 2, "--out", out
    )
    assert done.returncode == 0, done.stderr
    first = json.loads(out.read_text().splitlines()[0])
    assert first["requested"] == {"density": 5.0, "hhi": 2.0}


def test_killed_before_its_first_checkpoint_it_starts_again_from_the_other_run(
    cli: Cli, base: Path, tuned: Path, tmp_path: Path
) -> None:
    run = without_checkpoints(tuned, tmp_path)
    done = cli("train", "--resume", run, "--max-steps", 3)
    assert done.returncode == 0, done.stderr
    assert losses(run) == losses(tuned)


def test_a_copy_without_its_checkpoints_is_not_trained_over(
    cli: Cli, tuned: Path, tmp_path: Path
) -> None:
    run = without_checkpoints(tuned, tmp_path)
    (run / "checkpoints").rmdir()
    done = cli("train", "--resume", run)
    assert done.returncode == 2
    assert "has no checkpoints to go on from" in " ".join(done.stderr.split())
    assert losses(run) == losses(tuned)


def test_without_a_checkpoint_and_without_the_other_run_it_says_so(
    cli: Cli, base: Path, tuned: Path, tmp_path: Path
) -> None:
    run = without_checkpoints(tuned, tmp_path)
    saved = info(run)
    gone = {**saved, "from": {**saved["from"], "run": "/nowhere"}}
    (run / "run.json").write_text(json.dumps(gone))
    done = cli("train", "--resume", run)
    assert done.returncode == 2
    told = " ".join(done.stderr.split())
    assert "has no checkpoint to go on from" in told
    assert "put /nowhere back" in told
    changed = {**saved, "from": {**saved["from"], "sha256": "0" * 64}}
    (run / "run.json").write_text(json.dumps(changed))
    done = cli("train", "--resume", run)
    assert done.returncode == 2
    assert f"the weights in {base} are others than" in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--preset", "small"], "was trained with backbone."),
        (["--set", "backbone.layers=2"], "backbone.layers = 4, not 2"),
        (["--cond", "band_gap"], "reads the column 'band_gap'"),
        (["--set", "representation.bins=paper"], "a token would mean another value"),
    ],
)
def test_a_mistake_is_one_line_and_leaves_no_folder(
    cli: Cli, base: Path, tmp_path: Path, arguments: list[str], told: str
) -> None:
    done = cli("train", "--from", base, *arguments, "--out", tmp_path / "run")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert told in " ".join(done.stderr.split())
    assert not (tmp_path / "run").exists()


def test_from_and_resume_exclude_each_other(cli: Cli, base: Path, tuned: Path) -> None:
    done = cli("train", "--resume", tuned, "--from", base)
    assert done.returncode == 2
    assert "so --from cannot be given" in " ".join(done.stderr.split())


def own_file(path: Path, factor: float) -> Path:
    """Write the textbook crystals with a made-up column."""
    records = [*Textbook().records("train"), *Textbook().records("val")]
    samples = [Sample(i, record.crystal) for i, record in enumerate(records)]
    write_samples(path, samples, asked=len(samples))
    lines = path.read_text().splitlines(keepends=True)
    for number, line in enumerate(lines):
        lines[number] = line.replace("asked=", f"dielectric={factor * (number % 7)} asked=")
    path.write_text("".join(lines))
    return path


def test_a_fitted_column_keeps_its_meaning_and_waits_where_it_is_not_known(
    cli: Cli, tmp_path: Path
) -> None:
    held_out = ("--set", "dataset.val_fraction=0.3")
    first, second, third = (tmp_path / name for name in ("first", "second", "third"))
    asked = ("--dataset", own_file(tmp_path / "a.extxyz", 1.0), "--cond-column", "dielectric:1")
    done = cli(
        "train", *asked, *held_out, "--preset", "tiny", "--cond", "density", "--max-steps", 2,
        "--out", first,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    other = ("--dataset", own_file(tmp_path / "b.extxyz", 50.0), "--cond-column", "dielectric:1")
    done = cli("train", "--from", first, *other, *held_out, "--max-steps", 2, "--out", second)
    assert done.returncode == 0, done.stderr
    columns = [info(run)["model"]["conditions"][1]["settings"] for run in (first, second)]
    assert columns[0]["scale"] != 1.0
    assert columns[1] == columns[0]
    assert info(second)["data"]["train"]["range"]["dielectric"][1] == 300.0
    # The store is gone: built again, it is the same.
    shutil.rmtree(Path(info(second)["data"]["train"]["path"]).parent)
    done = cli("train", "--resume", second, "--max-steps", 3)
    assert done.returncode == 0, done.stderr
    done = cli(
        "train", "--from", second, "--dataset", "textbook", "--cond", "hhi", "--max-steps", 2,
        "--out", third,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "no crystal of these data has a known dielectric" in " ".join(done.stderr.split())
    told = info(third)
    assert told["from"]["conditions"]["without_values"] == ["dielectric"]
    assert told["model"]["conditions"][1]["settings"] == columns[0]
    out = ("--out", tmp_path / "s.jsonl")
    done = cli("sample", "--model", third, "--cond", "dielectric=3", "-n", 1, *out)
    assert done.returncode == 0, done.stderr
    assert "no crystal that the model was trained on has a known dielectric" in done.stderr


def test_data_are_prepared_elsewhere_for_a_run_that_starts_from_another(
    cli: Cli, base: Path, tmp_path: Path
) -> None:
    asked = ("--from", base, "--dataset", "textbook", "--cond", "hhi")
    done = cli("data", "prepare", *asked, "--out", tmp_path / "stores")
    assert done.returncode == 0, done.stderr
    run = tmp_path / "run"
    done = cli("train", *asked, "--stores", tmp_path / "stores", "--max-steps", 1, "--out", run)
    assert done.returncode == 0, done.stderr
    conditions = [c["use"].partition(":")[2] for c in info(run)["model"]["conditions"]]
    assert conditions == ["density", "reduced_formula", "hhi"]


def test_learned_positions_and_continuous_tokens_come_along(cli: Cli, tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    done = cli(
        "train", "--dataset", "textbook", "--representation", "cubic", "--ordering", "by_species",
        "--backbone", "one_block", "--cond", "spacing", "--max-steps", 30,
        "--learning-rate", 0.01, "--out", first,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    done = cli(
        "train", "--from", first, "--cond", "density", "--set", "representation.max_sites=9",
        "--max-steps", 1, "--out", second, "--json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "new: 1 token (COUNT_9), 1 condition (density)" in " ".join(done.stderr.split())
    assert losses(second)[0] == pytest.approx(min(losses(first)), abs=0.5)
    assert losses(second)[0] < losses(first)[0] - 0.5


def test_a_dry_run_tells_what_would_be_taken_over(cli: Cli) -> None:
    done = cli("train", "--from", "default", "--dataset", "textbook", "--dry-run", "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["from"] == "default"
    assert told["backbone"]["width"] == 256
    assert "from default: 1,494 tokens, 8 conditions" in done.stderr
