"""``matgen shortlist``: from an evaluation to files, with a second potential, twice."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest

from tests.cli.conftest import Cli


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("chgnet") is None, reason="chgnet is not installed")
def test_an_evaluation_becomes_a_list_that_a_second_call_repeats(cli: Cli, tmp_path: Path) -> None:
    crystals = tmp_path / "exchanged.extxyz"
    cli("sample", "--generator", "ion_exchange", "-n", 5, "--seed", 1, "--out", crystals)
    judged = cli(
        "evaluate", crystals, "--relax", "chgnet", "--workers", 1,
        "--set", "relaxer.max_steps=30",
    )  # fmt: skip
    assert judged.returncode == 0, judged.stderr
    line = (
        "shortlist", tmp_path / "exchanged-evaluation", "-n", 2, "--any", "--threshold", 9,
        "--second", "chgnet", "--set", "relaxer.max_steps=3", "--pool", 3, "--workers", 1, "--json",
    )  # fmt: skip
    first = cli(*line)
    assert first.returncode == 0, first.stderr
    told = json.loads(first.stdout)
    rows = told["crystals"]
    assert [row["rank"] for row in rows] == [1, 2]
    assert rows[0]["score"] <= rows[1]["score"]
    for row in rows:
        assert row["score"] == max(row["energy_above_hull"], row["second_energy_above_hull"])
        assert row["nearest"].startswith("mp-")
        assert row["decomposes_to"]
    out = tmp_path / "exchanged-shortlist"
    assert len(list((out / "cifs").glob("*.cif"))) == 2
    assert json.loads(cli(*line).stdout)["crystals"] == rows
    refused = cli("shortlist", crystals)
    assert refused.returncode == 2
    assert "make one first: matgen evaluate" in refused.stderr
