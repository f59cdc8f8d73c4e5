"""Crystals that break evaluators get a status each; the others are measured as if alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from ase import Atoms
from ase.build import bulk
from ase.io import write

from tests.cli.conftest import Cli

pytestmark = pytest.mark.slow

ROCK_SALT = bulk("NaCl", "rocksalt", a=5.64)
HOSTILE = {
    "a crystal": ROCK_SALT,
    "the same again": ROCK_SALT,
    "noble gas": bulk("Xe", "fcc", a=6.2),
    "no stable isotope": bulk("Pm", "fcc", a=5.2),
    "an actinide": bulk("Cf", "fcc", a=5.0),
    "two atoms at one place": Atoms("Fe2", scaled_positions=np.zeros((2, 3)), cell=[3, 3, 3]),
    "two atoms nearly at one place": Atoms(
        "Fe2", positions=[[0, 0, 0], [0, 0, 0.2]], cell=[3, 3, 3]
    ),
    "a needle": Atoms("Cu", positions=[[0, 0, 0]], cell=[0.4, 0.4, 90]),
    "a flat cell": Atoms("Cu", positions=[[0, 0, 0]], cell=[[3, 0, 0], [6, 0, 0], [0, 0, 3]]),
}
COPPER = bulk("Cu", "fcc", a=3.6)
LARGE = {"a thousand sites": COPPER * (10, 10, 10), "its primitive cell": COPPER}


def written(path: Path, *names: str) -> Path:
    frames = []
    for name in names or HOSTILE:
        frame = {**HOSTILE, **LARGE}[name].copy()
        frame.pbc = True
        frame.info = {"id": name}
        frames.append(frame)
    write(path, frames, format="extxyz")
    return path


def evaluated(cli: Cli, path: Path, *flags: object) -> dict[str, Any]:
    done = cli("evaluate", path, "--workers", 1, "--out", path.parent / "out", "--json", *flags)
    assert done.returncode == 0, done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def figure(report: dict[str, Any], evaluator: str, name: str) -> float:
    return float(report["measurements"][evaluator]["summary"][name]["value"])


def test_every_hostile_crystal_has_a_status_and_the_rest_is_measured(
    cli: Cli, tmp_path: Path
) -> None:
    path = written(tmp_path / "hostile.extxyz")
    report = evaluated(
        cli, path, "--reference", "textbook", "--relax", "spheres", "--hull", "close_packing"
    )
    assert report["asked"] == len(HOSTILE)
    table = pq.read_table(tmp_path / "out" / "samples.parquet").to_pydict()
    told = dict(zip(HOSTILE, table["status"], strict=True))
    assert told["two atoms at one place"] == "invalid structure"
    assert told["two atoms nearly at one place"] == "invalid structure"
    assert told["a flat cell"] in {"invalid structure", "no crystal"}
    unique = dict(zip(HOSTILE, table["unique"], strict=True))
    assert (unique["a crystal"], unique["the same again"]) == (True, False)
    assert sum(report["statuses"].values()) == len(HOSTILE)


def test_a_potential_takes_what_it_can_and_says_why_not(cli: Cli, tmp_path: Path) -> None:
    names = ("a crystal", "noble gas", "an actinide", "two atoms nearly at one place")
    report = evaluated(
        cli,
        written(tmp_path / "few.extxyz", *names),
        "--reference", "textbook", "--relax", "chgnet", "--set", "relaxer.max_steps=2",
    )  # fmt: skip
    table = pq.read_table(tmp_path / "out" / "samples.parquet").to_pydict()
    told = dict(zip(names, table["status"], strict=True))
    assert told["two atoms nearly at one place"] == "invalid structure"
    assert table["energy_above_hull"][0] is not None
    # Californium has no energy in the reference; its neighbours in the file keep theirs.
    assert table["energy_above_hull"][2] is None
    assert told["an actinide"] not in {"ok", "not converged"}
    assert report["asked"] == 4


def test_a_cell_of_a_thousand_sites_is_reduced_and_compared(cli: Cli, tmp_path: Path) -> None:
    path = written(tmp_path / "large.extxyz", "a thousand sites", "its primitive cell")
    report = evaluated(cli, path, "--reference", "textbook")
    assert figure(report, "validity", "valid") == 1.0
    assert figure(report, "uniqueness", "unique") == 0.5


def test_a_single_crystal_is_an_evaluation(cli: Cli, tmp_path: Path) -> None:
    report = evaluated(
        cli, written(tmp_path / "one.extxyz", "a crystal"), "--reference", "textbook"
    )
    assert figure(report, "uniqueness", "unique") == 1.0


def test_all_invalid_is_zero_of_all(cli: Cli, tmp_path: Path) -> None:
    names = ("two atoms at one place", "two atoms nearly at one place")
    report = evaluated(
        cli, written(tmp_path / "bad.extxyz", *names), "--reference", "textbook",
        "--relax", "spheres", "--hull", "close_packing",
    )  # fmt: skip
    assert figure(report, "validity", "valid") == 0.0
    assert figure(report, "sun", "sun") == 0.0


def test_what_is_its_own_reference_is_not_novel(cli: Cli, tmp_path: Path) -> None:
    path = written(tmp_path / "own.extxyz", "a crystal", "noble gas")
    report = evaluated(cli, path, "--reference", path, "--set", "reference.val_fraction=0.0")
    assert figure(report, "novelty", "novel") == 0.0


@pytest.mark.parametrize("text", ["", "\n\n"])
def test_an_empty_file_is_refused_in_one_line(cli: Cli, tmp_path: Path, text: str) -> None:
    path = tmp_path / "empty.extxyz"
    path.write_text(text)
    done = cli("evaluate", path)
    assert done.returncode == 2
    assert "is empty" in done.stderr
    assert "Traceback" not in done.stderr


def test_energies_in_another_order_are_refused_in_one_line(cli: Cli, tmp_path: Path) -> None:
    path = written(tmp_path / "two.extxyz", "a crystal", "noble gas")
    swapped = written(tmp_path / "swapped.extxyz", "noble gas", "a crystal")
    done = cli("evaluate", path, "--relax", "spheres", "--energies", swapped)
    assert done.returncode == 2
    assert "another order" in done.stderr
    assert "Traceback" not in done.stderr


def test_predictions_belong_to_the_true_crystals_in_the_order_of_the_file(
    cli: Cli, tmp_path: Path
) -> None:
    # Rock salts of many formulas: a file of data would hold some out and so change their order.
    names = [c + a for c in ("Li", "Na", "K", "Rb", "Ag") for a in ("F", "Cl", "Br", "I")]
    salts = [bulk(name, "rocksalt", a=5.0) for name in names]
    others = [bulk(name, "cesiumchloride", a=3.1) for name in names]
    predicted = [crystal for pair in zip(others, salts, strict=True) for crystal in pair]
    write(tmp_path / "true.extxyz", salts)
    write(tmp_path / "predicted.extxyz", predicted)
    report = evaluated(
        cli, tmp_path / "predicted.extxyz", "--protocol", "csp",
        "--truth", tmp_path / "true.extxyz", "--per-truth", 2,
    )  # fmt: skip
    assert report["settings"]["protocol"]["label"] == "csp/true+k=2"
    assert figure(report, "csp", "match_rate") == 1.0
    assert figure(report, "csp", "match_rate_at_1") == 0.0
    found = report["measurements"]["csp"]["summary"]
    low, high = found["match_rate_at_1"]["interval_95"]  # Wilson: of 20 true crystals, not 40
    assert (low, round(high, 4)) == (0.0, 0.1611)
    assert found["crmse"]["interval_95"] is not None
