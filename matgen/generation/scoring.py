"""Scores for samplers that search: a column of an evaluator, over the samples of drafts."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, TypeAlias

from matgen.errors import BadOptions
from matgen.evaluation.cohort import Cohort
from matgen.records import Sample

if TYPE_CHECKING:
    from matgen.roles.condition import Condition
    from matgen.roles.evaluator import Evaluator
    from matgen.roles.executor import Pool

SampleScore: TypeAlias = Callable[[Sequence[Sample]], Sequence[float]]
"""Higher is better; what ``Reward.open`` gives is one."""


def evaluator_score(
    evaluator: Evaluator,
    column: str,
    pool: Pool,
    *,
    conditions: Mapping[str, Condition],
    sign: int = 1,
) -> SampleScore:
    """Return a score that is a column of an evaluator; what it cannot measure scores lowest.

    Args:
        evaluator: One that needs neither relaxation nor reference.
        column: Of its per-sample results; true counts 1, false 0.
        pool: Where the evaluator may spread its work.
        conditions: Label to condition, for evaluators that look at what was requested.
        sign: -1 where lower is better.

    Raises:
        BadOptions: the evaluator needs what is not there while sampling; or, when first called,
            it has no such column.
    """
    if evaluator.needs:
        raise BadOptions(
            f"--rank-by {evaluator.name}: it needs {', '.join(sorted(evaluator.needs))}, which "
            "sampling does not have; over-generate and rank with matgen evaluate"
        )

    def score(samples: Sequence[Sample]) -> list[float]:
        found = evaluator.measure(Cohort(samples, len(samples), pool, conditions=conditions))
        if column not in found.per_sample:
            told = found.skipped or f"it has the columns {', '.join(found.per_sample)}"
            raise BadOptions(f"--rank-by {evaluator.name}.{column}: {told}")
        return [_number(value, sign) for value in found.per_sample[column]]

    return score


def _number(value: float | str | None, sign: int) -> float:
    if value is None or isinstance(value, str) or not math.isfinite(value):
        return -math.inf
    return sign * float(value)
