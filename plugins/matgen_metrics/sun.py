"""Evaluator: samples that are unique and novel, and stable or metastable as well."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from matgen.evaluation.cohort import Cohort
from matgen.evaluation.columns import Cell, both, share
from matgen.records import Measurement
from matgen.roles.evaluator import Evaluator, Need

_PARTS = {"uniqueness": "unique", "novelty": "novel"}
"""Evaluator to the column it is judged by."""


class Sun(Evaluator):
    """Shares of the samples asked for that are stable, unique and novel (S.U.N.).

    ``sun`` takes the threshold of the stability evaluator; ``msun`` counts what is above the hull,
    but by no more than ``metastable_ev_per_atom`` (LeMat-GenBench's M.S.U.N., disjoint from
    S.U.N. on the hull). Without energies only ``unique_novel`` is given.
    """

    name = "sun"
    needs: ClassVar[frozenset[Need]] = frozenset({Need.REFERENCE})
    after: ClassVar[tuple[str, ...]] = (*_PARTS, "stability")

    metastable_ev_per_atom: float = Field(default=0.1, gt=0)
    """Up to here above the hull a sample counts as metastable, inclusive, eV/atom."""

    def measure(self, cohort: Cohort) -> Measurement:
        """Return where all of them hold."""
        for evaluator in _PARTS:
            found = cohort.done.get(evaluator)
            if found is None:
                return Measurement(asked=cohort.asked, skipped=f"needs evaluator {evaluator}")
            if found.skipped:
                return Measurement(asked=cohort.asked, skipped=f"{evaluator}: {found.skipped}")
        parts = [cohort.done[name].per_sample[column] for name, column in _PARTS.items()]
        columns = {"unique_novel": both(*parts)}
        notes: dict[str, str | float] = {}
        stability = cohort.done.get("stability")
        if stability is None or stability.skipped:
            reason = "needs evaluator stability" if stability is None else stability.skipped
            notes["sun"] = f"not measured: {reason}"
        else:
            distances = stability.per_sample["energy_above_hull"]
            columns["sun"] = both(stability.per_sample["stable"], *parts)
            columns["msun"] = both([self._metastable(cell) for cell in distances], *parts)
            notes["stable_at_ev_per_atom"] = stability.notes["threshold_ev_per_atom"]
            notes["metastable_at_ev_per_atom"] = self.metastable_ev_per_atom
        return Measurement(
            asked=cohort.asked,
            per_sample=columns,
            summary={name: share(column, cohort.asked) for name, column in columns.items()},
            units=dict.fromkeys(columns, ""),
            notes=notes,
        )

    def _metastable(self, distance: Cell) -> bool | None:
        if not isinstance(distance, int | float):
            return None
        return 0.0 < distance <= self.metastable_ev_per_atom
