"""``matgen sample --generator``: baselines through the command that samples models."""

from __future__ import annotations

import json
from pathlib import Path

from tests.cli.conftest import Cli


def test_a_baseline_is_sampled_and_evaluated_by_the_commands_of_models(
    cli: Cli, tmp_path: Path
) -> None:
    for name in ("random_prototypes", "ion_exchange"):
        out = tmp_path / f"{name}.extxyz"
        told = cli("sample", "--generator", name, "-n", 12, "--seed", 3, "--out", out, "--json")
        assert told.returncode == 0, told.stderr
        summary = json.loads(told.stdout)
        assert (summary["asked"], summary["generator"]["use"]) == (12, f"baselines:{name}")
        again = tmp_path / "again.extxyz"
        cli("sample", "--generator", name, "-n", 12, "--seed", 3, "--out", again)
        assert again.read_text() == out.read_text()
        judged = cli("evaluate", out, "--relax", "none", "--workers", 1, "--json")
        assert judged.returncode == 0, judged.stderr
        report = json.loads(judged.stdout)
        assert report["asked"] == 12
        assert report["measurements"]["validity"]["summary"]["valid_structure"]["value"] > 0.5


def test_a_generator_starts_from_any_dataset_and_has_settings(cli: Cli, tmp_path: Path) -> None:
    out = tmp_path / "few.jsonl"
    done = cli(
        "sample", "--generator", "ion_exchange", "--dataset", "mp_le20", "-n", 5, "--out", out,
        "--set", "generator.max_above_hull_ev_per_atom=0.05", "--set", "dataset.rows=all",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert out.exists()


def test_what_only_a_model_obeys_is_refused_in_a_line(cli: Cli, tmp_path: Path) -> None:
    out = tmp_path / "none.extxyz"
    for flags, message in (
        (("--generator", "ion_exchange", "--cond", "density=3"), "--cond is obeyed by a trained"),
        (("--generator", "ion_exchange", "--charge-neutral"), "--charge-neutral is obeyed"),
        (("--generator", "exchange"), "no generator is called 'exchange'"),
        (("--generator", "ion_exchange", "--set", "sampler.top_k=3"), "sampler"),
        (("--dataset", "mp_le20"), "--dataset is what --generator starts from"),
    ):
        done = cli("sample", *flags, "-n", 2, "--out", out)
        assert (done.returncode, message in done.stderr) == (2, True), done.stderr
        assert "Traceback" not in done.stderr
        assert not out.exists()


def test_a_generator_that_makes_nothing_says_why(cli: Cli, tmp_path: Path) -> None:
    out = tmp_path / "none.jsonl"
    done = cli(
        "sample", "--generator", "ion_exchange", "--dataset", "textbook", "-n", 3, "--out", out
    )
    assert done.returncode == 2
    assert "not one of 3 samples is there: no exchange in 200 compounds" in done.stderr
    assert "no exchange in 200 compounds" in out.read_text()
