"""What evaluators that compare crystals have in common: settings, choice of samples, notes."""

from __future__ import annotations

from pydantic import Field, field_validator

from matgen.evaluation.cohort import Cohort
from matgen.evaluation.geometry import Geometry, compared
from matgen.evaluation.matching import PAIR_SECONDS, Matcher, described, matcher_named
from matgen.records import Crystal
from matgen.roles.evaluator import Evaluator
from matgen_metrics.subset import counted, evaluator_of


class MatchingEvaluator(Evaluator):
    """Compares samples with a matcher that is chosen by name."""

    matcher: str = "ordered"
    """ordered, disordered, lemat, cdvae, matbench, flowmm, or tolerances such as
    ``ltol=0.2,stol=0.3,angle_tol=5``."""
    geometry: Geometry = "auto"
    """auto compares relaxed crystals where relaxation ran, sampled those that were submitted."""
    only: str = ""
    """EVALUATOR.COLUMN: only samples for which that column is true count, as
    ``lemat_validity.valid``; the others have no value, and rates still divide by all."""
    pair_seconds: float = Field(default=PAIR_SECONDS, ge=0)
    """Processor time for one pair, seconds; pairs without an answer count as different. 0: no
    limit."""

    @field_validator("matcher")
    @classmethod
    def _known(cls, matcher: str) -> str:
        matcher_named(matcher)
        return matcher

    def waits_for(self) -> tuple[str, ...]:
        """Return the evaluator whose column says which samples count."""
        return (*self.after, *evaluator_of(self.only))

    def tolerant(self) -> Matcher:
        """Return the matcher."""
        return matcher_named(self.matcher)

    def chosen(self, cohort: Cohort) -> tuple[list[Crystal | None], str] | str:
        """Return the crystals to compare and their geometry; as text, why there are none."""
        crystals, geometry = compared(cohort, self.geometry)
        counting = counted(cohort, self.only)
        if isinstance(counting, str):
            return counting
        if not self.only:
            return crystals, geometry
        kept = [
            None if counts is None else crystal
            for crystal, counts in zip(crystals, counting, strict=True)
        ]
        return kept, f"{geometry}, only where {self.only}"

    def notes(self, geometry: str, *, n_timed_out: int, n_failed: int) -> dict[str, str | float]:
        """Return what a reader needs to know about the comparison."""
        return {
            "geometry": geometry,
            "matcher": described(self.matcher),
            "pairs_out_of_time": n_timed_out,
            "pairs_not_reducible": n_failed,
        }
