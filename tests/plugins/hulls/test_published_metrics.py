"""Distances, masks and displacements are those of MatterGen's evaluator, sample for sample."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from matgen.elements import symbols
from matgen.evaluation.cohort import Cohort
from matgen.evaluation.columns import both
from matgen.io.hull_file import HullFile, plain_fractions, write_hull_file
from matgen.records import Crystal, Measurement, Relaxation, Sample
from matgen.roles.relaxer import Relaxer, RelaxerSession
from matgen_executors.local import LocalExecutor
from matgen_hulls.file import FileOfTotals
from matgen_metrics.displacement import MatchRate
from matgen_metrics.stability import Stability

FOLDER = Path(__file__).parents[2] / "golden" / "eval"


class _Synthetic(Relaxer):
    """The potential of the published case: energies per cell that somebody made up."""

    name = "synthetic"
    energy_scale = "synthetic"

    def open(self, device: str) -> RelaxerSession:
        raise AssertionError(device)


def _golden(name: str) -> dict[str, Any]:
    saved: dict[str, Any] = json.loads(gzip.decompress((FOLDER / name).read_bytes()))
    return saved


PUBLISHED = _golden("energy_metrics.json.gz")


def _crystal(saved: dict[str, Any]) -> Crystal:
    numbers = {symbol: number for number, symbol in enumerate(symbols)}
    return Crystal(
        np.array(saved["lattice"]),
        np.array(saved["frac_coords"]),
        np.array([numbers[symbol] for symbol in saved["species"]], dtype=np.int64),
    )


@pytest.fixture(scope="module")
def hull_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("hull") / "synthetic.parquet"
    entries = [(plain_fractions(formula, ""), energy) for formula, energy in PUBLISHED["reference"]]
    pure = [({symbol: 1.0}, 0.0) for symbol in symbols[1:]]
    write_hull_file(path, HullFile("total", [*pure, *entries], {"energy_scale": "synthetic"}))
    return path


@pytest.fixture(scope="module")
def cohort(hull_file: Path) -> Cohort:
    saved = _golden("mattergen_structures.json.gz")
    originals = [*saved["originals"], *PUBLISHED["originals_from_120"]]
    relaxed = [_crystal(one) for one in saved["perturbed"]["structures"]]
    with (
        LocalExecutor().open() as pool
    ):  # of nothing but this process, so that it outlives the block
        return Cohort(
            samples=[Sample(row, _crystal(one)) for row, one in enumerate(originals)],
            asked=420,
            pool=pool,
            relaxations=[
                Relaxation(crystal, energy=energy)
                for crystal, energy in zip(relaxed, PUBLISHED["energies"], strict=True)
            ],
            hull=FileOfTotals(path=str(hull_file)).open(_Synthetic()),
        )


@pytest.fixture(scope="module")
def stability(cohort: Cohort) -> Measurement:
    return Stability().measure(cohort)


@pytest.mark.parametrize(
    ("column", "published"),
    [
        ("energy_above_hull", "energy_above_hull"),
        ("energy_above_own_hull", "self_consistent_energy_above_hull"),
    ],
)
def test_distances_are_the_published_ones(
    stability: Measurement, column: str, published: str
) -> None:
    # Two solvers of one linear program.
    assert stability.per_sample[column] == pytest.approx(PUBLISHED[published], abs=1e-9)


def test_the_masks_and_rates_are_the_published_ones(stability: Measurement) -> None:
    stable = stability.per_sample["stable"]
    assert stable == PUBLISHED["is_stable"]
    sun = both(stable, PUBLISHED["is_unique"], PUBLISHED["is_novel"])
    metrics = PUBLISHED["metrics"]
    assert sum(one is True for one in sun) / 420 == pytest.approx(metrics["frac_sun"])
    assert stability.summary["stable"] == pytest.approx(metrics["frac_stable"])
    assert stability.summary["energy_above_hull_mean"] == pytest.approx(metrics["avg_ehull"])


def test_displacements_are_the_published_ones(cohort: Cohort) -> None:
    found = MatchRate().measure(cohort)
    assert found.per_sample["rmsd"] == pytest.approx(PUBLISHED["rmsd_ang"], abs=1e-9)
    assert found.summary["rmsd_mean"] == pytest.approx(PUBLISHED["metrics"]["avg_rmsd"])
