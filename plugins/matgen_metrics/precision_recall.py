"""Evaluator: how far samples and a reference cover each other, as MatterGen counts."""

from __future__ import annotations

from typing import ClassVar

from matgen.evaluation.cohort import Cohort
from matgen.evaluation.columns import padded, share
from matgen.evaluation.matching import comparable, reference_matches
from matgen.records import Measurement
from matgen.roles.evaluator import Need
from matgen_metrics.matched import MatchingEvaluator


class PrecisionRecall(MatchingEvaluator):
    """Samples found in the reference, reference crystals found by samples, chemical systems.

    Source: MatterGen (microsoft/mattergen 1.0.3), ``evaluation/metrics/structure.py``: Precision,
    Recall, FracUniqueSystems, FracNovelSystems.
    Deviates: divides by the samples asked for, which MatterGen's ``structures`` are if none failed.
    """

    name = "precision_recall"
    needs: ClassVar[frozenset[Need]] = frozenset({Need.REFERENCE})

    def measure(self, cohort: Cohort) -> Measurement:
        """Return precision, recall, and shares of distinct and of distinct new systems."""
        reference = cohort.reference
        if reference is None:
            return Measurement(asked=cohort.asked, skipped="needs reference")
        chosen = self.chosen(cohort)
        if isinstance(chosen, str):
            return Measurement(asked=cohort.asked, skipped=chosen)
        crystals, geometry = chosen
        found = reference_matches(
            crystals, reference, cohort.pool, self.tolerant(), pair_seconds=self.pair_seconds
        )
        matched = padded(found.matched, cohort.asked)
        systems = {
            frozenset(crystal.numbers.tolist())
            for crystal in crystals
            if crystal is not None and comparable(crystal)
        }
        new = systems - reference.chemical_systems()
        asked = cohort.asked
        return Measurement(
            asked=asked,
            per_sample={"in_reference": matched},
            summary={
                "precision": share(matched, asked),
                "recall": len(found.rows) / len(reference) if len(reference) else None,
                "unique_systems": len(systems) / asked if asked else None,
                "novel_systems": len(new) / asked if asked else None,
            },
            units={
                "in_reference": "",
                "precision": "",
                "recall": "of reference",
                "unique_systems": "",
                "novel_systems": "",
            },
            notes={
                **self.notes(geometry, n_timed_out=found.n_timed_out, n_failed=found.n_failed),
                "reference": reference.description,
                "reference_crystals": len(reference),
                "reference_found": len(found.rows),
            },
        )
