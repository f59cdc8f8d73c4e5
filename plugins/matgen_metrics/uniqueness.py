"""Evaluator: samples that repeat no earlier one."""

from __future__ import annotations

from matgen.evaluation.cohort import Cohort
from matgen.evaluation.columns import padded, share
from matgen.evaluation.geometry import compared
from matgen.evaluation.matching import DEFAULT, unique_mask
from matgen.records import Measurement
from matgen.roles.evaluator import Evaluator


class Uniqueness(Evaluator):
    """Share of samples that no earlier sample matches; the first of a group counts."""

    name = "uniqueness"

    def measure(self, cohort: Cohort) -> Measurement:
        """Return the mask of first occurrences."""
        crystals, geometry = compared(cohort)
        unique = padded(unique_mask(crystals, cohort.pool).mask, cohort.asked)
        return Measurement(
            asked=cohort.asked,
            per_sample={"unique": unique},
            summary={"unique": share(unique, cohort.asked)},
            units={"unique": ""},
            notes={"geometry": geometry, "matcher": str(DEFAULT)},
        )
