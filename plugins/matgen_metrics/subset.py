"""Samples that count: all of them, or those for which another evaluator's column is true."""

from __future__ import annotations

from matgen.evaluation.cohort import Cohort
from matgen.records import Crystal


def evaluator_of(only: str) -> tuple[str, ...]:
    """Return the evaluator that a setting such as ``lemat_validity.valid`` waits for."""
    return (only.partition(".")[0],) if only else ()


def counted(cohort: Cohort, only: str) -> list[Crystal | None] | str:
    """Return the sampled crystals with None for each that does not count.

    Args:
        only: ``evaluator.column``; empty lets all count.

    Returns:
        As text, why they cannot be told.
    """
    if not only:
        return cohort.crystals
    evaluator, _, column = only.partition(".")
    found = cohort.done.get(evaluator)
    if found is None:
        return f"needs evaluator {evaluator}"
    if found.skipped:
        return f"{evaluator}: {found.skipped}"
    if column not in found.per_sample:
        return f"{evaluator} has no column {column!r}; it has {', '.join(found.per_sample)}"
    flags = found.per_sample[column]
    return [
        crystal if flags[index] is True else None for index, crystal in enumerate(cohort.crystals)
    ]
