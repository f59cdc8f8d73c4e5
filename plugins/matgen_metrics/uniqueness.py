"""Evaluator: samples that repeat no other one."""

from __future__ import annotations

from matgen.evaluation.cohort import Cohort
from matgen.evaluation.columns import padded, share
from matgen.evaluation.matching import Keep, unique_mask
from matgen.records import Measurement
from matgen_metrics.matched import MatchingEvaluator


class Uniqueness(MatchingEvaluator):
    """Share of samples that repeat no other one, by pymatgen's or MatterGen's matcher."""

    name = "uniqueness"

    keep: Keep = "first"
    """Which of a group of equal samples counts: first as MatterGen, last as LeMat-GenBench."""

    def measure(self, cohort: Cohort) -> Measurement:
        """Return the mask, and for each other sample which one it repeats."""
        chosen = self.chosen(cohort)
        if isinstance(chosen, str):
            return Measurement(asked=cohort.asked, skipped=chosen)
        crystals, geometry = chosen
        found = unique_mask(
            crystals,
            cohort.pool,
            self.tolerant(),
            keep=self.keep,
            pair_seconds=self.pair_seconds,
        )
        unique = padded(found.mask, cohort.asked)
        repeats = [
            None if partner is None else cohort.samples[partner].index for partner in found.partners
        ]
        notes = self.notes(geometry, n_timed_out=found.n_timed_out, n_failed=found.n_failed)
        return Measurement(
            asked=cohort.asked,
            per_sample={"unique": unique, "repeats": padded(repeats, cohort.asked)},
            summary={"unique": share(unique, cohort.asked)},
            units={"unique": "", "repeats": "index"},
            notes={**notes, "keep": self.keep},
        )
