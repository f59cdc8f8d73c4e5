"""CDVAE's generation metrics: fingerprints as matminer's, figures as its own evaluation's."""

from __future__ import annotations

import gzip
import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.spatial.distance import cdist, pdist

from matgen.elements import atomic_number
from matgen.evaluation.cohort import Cohort
from matgen.evaluation.intervals import wilson
from matgen.records import Crystal, Measurement, Record, Sample
from matgen_executors.local import LocalPool
from matgen_metrics import fingerprint_store
from matgen_metrics.coverage import Coverage
from matgen_metrics.fingerprints import digest, structure_fingerprint
from matgen_metrics.magpie import composition_fingerprint, standardised
from matgen_metrics.nearest import mean_pairwise, nearest_distances

FOLDER = Path(__file__).parents[2] / "golden" / "eval"


@cache
def golden() -> Any:
    return json.loads(gzip.decompress((FOLDER / "cdvae_coverage.json.gz").read_bytes()))


@cache
def crystals() -> tuple[list[Crystal], list[Crystal]]:
    """The 300 samples, and the truth they are compared with."""
    saved = json.loads(gzip.decompress((FOLDER / "mattergen_structures.json.gz").read_bytes()))
    return (
        [_crystal(row) for row in saved["perturbed"]["structures"][:300]],
        [_crystal(row) for row in golden()["truth"]],
    )


def _crystal(saved: Any) -> Crystal:
    return Crystal(
        np.array(saved["lattice"]),
        np.array(saved["frac_coords"]),
        np.array([atomic_number(symbol) for symbol in saved["species"]]),
    )


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The golden fingerprints as the file that the evaluator keeps."""
    path = tmp_path_factory.mktemp("kept") / "fingerprints.npz"
    rows = [*golden()["sample_fingerprints"], *golden()["truth_fingerprints"]]
    keys = [digest(crystal) for side in crystals() for crystal in side]
    known = {key: np.array(row) for key, row in zip(keys, rows, strict=True)}
    fingerprint_store.keep(path, known)
    return path


def _measured(
    samples: list[Crystal | None], truth: list[Crystal], asked: int = 0, **settings: Any
) -> Measurement:
    cohort = Cohort(
        [Sample(i, c, error="" if c else "unfinished") for i, c in enumerate(samples)],
        asked or len(samples),
        LocalPool(),
        truth=[Record(str(i), c) for i, c in enumerate(truth)],
    )
    return Coverage(**settings).measure(cohort)


@pytest.mark.slow
def test_structure_fingerprints_are_matminers() -> None:
    # Five small cells of either side; benchmarks/published_metrics.py takes all six hundred.
    for side, name in zip(crystals(), ("sample", "truth"), strict=True):
        small = [index for index, crystal in enumerate(side) if crystal.n_sites <= 5]
        for index in small[:: len(small) // 5]:
            found = structure_fingerprint(side[index], seconds=100.0)
            assert not isinstance(found, str)
            expected = golden()[f"{name}_fingerprints"][index]
            assert np.abs(found - expected).max() < 1e-10, (name, index)


def test_composition_fingerprints_are_matminers() -> None:
    for case in golden()["composition_fingerprints"]:
        found = composition_fingerprint({int(z): n for z, n in case["counts"].items()})
        expected = np.array([np.nan if x is None else x for x in case["features"]])
        np.testing.assert_allclose(found, expected, rtol=1e-12, equal_nan=True)
    assert composition_fingerprint({98: 1}) is None
    assert composition_fingerprint({}) is None


def test_what_is_unknown_of_an_element_standardises_to_zero() -> None:
    xenon, helium = (composition_fingerprint({z: 1}) for z in (54, 2))
    assert not np.isnan(xenon).any()
    assert np.isnan(helium).any()
    found = standardised(np.stack([xenon, helium]))
    assert np.isfinite(found).all()
    assert (found[1][np.isnan(helium)] == 0.0).all()


@pytest.mark.parametrize(
    ("cutoffs", "published"), [("mp20", "mp20"), ("perov", "perovskite_carbon")]
)
def test_every_figure_is_that_of_cdvaes_evaluation(
    kept: Path, cutoffs: str, published: str
) -> None:
    expected = golden()["metrics"]
    found = _measured(*crystals(), cutoffs=cutoffs, kept_fingerprints=str(kept)).summary
    names = {
        "cov_recall": expected[published]["cov_recall"],
        "cov_precision": expected[published]["cov_precision"],
        "wdist_density": expected["wdist_density_all_valid"],
        "wdist_n_elements": expected["wdist_num_elems_all_valid"],
        **{
            name: expected[name]
            for name in ("amsd_recall", "amsd_precision", "amcd_recall", "amcd_precision")
        },
        **{
            name: expected[name]
            for name in ("comp_valid", "struct_valid", "valid", "comp_div", "struct_div")
        },
    }
    assert set(names) == set(found)
    for name, value in names.items():
        # 2e-9: the dalton of another CODATA year in the densities.
        assert found[name] == pytest.approx(value, rel=2e-9), name


def test_the_flags_of_each_sample_are_those_of_cdvaes_evaluation(kept: Path) -> None:
    found = _measured(*crystals(), kept_fingerprints=str(kept)).per_sample
    columns = (found["comp_valid"], found["struct_valid"], found["valid"])
    assert [list(row) for row in zip(*columns, strict=True)] == golden()["sample_valid"]


def test_figures_over_truth_and_distances_have_intervals(kept: Path) -> None:
    found = _measured(*crystals(), kept_fingerprints=str(kept))
    assert found.intervals["cov_recall"] == wilson(267, 300)
    for figure in ("wdist_density", "wdist_n_elements"):
        low, high = found.intervals[figure]
        assert low < found.summary[figure] < high


def test_the_subsample_is_the_same_each_time_and_changes_only_what_is_said(kept: Path) -> None:
    settings = {"kept_fingerprints": str(kept), "subsample": 50}
    once = _measured(*crystals(), **settings)
    assert once.summary == _measured(*crystals(), **settings).summary
    other = _measured(*crystals(), **settings, subsample_seed=1).summary
    same = {name for name, value in once.summary.items() if value == other[name]}
    assert set(once.summary) - same == {
        "comp_div",
        "struct_div",
        "wdist_density",
        "wdist_n_elements",
    }
    assert once.notes["wdist_over"] == "50 valid samples, seed 0"


_CSCL = np.array([[0, 0, 0], [0.5, 0.5, 0.5]])


def _pair(length: float, numbers: tuple[int, int]) -> Crystal:
    return Crystal(np.eye(3) * length, _CSCL, np.array(numbers))


def test_samples_without_a_fingerprint_stay_in_the_denominator_of_precision() -> None:
    truth = [_pair(4.12, (55, 17)), _pair(4.29, (55, 35))]
    broken = Crystal(np.full((3, 3), np.nan), _CSCL, np.array([55, 17]))
    found = _measured([truth[0], broken, None, _pair(4.0, (98, 17))], truth, asked=8)
    assert found.summary["cov_precision"] == 1 / 8
    assert found.per_sample["cov_precision"] == [True, False, None, False] + [None] * 4
    # CsBr has the structure of CsCl, and elements that are near enough.
    assert found.summary["cov_recall"] == 1.0
    assert found.summary["amsd_recall"] == pytest.approx(0.0, abs=0.01)
    # Californium has no radius in pymatgen, either.
    assert found.notes["samples_without_structure_fingerprint"] == 2
    assert found.notes["samples_without_composition_fingerprint"] == 1
    nothing = _measured([broken, None], truth)
    assert nothing.summary["cov_recall"] == nothing.summary["cov_precision"] == 0.0
    assert nothing.summary["amsd_precision"] is None


def test_a_crystal_over_its_time_has_no_fingerprint_and_is_counted() -> None:
    big = crystals()[1][0]
    found = _measured([_pair(4.12, (55, 17))], [big], seconds_per_crystal=1e-3)
    assert found.notes["truth_over_time"] == 1
    assert found.summary["cov_recall"] == 0.0


def test_each_distinct_crystal_is_fingerprinted_once_and_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked_for: list[Crystal] = []
    real = structure_fingerprint

    def counting(crystal: Crystal, *, seconds: float) -> Any:
        asked_for.append(crystal)
        return real(crystal, seconds=seconds)

    monkeypatch.setattr(fingerprint_store, "structure_fingerprint", counting)
    one, other = _pair(4.12, (55, 17)), _pair(4.29, (55, 35))
    path = tmp_path / "kept.npz"
    first = _measured([one, one, other], [one], kept_fingerprints=str(path))
    assert len(asked_for) == 2
    again = _measured([one, one, other], [one], kept_fingerprints=str(path))
    assert len(asked_for) == 2
    assert first.summary == again.summary
    path.write_bytes(b"no archive")
    assert _measured([one], [one], kept_fingerprints=str(path)).summary["cov_recall"] == 1.0
    assert len(asked_for) == 3


def test_nearest_and_mean_distances_are_those_of_the_whole_matrix() -> None:
    rng = np.random.default_rng(0)
    points, others = rng.normal(size=(40, 5)), rng.normal(size=(70, 5))
    whole = cdist(points, others)
    found = nearest_distances(points, others)
    np.testing.assert_array_equal(found[0], whole.min(axis=1))
    np.testing.assert_array_equal(found[1], whole.min(axis=0))
    assert mean_pairwise(points) == pytest.approx(pdist(points).mean())
    assert mean_pairwise(points[:1]) is None
