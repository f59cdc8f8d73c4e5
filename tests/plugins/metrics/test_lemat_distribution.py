"""Distributions as LeMat-GenBench takes them; its own reference files are not to be had as text."""

from __future__ import annotations

import gzip
import json
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.distance import cdist, jensenshannon
from scipy.stats import wasserstein_distance

from matgen.elements import atomic_number
from matgen.errors import BadFile
from matgen.evaluation.cohort import Cohort
from matgen.evaluation.reference import Reference
from matgen.records import Crystal, Measurement, Record, Sample
from matgen_executors.local import LocalPool
from matgen_metrics.descriptions import Description, describe
from matgen_metrics.divergence import jensen_shannon, mean_discrepancy, wasserstein
from matgen_metrics.lemat_distribution import LematDistribution

GOLDEN = Path(__file__).parents[2] / "golden" / "eval" / "lemat_seed42.json.gz"


@pytest.fixture(scope="module")
def golden() -> dict[str, list[object]]:
    loaded: dict[str, list[object]] = json.loads(gzip.decompress(GOLDEN.read_bytes()))
    return loaded


def _crystals(golden: dict[str, list[object]], n: int) -> list[Crystal]:
    return [
        Crystal(
            np.array(saved["lattice"]),
            np.array(saved["frac_coords"]),
            np.array([atomic_number(symbol) for symbol in saved["species"]]),
        )
        for saved in golden["structures"][:n]
    ]


def test_space_group_volume_and_density_are_those_of_the_benchmark(
    golden: dict[str, list[object]],
) -> None:
    found = [describe(crystal) for crystal in _crystals(golden, 1000)]
    assert all(found)
    assert [d.space_group for d in found] == golden["space_group"]
    assert [d.volume for d in found] == pytest.approx(golden["volume"], rel=1e-12)
    # pymatgen takes the dalton from another CODATA year, 1.1e-9 from ours.
    assert [d.density for d in found] == pytest.approx(golden["density"], rel=2e-9)


def test_the_jensen_shannon_distance_is_scipys() -> None:
    rng = np.random.default_rng(1)
    for _ in range(20):
        one, other = rng.poisson(0.7, (2, 230)).astype(float)
        assert jensen_shannon(one, other) == pytest.approx(jensenshannon(one, other), rel=1e-12)
    assert jensen_shannon([1, 0], [0, 1]) == pytest.approx(np.sqrt(np.log(2)))
    assert jensen_shannon([2, 1], [4, 2]) == pytest.approx(0.0, abs=1e-8)
    assert jensen_shannon([0, 0], [1, 0]) is None


def test_the_discrepancy_is_that_of_whole_kernel_matrices_in_flat_memory() -> None:
    rng = np.random.default_rng(2)
    one, other = rng.normal(size=700), rng.normal(0.5, 2.0, size=900)

    def kernel(x: np.ndarray, y: np.ndarray) -> float:
        return float(np.mean(np.exp(-cdist(x[:, None], y[:, None], "sqeuclidean") / 2)))

    whole = kernel(one, one) + kernel(other, other) - 2 * kernel(one, other)
    assert mean_discrepancy(one, other) == pytest.approx(whole, rel=1e-10)
    assert mean_discrepancy(one, one) == pytest.approx(0.0, abs=1e-15)
    assert mean_discrepancy([], one) is None
    many = rng.normal(size=6000)
    tracemalloc.start()
    mean_discrepancy(many, many)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 120e6  # the whole matrix has 288 MB, and its exponential as much again


def test_the_wasserstein_distance_is_scipys() -> None:
    rng = np.random.default_rng(3)
    for _ in range(20):
        one, other = rng.normal(size=rng.integers(1, 50)), rng.normal(1.0, 3.0, rng.integers(1, 80))
        assert wasserstein(one, other) == pytest.approx(wasserstein_distance(one, other), rel=1e-12)
    assert wasserstein([1, 2, 3], [3, 1, 2]) == 0.0
    assert wasserstein([], [1.0]) is None


@pytest.mark.parametrize(("group", "system"), [(1, 1), (2, 1), (3, 2), (15, 2), (16, 3), (74, 3)])
def test_low_space_groups_are_in_their_crystal_system(group: int, system: int) -> None:
    assert Description(group, 1.0, 1.0, {1: 1}).crystal_system == system


@pytest.mark.parametrize(
    ("group", "system"), [(75, 4), (142, 4), (143, 5), (167, 5), (168, 6), (194, 6), (195, 7)]
)
def test_high_space_groups_are_in_their_crystal_system(group: int, system: int) -> None:
    assert Description(group, 1.0, 1.0, {1: 1}).crystal_system == system


def _cohort(crystals: list[Crystal], **others: object) -> Cohort:
    samples = [Sample(i, c) for i, c in enumerate(crystals)]
    return Cohort(samples, len(samples), LocalPool(), **others)


def test_samples_are_compared_with_the_truth_or_else_the_reference(
    golden: dict[str, list[object]],
) -> None:
    crystals = _crystals(golden, 60)
    truth = [Record(str(i), crystal) for i, crystal in enumerate(crystals[30:])]
    evaluator = LematDistribution(only="")
    found = evaluator.measure(_cohort(crystals[:30], truth=truth))
    groups = golden["space_group"]
    counts = np.zeros((2, 230))
    for index in range(60):
        counts[index // 30, groups[index] - 1] += 1
    assert found.summary["jsd_space_group"] == pytest.approx(jensenshannon(*counts), rel=1e-12)
    assert "truth (30 crystals)" in found.notes["jsd_compared_with"]
    same = evaluator.measure(_cohort(crystals[:30], truth=[Record("x", c) for c in crystals[:30]]))
    for figure, value in same.summary.items():
        assert value == pytest.approx(0.0, abs=1e-7), figure
    by_reference = evaluator.measure(_cohort(crystals[:30], reference=Reference(crystals[30:])))
    assert by_reference.summary["jsd_elements"] == pytest.approx(found.summary["jsd_elements"])
    assert "reference" in by_reference.notes["jsd_compared_with"]
    assert evaluator.measure(_cohort(crystals[:30])).skipped == "needs truth"


def test_only_samples_that_another_evaluator_lets_pass_count(
    golden: dict[str, list[object]],
) -> None:
    crystals = _crystals(golden, 20)
    truth = [Record(str(i), crystal) for i, crystal in enumerate(crystals)]
    flags = Measurement(asked=20, per_sample={"valid": [True] * 5 + [False, None] + [False] * 13})
    evaluator = LematDistribution()
    found = evaluator.measure(_cohort(crystals, truth=truth, done={"lemat_validity": flags}))
    alone = LematDistribution(only="").measure(_cohort(crystals[:5], truth=truth))
    assert found.summary == alone.summary
    assert found.notes["over"] == "5 samples"
    assert evaluator.waits_for() == ("lemat_validity",)
    assert "needs evaluator" in evaluator.measure(_cohort(crystals, truth=truth)).skipped


def test_the_files_of_the_benchmark_are_read_and_pickles_are_not(
    golden: dict[str, list[object]], tmp_path: Path
) -> None:
    crystals = _crystals(golden, 10)
    flat = {str(k): 1.0 for k in range(1, 231)}
    histograms = tmp_path / "histograms.json"
    names = {"SpaceGroup": 230, "CrystalSystem": 7, "CompositionCounts": 118, "Composition": 118}
    histograms.write_text(json.dumps({k: dict(list(flat.items())[:n]) for k, n in names.items()}))
    values = tmp_path / "values.npz"
    columns = ("Volume", "Density(g/cm^3)", "Density(atoms/A^3)")
    np.savez(values, **dict.fromkeys(columns, np.array([1.0, 2.0])))
    evaluator = LematDistribution(only="", histograms=str(histograms), values=str(values))
    found = evaluator.measure(_cohort(crystals))
    systems = np.bincount([describe(c).crystal_system for c in crystals], minlength=8)[1:]
    assert found.summary["jsd_crystal_system"] == pytest.approx(
        jensenshannon(systems, np.ones(7)), rel=1e-12
    )
    assert found.notes["mmd_compared_with"] == "values.npz"
    pickled = tmp_path / "pickled.npz"
    np.savez(pickled, **dict.fromkeys(columns, np.array([{"a": 1}], dtype=object)))
    for broken in (pickled, histograms, tmp_path / "absent"):
        with pytest.raises(BadFile):
            LematDistribution(only="", values=str(broken)).measure(_cohort(crystals))
        with pytest.raises(BadFile):
            LematDistribution(only="", histograms=str(values)).measure(_cohort(crystals))
