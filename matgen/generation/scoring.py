"""Scores for samplers that search: a column of an evaluator, over decoded drafts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from matgen.errors import BadOptions, CrystalError
from matgen.evaluation.cohort import Cohort
from matgen.records import Draft, Sample

if TYPE_CHECKING:
    from matgen.roles.evaluator import Evaluator
    from matgen.roles.executor import Pool
    from matgen.roles.representation import Representation
    from matgen.roles.sampler import Score


def evaluator_score(
    evaluator: Evaluator, column: str, representation: Representation, pool: Pool, *, sign: int = 1
) -> Score:
    """Return a score that is a column of an evaluator; what it cannot measure scores lowest.

    Args:
        evaluator: One that needs neither relaxation nor reference.
        column: Of its per-sample results; true counts 1, false 0.
        representation: Decodes drafts.
        pool: Where the evaluator may spread its work.
        sign: -1 where lower is better.

    Raises:
        BadOptions: the evaluator needs what is not there while sampling.
    """
    if evaluator.needs:
        raise BadOptions(
            f"--rank-by {evaluator.name}: it needs {', '.join(sorted(evaluator.needs))}, which "
            "sampling does not have; over-generate and rank with matgen evaluate"
        )

    def score(drafts: Sequence[Draft]) -> list[float]:
        decoded = representation.decode_batch([draft.tokens for draft in drafts])
        samples = [
            Sample(draft.index, None if isinstance(crystal, CrystalError) else crystal)
            for draft, crystal in zip(drafts, decoded, strict=True)
        ]
        found = evaluator.measure(Cohort(samples, len(samples), pool)).per_sample
        if column not in found:
            raise BadOptions(
                f"--rank-by {evaluator.name}.{column}: it has the columns {', '.join(found)}"
            )
        return [_number(value, sign) for value in found[column]]

    return score


def _number(value: float | str | None, sign: int) -> float:
    if value is None or isinstance(value, str) or not math.isfinite(value):
        return -math.inf
    return sign * float(value)
