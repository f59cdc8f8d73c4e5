"""Evaluator: samples that are not among the known crystals."""

from __future__ import annotations

from typing import ClassVar

from matgen.evaluation.cohort import Cohort
from matgen.evaluation.columns import padded, share
from matgen.evaluation.geometry import compared
from matgen.evaluation.matching import DEFAULT, novel_mask
from matgen.records import Measurement
from matgen.roles.evaluator import Evaluator, Need


class Novelty(Evaluator):
    """Share of samples that match no crystal of the reference."""

    name = "novelty"
    needs: ClassVar[frozenset[Need]] = frozenset({Need.REFERENCE})

    def measure(self, cohort: Cohort) -> Measurement:
        """Return the mask of samples unlike every known crystal."""
        if cohort.reference is None:
            return Measurement(asked=cohort.asked, skipped="needs reference")
        crystals, geometry = compared(cohort)
        novel = padded(novel_mask(crystals, cohort.reference, cohort.pool).mask, cohort.asked)
        return Measurement(
            asked=cohort.asked,
            per_sample={"novel": novel},
            summary={"novel": share(novel, cohort.asked)},
            units={"novel": ""},
            notes={
                "geometry": geometry,
                "matcher": str(DEFAULT),
                "reference": cohort.reference.description,
                "reference_crystals": len(cohort.reference),
                "reference_skipped": cohort.reference.n_skipped,
            },
        )
