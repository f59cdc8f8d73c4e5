"""Rules, ranges, tables, ranking and shards through ``matgen sample``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Cli

pytestmark = pytest.mark.slow


def rows(path: Path) -> list[dict[str, Any]]:  # JSON values
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_rules_and_what_they_cost_are_told(cli: Cli, tmp_path: Path) -> None:
    out = tmp_path / "a.jsonl"
    done = cli(
        "sample", "-n", 6, "--chemical-system", "Na-Cl", "--charge-neutral", "--n-sites", "2..8",
        "--exclude", "O", "--out", out,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "rules: 6 of" in done.stderr
    for row in rows(out):
        assert set(row["crystal"]["numbers"]) == {11, 17}
        assert sum(row["crystal"]["oxidation"]) == 0
        assert 2 <= len(row["crystal"]["numbers"]) <= 8
        assert row["requested"] == {"chemical_system": "Cl-Na"}


def test_ranges_and_tables_give_each_sample_its_own_request(cli: Cli, tmp_path: Path) -> None:
    table, out = tmp_path / "asked.csv", tmp_path / "b.jsonl"
    table.write_text("density,spacegroup\n3..5,\n,225\n", encoding="utf-8")
    done = cli("sample", "--conds", table, "-n", 3, "--out", out, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["asked"] == 6
    asked = [row["requested"] for row in rows(out)]
    assert len({request["density"] for request in asked[:3]}) == 3
    assert all(3 < request["density"] < 5 for request in asked[:3])
    assert asked[3:] == [{"space_group": 225.0}] * 3


def test_the_best_of_several_is_likelier(cli: Cli, tmp_path: Path) -> None:
    means = []
    for more in ([], ["--best-of", 6]):
        out = tmp_path / f"c{len(more)}.jsonl"
        assert cli("sample", "-n", 12, "--out", out, *more).returncode == 0
        means.append(sum(row["log_prob"] for row in rows(out)) / 12)
    assert means[0] < means[1]


def test_the_best_of_several_can_be_the_nearest_to_the_request(cli: Cli, tmp_path: Path) -> None:
    errors = []
    for more in ([], ["--best-of", 8, "--rank-by", "-achieved.density_error"]):
        out = tmp_path / f"n{len(more)}.jsonl"
        done = cli("sample", "-n", 8, "--cond", "density=5", "--out", out, *more)
        assert done.returncode == 0, done.stderr
        errors.append(sum(abs(row["achieved"]["density"] - 5) for row in rows(out)) / 8)
    assert errors[1] < errors[0] / 2


def test_a_mistake_leaves_the_folder_of_shards_usable(cli: Cli, tmp_path: Path) -> None:
    call = ("sample", "-n", 2, "--on", "local", "--out", tmp_path / "library")
    assert cli(*call, "--temperature", "zzz=2").returncode == 2
    done = cli(*call)
    assert done.returncode == 0, done.stderr


def test_rules_that_nothing_meets_fail_in_shards_as_in_a_file(cli: Cli, tmp_path: Path) -> None:
    never = ("--lattice-system", "cubic", "--min-distance", "2.9", "--n-sites", "20")
    for more in ((), ("--on", "local")):
        done = cli(
            "sample", "-n", 2, *never, "--set", "sampler.retries=0", *more,
            "--out", tmp_path / f"never{len(more)}",
        )  # fmt: skip
        assert done.returncode == 2
        assert "no sample meets these rules together" in " ".join(done.stderr.split())


def test_processes_and_ray_write_the_same_shards(cli: Cli, tmp_path: Path) -> None:
    written = []
    for on in ("processes", "ray"):
        out = tmp_path / on
        done = cli(
            "sample", "-n", 16, "--cond", "density=3..5", "--on", on, "--workers", 2,
            "--shard-size", 8, "--out", out,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        written.append([path.read_bytes() for path in sorted(out.glob("shard-*.parquet"))])
    assert len(written[0]) == 2
    assert written[0] == written[1]


def test_a_second_call_completes_a_folder_of_shards(cli: Cli, tmp_path: Path) -> None:
    out = tmp_path / "library"
    call = ("sample", "-n", 24, "--on", "local", "--shard-size", 8, "--out", out, "--json")
    done = cli(*call)
    assert done.returncode == 0, done.stderr
    (out / "shard-000001.parquet").write_bytes(b"torn")
    again = cli(*call)
    assert again.returncode == 0, again.stderr
    told = json.loads(again.stdout)
    assert (told["written"], told["shards"], told["shards_kept"]) == (24, 3, 2)
    done = cli(
        "evaluate", out, "--evaluator", "validity", "--reference", "none", "--workers", 1,
        "--out", tmp_path / "report", "--json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["asked"] == 24


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--formula", "Li99O"], "formula Li99O"),
        (["--formula", "LiFeO2", "--exclude", "Fe"], "exclude Fe"),
        (["--formula", "LiFeO2", "--cond", "formula=NaCl"], "the rule is LiFeO2"),
        (["--constraint", "colour=red"], "colour"),
        (["--cond", "density=29", "--strict"], "outside the training data"),
        (["--conds", "none.csv"], "cannot read"),
        (["--guidance", "hardness=2"], "hardness"),
        (["--rank-by", "log_prob"], "add --best-of"),
        (["--best-of", "2", "--rank-by", "stability.e"], "needs"),
        (["--on", "processes"], "looks like a file"),
        (["--precision", "int4"], "write auto, fp32"),
        (["--workers", "2"], "are for --on"),
        (["--seed", "9223372036854775808"], "does not fit"),
    ],
)
def test_what_cannot_be_is_told_in_a_line(
    cli: Cli, tmp_path: Path, arguments: list[str], told: str
) -> None:
    done = cli("sample", "-n", 2, "--out", tmp_path / "d.extxyz", *arguments)
    assert done.returncode == 2
    errors = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    assert len(errors) == 1
    assert told in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "d.extxyz").exists()
