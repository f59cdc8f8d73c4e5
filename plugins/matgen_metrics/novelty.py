"""Evaluator: samples that are not among the known crystals."""

from __future__ import annotations

from typing import ClassVar

from matgen.evaluation.cohort import Cohort
from matgen.evaluation.columns import padded, share
from matgen.evaluation.matching import novel_mask
from matgen.records import Measurement
from matgen.roles.evaluator import Need
from matgen_metrics.matched import MatchingEvaluator


class Novelty(MatchingEvaluator):
    """Share of samples that match no crystal of the reference."""

    name = "novelty"
    needs: ClassVar[frozenset[Need]] = frozenset({Need.REFERENCE})

    def measure(self, cohort: Cohort) -> Measurement:
        """Return the mask of samples unlike every known crystal, and what the others are known as.

        ``known_as`` is the id of the first match in the reference.
        """
        reference = cohort.reference
        if reference is None:
            return Measurement(asked=cohort.asked, skipped="needs reference")
        chosen = self.chosen(cohort)
        if isinstance(chosen, str):
            return Measurement(asked=cohort.asked, skipped=chosen)
        crystals, geometry = chosen
        found = novel_mask(
            crystals, reference, cohort.pool, self.tolerant(), pair_seconds=self.pair_seconds
        )
        novel = padded(found.mask, cohort.asked)
        known_as = [None if row is None else reference.identifier(row) for row in found.partners]
        return Measurement(
            asked=cohort.asked,
            per_sample={"novel": novel, "known_as": padded(known_as, cohort.asked)},
            summary={"novel": share(novel, cohort.asked)},
            units={"novel": "", "known_as": "id"},
            notes={
                **self.notes(geometry, n_timed_out=found.n_timed_out, n_failed=found.n_failed),
                "reference": reference.description,
                "reference_crystals": len(reference),
                "reference_skipped": reference.n_skipped,
            },
        )
