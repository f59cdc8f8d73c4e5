"""Findings that more often mean a mistake than a discovery, told wherever a report is shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matgen.evaluation.columns import Cell
from matgen.evaluation.statuses import NO_CRYSTAL, NOT_RELAXED, NOT_SAMPLED
from matgen.records import Measurement


def suspicions(
    asked: int,
    statuses: Sequence[str],
    measurements: Mapping[str, Measurement],
    *,
    relaxed: bool,
    reference_crystals: int | None,
) -> list[str]:
    """Return what looks wrong with a whole evaluation, one sentence each; usually none.

    Args:
        asked: Samples asked for.
        statuses: One per sample asked for.
        measurements: Evaluator to what it found.
        relaxed: Whether relaxation was asked for.
        reference_crystals: Size of the reference that novelty was measured against, if any.
    """
    if not asked:
        return []
    with_crystal = sum(status not in {NO_CRYSTAL, NOT_SAMPLED} for status in statuses)
    if not with_crystal:
        return [f"None of the {asked} samples is a crystal; every rate is 0 and says nothing else."]
    said = []
    if _all_false(_column(measurements, "valid_structure")):
        said.append(
            f"Not one of the {with_crystal} crystals is a valid structure: look whether lattice "
            "vectors are rows in Å and coordinates are what the file says they are."
        )
    failed = sum(status.startswith(NOT_RELAXED) for status in statuses)
    survived = _column(measurements, "relaxed")
    if relaxed and (_all_false(survived) if survived else failed == with_crystal):
        said.append(
            f"Not one of the {with_crystal} crystals was relaxed; figures of relaxed crystals are "
            "0 or empty because of that. The column status says why."
        )
    novel, unique = _column(measurements, "novel"), _column(measurements, "unique")
    known = sum(value is False for value in novel)
    if known and not any(value is True for value in novel):
        different = sum(value is True for value in unique)
        if reference_crystals is not None and different == reference_crystals:
            said.append(
                f"The samples are the reference itself: {different} different crystals, all of "
                f"them among its {reference_crystals}. Were the right files compared?"
            )
        else:
            said.append(
                f"All {known} samples that could be compared are known crystals: a model that "
                "copies its training data, or a file of dataset crystals, looks like this."
            )
        stable = _column(measurements, "stable")
        if any(value is True for value in stable) and not any(value is False for value in stable):
            said.append(
                "Everything is stable and nothing is novel: dataset crystals look like this."
            )
    return said


def _column(measurements: Mapping[str, Measurement], name: str) -> list[Cell]:
    for measurement in measurements.values():
        if name in measurement.per_sample:
            return measurement.per_sample[name]
    return []


def _all_false(column: Sequence[Cell]) -> bool:
    """Return whether something was judged and nothing passed."""
    return any(value is False for value in column) and not any(value is True for value in column)
