"""Evaluator: how far relaxation moved the samples."""

from __future__ import annotations

from typing import ClassVar

from matgen.evaluation.cohort import Cohort
from matgen.evaluation.columns import mean, median, numbers, padded, share
from matgen.evaluation.intervals import bootstrap
from matgen.evaluation.matching import DEFAULT, RMSD, Displacement, match_and_rmsd
from matgen.records import Crystal, Measurement
from matgen.roles.evaluator import Evaluator, Need


class MatchRate(Evaluator):
    """Share of samples that relaxation leaves the same crystal, and their displacement in Å."""

    name = "match_rate"
    needs: ClassVar[frozenset[Need]] = frozenset({Need.RELAXED})

    def measure(self, cohort: Cohort) -> Measurement:
        """Return match and displacement per sample; those without a mapping count with the cap."""
        if cohort.relaxations is None:
            return Measurement(asked=cohort.asked, skipped="needs relaxed")
        pairs: dict[int, tuple[Crystal, Crystal]] = {}
        for index, relaxation in enumerate(cohort.relaxations):
            sampled = cohort.samples[index].crystal
            if sampled is not None and relaxation.crystal is not None:
                pairs[index] = (sampled, relaxation.crystal)
        found = dict(zip(pairs, cohort.pool.map(_displacement, list(pairs.values())), strict=True))
        rows = [found.get(index) for index in range(len(cohort.samples))]
        matches = padded((None if r is None else r.matches for r in rows), cohort.asked)
        rmsd = padded((None if r is None else r.rmsd_ang for r in rows), cohort.asked)
        mapped = [r.rmsd_ang if r is not None and r.mapped else None for r in rows]
        spread = bootstrap(numbers(mapped), "mean")
        return Measurement(
            asked=cohort.asked,
            per_sample={"matches_relaxed": matches, "rmsd": rmsd},
            summary={
                "matches_relaxed": share(matches, cohort.asked),
                "rmsd_mean": mean(rmsd),
                "rmsd_median": median(rmsd),
                "rmsd_mapped_mean": mean(mapped),
            },
            units={
                "matches_relaxed": "",
                "rmsd": "Å",
                "rmsd_mean": "Å",
                "rmsd_median": "Å",
                "rmsd_mapped_mean": "Å",
            },
            intervals={} if spread is None else {"rmsd_mapped_mean": spread},
            notes={
                "matcher": str(DEFAULT),
                "rmsd_matcher": str(RMSD),
                "rmsd_over": sum(value is not None for value in rmsd),
                "rmsd_without_mapping": sum(r is not None and not r.mapped for r in rows),
            },
        )


def _displacement(pair: tuple[Crystal, Crystal]) -> Displacement:
    return match_and_rmsd(*pair)
