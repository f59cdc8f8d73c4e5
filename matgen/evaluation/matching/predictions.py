"""How close predictions come to the crystals that they predict."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final, TypeAlias

from matgen.evaluation.matching.candidate import Candidate
from matgen.evaluation.matching.comparing import PAIR_SECONDS, Comparisons
from matgen.evaluation.matching.keys import CompositionKey, comparable, composition_key
from matgen.evaluation.matching.matchers import OrderedMatcher
from matgen.records import Crystal

if TYPE_CHECKING:
    from matgen.roles.executor import Pool

_TRUTHS: Final = 16
"""True crystals of one formula that a worker takes at a time."""
_Task: TypeAlias = tuple[list[Crystal], list[Crystal], list[list[int]]]
"""True crystals, predictions, and for each of the first the positions of the second to compare."""


@dataclass(frozen=True)
class PredictionDistances:
    """Distances of predictions from true crystals.

    Attributes:
        rms: For each true crystal, position of a prediction that matches it to their root mean
            square distance, in units of (V/N)^(1/3).
        n_timed_out: Pairs that ran out of time; they count as different.
        n_failed: Pairs with a cell that pymatgen cannot reduce; they count as different.
    """

    rms: list[dict[int, float]]
    n_timed_out: int = 0
    n_failed: int = 0


def prediction_distances(
    truths: Sequence[Crystal],
    predictions: Sequence[Crystal | None],
    pool: Pool,
    matcher: OrderedMatcher,
    *,
    per_truth: int | None = None,
    pair_seconds: float = PAIR_SECONDS,
) -> PredictionDistances:
    """Return pymatgen's ``get_rms_dist(prediction, truth)`` of all pairs of one reduced formula.

    Args:
        truths: What was to be predicted.
        predictions: In their order; None where a sample failed.
        pool: Where formulas are worked through.
        matcher: With its tolerances.
        per_truth: Compare a true crystal only with its own so many predictions, those at positions
            ``i * per_truth`` to ``(i + 1) * per_truth - 1``; None compares with all.
        pair_seconds: Time limit for one pair, 0 for none; see ``time_limit``.
    """
    by_formula: dict[CompositionKey, list[int]] = defaultdict(list)
    for position, crystal in enumerate(predictions):
        if crystal is not None and comparable(crystal):
            by_formula[composition_key(crystal)].append(position)
    of_formula: dict[CompositionKey, list[int]] = defaultdict(list)
    for truth, crystal in enumerate(truths):
        if comparable(crystal):
            of_formula[composition_key(crystal)].append(truth)
    wanted = [
        (members[begin : begin + _TRUTHS], by_formula[key])
        for key, members in of_formula.items()
        if key in by_formula
        for begin in range(0, len(members), _TRUTHS)
    ]

    def tasks() -> Iterator[_Task]:
        for members, positions in wanted:
            crystals = [_present(predictions[position]) for position in positions]
            own = [_own(truth, positions, per_truth) for truth in members]
            yield [truths[truth] for truth in members], crystals, own

    rms: list[dict[int, float]] = [{} for _ in truths]
    n_timed_out = n_failed = 0
    found = pool.map(partial(_distances, matcher=matcher, seconds=pair_seconds), list(tasks()))
    for (members, positions), (distances, timed_out, failed) in zip(wanted, found, strict=True):
        n_timed_out, n_failed = n_timed_out + timed_out, n_failed + failed
        for truth, near in zip(members, distances, strict=True):
            rms[truth] = {positions[place]: value for place, value in near.items()}
    return PredictionDistances(rms, n_timed_out, n_failed)


def _own(truth: int, positions: Sequence[int], per_truth: int | None) -> list[int]:
    """Return the places, among the positions of predictions, that a true crystal is compared to."""
    if per_truth is None:
        return list(range(len(positions)))
    return [place for place, at in enumerate(positions) if at // per_truth == truth]


def _distances(
    task: _Task, matcher: OrderedMatcher, seconds: float
) -> tuple[list[dict[int, float]], int, int]:
    truths, predictions, wanted = task
    comparisons = Comparisons(matcher, seconds)
    candidates = [Candidate(crystal) for crystal in predictions]
    distances = []
    for crystal, places in zip(truths, wanted, strict=True):
        truth = Candidate(crystal)
        near = {}
        for place in places:
            found = comparisons.closest(candidates[place], truth)
            if found is not None:
                near[place] = found.rms
        distances.append(near)
    return distances, comparisons.n_timed_out, comparisons.n_failed


def _present(crystal: Crystal | None) -> Crystal:
    assert crystal is not None
    return crystal
