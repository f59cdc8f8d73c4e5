"""Evaluator: energy above the hull."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from matgen.errors import OutsideHull
from matgen.evaluation.cohort import Cohort
from matgen.evaluation.columns import Cell, mean, median, numbers, padded, share
from matgen.records import Measurement
from matgen.roles.evaluator import Evaluator, Need


class Stability(Evaluator):
    """Energy above the hull of the relaxed samples, and the shares near and on it."""

    name = "stability"
    needs: ClassVar[frozenset[Need]] = frozenset({Need.RELAXED, Need.HULL})

    threshold_ev_per_atom: float = Field(default=0.1, ge=0)
    """Up to here a sample counts as stable, inclusive, eV/atom."""

    def measure(self, cohort: Cohort) -> Measurement:
        """Return the distance per sample; None without energy or outside the hull."""
        if cohort.relaxations is None:
            return Measurement(asked=cohort.asked, skipped="needs relaxed")
        if cohort.hull is None:
            return Measurement(asked=cohort.asked, skipped="needs hull")
        distances: list[Cell] = []
        reasons: list[Cell] = []
        for relaxation in cohort.relaxations:
            distance: float | None = None
            reason: str | None = None
            if relaxation.crystal is not None and relaxation.energy is not None:
                try:
                    distance = cohort.hull.distance(relaxation.crystal, relaxation.energy)
                except OutsideHull as error:
                    reason = str(error)
            distances.append(distance)
            reasons.append(reason)
        distances = padded(distances, cohort.asked)
        stable = _at_most(distances, self.threshold_ev_per_atom)
        on_hull = _at_most(distances, 0.0)
        return Measurement(
            asked=cohort.asked,
            per_sample={
                "energy_above_hull": distances,
                "stable": stable,
                "on_hull": on_hull,
                "hull_error": padded(reasons, cohort.asked),
            },
            summary={
                "stable": share(stable, cohort.asked),
                "on_hull": share(on_hull, cohort.asked),
                "energy_above_hull_mean": mean(distances),
                "energy_above_hull_median": median(distances),
            },
            units={
                "stable": "",
                "on_hull": "",
                "energy_above_hull": "eV/atom",
                "energy_above_hull_mean": "eV/atom",
                "energy_above_hull_median": "eV/atom",
            },
            notes={
                "threshold_ev_per_atom": self.threshold_ev_per_atom,
                "with_energy": len(numbers(distances)),
                "outside_hull": sum(reason is not None for reason in reasons),
            },
        )


def _at_most(distances: list[Cell], threshold: float) -> list[Cell]:
    return [
        None if distance is None else isinstance(distance, int | float) and distance <= threshold
        for distance in distances
    ]
