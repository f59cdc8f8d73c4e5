"""Evaluator: samples that are stable, unique and novel at once."""

from __future__ import annotations

from typing import ClassVar

from matgen.evaluation.cohort import Cohort
from matgen.evaluation.columns import both, share
from matgen.records import Measurement
from matgen.roles.evaluator import Evaluator, Need

_PARTS = {"stability": "stable", "uniqueness": "unique", "novelty": "novel"}
"""Evaluator to the column it is judged by."""


class Sun(Evaluator):
    """Share of the samples asked for that are stable, unique and novel (S.U.N.)."""

    name = "sun"
    needs: ClassVar[frozenset[Need]] = frozenset({Need.RELAXED, Need.HULL, Need.REFERENCE})
    after: ClassVar[tuple[str, ...]] = tuple(_PARTS)

    def measure(self, cohort: Cohort) -> Measurement:
        """Return where all three hold."""
        for evaluator in _PARTS:
            found = cohort.done.get(evaluator)
            if found is None:
                return Measurement(asked=cohort.asked, skipped=f"needs evaluator {evaluator}")
            if found.skipped:
                return Measurement(asked=cohort.asked, skipped=f"{evaluator}: {found.skipped}")
        sun = both(*(cohort.done[name].per_sample[column] for name, column in _PARTS.items()))
        return Measurement(
            asked=cohort.asked,
            per_sample={"sun": sun},
            summary={"sun": share(sun, cohort.asked)},
            units={"sun": ""},
            notes={
                "stable_at_ev_per_atom": cohort.done["stability"].notes["threshold_ev_per_atom"]
            },
        )
