"""Evaluators that compare crystals: which samples count, what they are told to be, and rates."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from matgen.errors import BadOptions
from matgen.evaluation.cohort import Cohort
from matgen.evaluation.reference import Reference
from matgen.records import Crystal, Measurement, Record, Relaxation, Sample
from matgen_executors.local import LocalPool
from matgen_metrics.novelty import Novelty
from matgen_metrics.precision_recall import PrecisionRecall
from matgen_metrics.structure_prediction import StructurePrediction
from matgen_metrics.uniqueness import Uniqueness

CSCL = np.array([[0.0, 0, 0], [0.5, 0.5, 0.5]])


def _cell(numbers: tuple[int, int], lengths: Sequence[float] = (4.1, 4.1, 4.1)) -> Crystal:
    return Crystal(np.diag(lengths), CSCL, np.array(numbers))


SALT, BROMIDE = _cell((55, 17)), _cell((19, 35))
LONG = _cell((55, 17), (3.0, 3.0, 8.0))


def _cohort(
    crystals: Sequence[Crystal | None],
    *,
    valid: Sequence[bool | None] = (),
    relaxed: Sequence[Crystal | None] | None = None,
) -> Cohort:
    samples = [Sample(10 + index, crystal) for index, crystal in enumerate(crystals)]
    done = {"validity": Measurement(len(samples), per_sample={"valid": list(valid)})}
    relaxations = None if relaxed is None else [Relaxation(crystal) for crystal in relaxed]
    reference = Reference([BROMIDE, SALT], ids=["mp-1", "mp-2"])
    return Cohort(
        samples,
        len(samples) + 1,
        LocalPool(),
        relaxations=relaxations,
        reference=reference,
        done=done if valid else {},
    )


def test_the_first_or_the_last_of_equal_samples_is_unique() -> None:
    cohort = _cohort([SALT, LONG, SALT])
    first = Uniqueness().measure(cohort).per_sample
    assert first["unique"] == [True, True, False, None]
    assert first["repeats"] == [None, None, 10, None]
    last = Uniqueness(keep="last").measure(cohort).per_sample
    assert last["unique"] == [False, True, True, None]
    assert last["repeats"] == [12, None, None, None]


def test_what_is_not_new_is_told_by_its_id() -> None:
    found = Novelty().measure(_cohort([LONG, SALT, BROMIDE, None]))
    assert found.per_sample["novel"] == [True, False, False, None, None]
    assert found.per_sample["known_as"] == [None, "mp-2", "mp-1", None, None]
    assert found.summary["novel"] == 1 / 5


@pytest.mark.parametrize("evaluator", [Uniqueness, Novelty, PrecisionRecall])
def test_only_samples_that_count_are_compared(
    evaluator: type[Uniqueness | Novelty | PrecisionRecall],
) -> None:
    chosen = evaluator(only="validity.valid")
    assert chosen.waits_for() == ("validity",)
    found = chosen.measure(_cohort([SALT, SALT, LONG], valid=[False, True, None]))
    column = found.per_sample[
        {"uniqueness": "unique", "novelty": "novel"}.get(chosen.name, "in_reference")
    ]
    assert [value is None for value in column] == [True, False, True, True]
    assert "validity.valid" in str(found.notes["geometry"])


def test_a_column_that_is_not_there_is_a_row_that_says_so() -> None:
    assert Uniqueness(only="validity.valid").measure(_cohort([SALT])).skipped
    wrong = Novelty(only="validity.vlaid").measure(_cohort([SALT], valid=[True]))
    assert "vlaid" in wrong.skipped


def test_sampled_geometry_can_be_asked_for() -> None:
    cohort = _cohort([SALT, LONG], relaxed=[SALT, SALT])
    assert Uniqueness().measure(cohort).per_sample["unique"] == [True, False, None]
    sampled = Uniqueness(geometry="sampled").measure(cohort)
    assert sampled.per_sample["unique"] == [True, True, None]
    assert sampled.notes["geometry"] == "as sampled"


def test_the_matcher_decides_and_is_noted() -> None:
    swollen = Crystal(1.2 * SALT.lattice, SALT.frac, SALT.numbers)
    cohort = _cohort([SALT, swollen])
    assert Uniqueness().measure(cohort).summary["unique"] == 1 / 3
    strict = Uniqueness(matcher="ltol=0.1,scale=false").measure(cohort)
    assert strict.summary["unique"] == 2 / 3
    assert "ltol=0.1" in str(strict.notes["matcher"])
    with pytest.raises(BadOptions, match="known: ordered"):
        Uniqueness(matcher="odered")


def test_precision_and_recall_count_samples_and_reference() -> None:
    found = PrecisionRecall().measure(_cohort([SALT, SALT, LONG, _cell((11, 17))]))
    assert found.summary == {
        "precision": 2 / 5,
        "recall": 1 / 2,
        "unique_systems": 2 / 5,
        "novel_systems": 1 / 5,
    }


def _predicted(
    crystals: Sequence[Crystal | None], truths: Sequence[Crystal], k: int
) -> Measurement:
    samples = [Sample(index, crystal) for index, crystal in enumerate(crystals)]
    truth = [Record(str(index), crystal) for index, crystal in enumerate(truths)]
    cohort = Cohort(samples, len(truths) * k, LocalPool(), truth=truth, per_truth=k)
    return StructurePrediction().measure(cohort)


def test_a_truth_is_matched_by_any_of_its_own_predictions() -> None:
    # The second truth is only matched by a prediction of the first: METRe counts it.
    found = _predicted([LONG, SALT, None, _cell((11, 17))], [SALT, LONG], 2)
    assert found.per_sample["matches_truth"] == [False, True, False, False]
    assert found.summary["match_rate"] == 1 / 2
    assert found.summary["match_rate_at_1"] == 0
    assert found.summary["rmse_at_1"] is None
    assert found.summary["rmse"] == pytest.approx(0.0, abs=1e-9)
    assert found.summary["metre"] == 1.0
    assert found.summary["crmse"] == pytest.approx(0.0, abs=1e-9)


def test_an_unmatched_truth_costs_the_site_tolerance() -> None:
    found = _predicted([SALT, None], [SALT, BROMIDE], 1)
    assert found.summary["metre"] == 1 / 2
    assert found.summary["crmse"] == pytest.approx(0.25, abs=1e-9)
    assert "match_rate_at_1" not in found.summary


def test_predictions_that_never_came_count_against_the_rate() -> None:
    found = _predicted([SALT], [SALT, BROMIDE, SALT], 1)
    assert found.summary["match_rate"] == 1 / 3
    assert found.summary["metre"] == 2 / 3


def test_the_filtered_rate_asks_that_both_be_valid() -> None:
    # Sodium trichloride balances no charges; the unfiltered rate does not mind.
    sites = np.array([[0.0, 0, 0], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]])
    odd = Crystal(np.diag([5.0, 5.1, 5.2]), sites, np.array([11, 17, 17, 17]))
    found = _predicted([odd, SALT], [odd, SALT], 1)
    assert found.summary["match_rate"] == 1.0
    assert found.summary["match_rate_valid"] == 1 / 2


def test_a_matcher_without_distances_predicts_nothing() -> None:
    with pytest.raises(BadOptions, match="gives no distances"):
        StructurePrediction(matcher="disordered")
