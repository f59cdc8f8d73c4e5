"""Distances of samples' distributions to those of real crystals, with their spread."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.spatial.distance import jensenshannon
from scipy.stats import wasserstein_distance

from matgen.evaluation.cohort import Cohort
from matgen.evaluation.intervals import interval
from matgen.evaluation.reference import Reference
from matgen.records import Crystal, Measurement, Record, Sample
from matgen_executors.local import LocalPool
from matgen_metrics.distributions import Distributions
from matgen_metrics.resampling import (
    weighted_jensen_shannon,
    weighted_wasserstein,
    with_interval,
)

CSCL = np.array([[0, 0, 0], [0.5, 0.5, 0.5]])


def _cubic(length: float, *numbers: int) -> Crystal:
    """One or two sites: a simple cubic element, or the structure of caesium chloride."""
    return Crystal(np.eye(3) * length, CSCL[: len(numbers)], np.array(numbers))


def _measured(
    samples: list[Crystal | None], truth: list[Crystal] | None, **settings: Any
) -> Measurement:
    records = None if truth is None else [Record(str(i), c) for i, c in enumerate(truth)]
    rows = [Sample(i, c, error="" if c else "unfinished") for i, c in enumerate(samples)]
    reference = settings.pop("reference", None)
    done = settings.pop("done", {})
    cohort = Cohort(rows, len(rows), LocalPool(), truth=records, reference=reference, done=done)
    return Distributions(**settings).measure(cohort)


def test_figures_are_those_worked_out_by_hand() -> None:
    samples = [_cubic(4.0, 55, 17), _cubic(4.0, 55, 17), _cubic(3.0, 84), None]
    truth = [_cubic(4.0, 55, 17), _cubic(5.0, 55, 35)]
    found = _measured(samples, truth, resamples=0)
    assert found.summary["wdist_n_elements"] == pytest.approx(1 / 3)
    assert found.summary["wdist_n_sites"] == pytest.approx(1 / 3)
    # 32, 32 and 27 against 32 and 62.5 Å³ per atom.
    assert found.summary["wdist_volume_per_atom"] == pytest.approx(
        wasserstein_distance([32, 32, 27], [32, 62.5])
    )
    # All are Pm-3m. Elements: Cs 2, Cl 2, Po 1 against Cs 2, Cl 1, Br 1.
    assert found.summary["jsd_space_group"] == 0.0
    assert found.summary["jsd_elements"] == pytest.approx(jensenshannon([2, 2, 1, 0], [2, 1, 0, 1]))
    volumes = found.per_sample["volume_per_atom"]
    assert volumes[:3] == [pytest.approx(volume) for volume in (32.0, 32.0, 27.0)]
    assert volumes[3] is None
    assert found.per_sample["n_elements"] == [2, 2, 1, None]
    assert found.units["wdist_density"] == "g/cm³"
    assert not found.intervals
    assert found.notes["compared_with"] == "truth (2 crystals)"


def test_the_truth_itself_is_at_no_distance() -> None:
    crystals = [_cubic(length, 55, 17) for length in np.linspace(3.8, 4.6, 9)]
    found = _measured([*crystals], crystals)
    for figure, value in found.summary.items():
        assert value == pytest.approx(0.0, abs=1e-7), figure
        low, high = found.intervals[figure]
        assert low <= value <= high


def test_the_report_shows_the_intervals() -> None:
    rng = np.random.default_rng(0)
    samples: list[Crystal | None] = [_cubic(length, 55, 17) for length in rng.normal(4.1, 0.1, 60)]
    truth = [_cubic(length, 55, 17) for length in rng.normal(4.3, 0.1, 60)]
    found = _measured(samples, truth)
    low, high = interval(found, "wdist_density") or (np.nan, np.nan)
    assert 0.0 < low < found.summary["wdist_density"] < high
    assert found.intervals == _measured(samples, truth).intervals
    few = _measured(samples[:10], truth[:10])
    assert np.ptp(few.intervals["wdist_density"]) > high - low


def test_the_interval_has_the_width_that_drawing_again_shows() -> None:
    rng = np.random.default_rng(1)

    def draw() -> tuple[np.ndarray, np.ndarray]:
        return rng.normal(0.0, 1.0, 200), rng.normal(2.0, 1.0, 300)

    again = [wasserstein_distance(*draw()) for _ in range(400)]
    one, other = draw()
    value, spread = with_interval(weighted_wasserstein(one, other), 200, 300, 500)
    assert value == pytest.approx(wasserstein_distance(one, other))
    assert spread is not None
    expected = np.ptp(np.quantile(again, [0.025, 0.975]))
    # Two estimates from 400 and 500 draws, and one bootstrap sample: a quarter.
    assert np.ptp(spread) == pytest.approx(expected, rel=0.25)


def test_weights_count_as_repetitions() -> None:
    rng = np.random.default_rng(2)
    one, other = rng.normal(size=12), rng.normal(size=9)
    repeats = rng.integers(0, 4, 12)
    found = weighted_wasserstein(one, other)(repeats.astype(float), np.ones(9))
    assert found == pytest.approx(wasserstein_distance(np.repeat(one, repeats), other))
    classes, others = np.eye(5)[rng.integers(0, 5, 12)], np.eye(5)[rng.integers(0, 5, 9)]
    found = weighted_jensen_shannon(classes, others)(repeats.astype(float), np.ones(9))
    expected = jensenshannon(np.repeat(classes, repeats, axis=0).sum(0), others.sum(0))
    assert found == pytest.approx(expected)


def test_without_a_truth_the_reference_is_compared_with_and_named() -> None:
    known = [_cubic(4.0, 55, 17), _cubic(5.0, 55, 35)]
    found = _measured([known[0]], None, reference=Reference(known, description="two halides"))
    assert found.notes["compared_with"] == "reference (two halides)"
    assert found.notes["compared_crystals"] == 2
    assert "needs truth" in _measured([known[0]], None).skipped


def test_only_samples_that_count_are_compared() -> None:
    crystals = [_cubic(4.0, 55, 17), _cubic(9.0, 84)]
    flags = Measurement(asked=2, per_sample={"valid": [True, False]})
    found = _measured([*crystals], crystals[:1], only="validity.valid", done={"validity": flags})
    assert found.summary["wdist_density"] == 0.0
    assert found.per_sample["density"][1] is None
    absent = _measured([*crystals], crystals, only="validity.best", done={"validity": flags})
    assert "no column 'best'" in absent.skipped


def test_strange_crystals_and_large_truths_are_survived() -> None:
    broken = Crystal(np.full((3, 3), np.nan), CSCL, np.array([55, 17]))
    truth = [_cubic(4.0 + 0.01 * i, 55, 17) for i in range(30)]
    found = _measured([broken, None, _cubic(4.1, 55, 17)], truth, most_compared=7)
    assert found.notes["compared_crystals"] == 7
    assert found.notes["over"] == "1 samples"
    nothing = _measured([broken, None], truth)
    assert set(nothing.summary.values()) == {None}
