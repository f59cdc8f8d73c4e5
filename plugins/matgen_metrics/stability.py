"""Evaluator: energy above the hull."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Final

from pydantic import Field

from matgen.errors import OutsideHull
from matgen.evaluation.cohort import Cohort
from matgen.evaluation.columns import Cell, mean, median, numbers, padded, share
from matgen.records import Measurement, Relaxation
from matgen.roles.evaluator import Evaluator, Need
from matgen.roles.hull import Calibration, Hull

_OF_CALIBRATION: Final = "of calibration"
"""Unit of rates that divide by crystals of the calibration, not by samples asked for."""


class Stability(Evaluator):
    """Energy above the hull of the relaxed samples, and the shares near and on it.

    Beside it stands how far to trust these figures: which hull, whether energies were corrected,
    and how this potential's distances from this hull compare with DFT's on crystals that it was
    not trained on.
    """

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
        found, reasons = _distances(cohort.hull, cohort.relaxations)
        distances = padded(found, cohort.asked)
        own = padded(_own_distances(cohort.hull, cohort.relaxations), cohort.asked)
        stable = _at_most(distances, self.threshold_ev_per_atom)
        on_hull = _at_most(distances, 0.0)
        calibration = cohort.hull.calibration()
        told, units = _calibration_figures(calibration)
        return Measurement(
            asked=cohort.asked,
            per_sample={
                "energy_above_hull": distances,
                "energy_above_own_hull": own,
                "stable": stable,
                "on_hull": on_hull,
                "hull_error": padded(reasons, cohort.asked),
            },
            summary={
                "stable": share(stable, cohort.asked),
                "on_hull": share(on_hull, cohort.asked),
                "energy_above_hull_mean": mean(distances),
                "energy_above_hull_median": median(distances),
                **told,
            },
            units={
                "stable": "",
                "on_hull": "",
                "energy_above_hull": "eV/atom",
                "energy_above_own_hull": "eV/atom",
                "energy_above_hull_mean": "eV/atom",
                "energy_above_hull_median": "eV/atom",
                **units,
            },
            notes={
                "threshold_ev_per_atom": self.threshold_ev_per_atom,
                "with_energy": len(numbers(distances)),
                "outside_hull": sum(reason is not None for reason in reasons),
                **cohort.hull.notes(),
                "calibration": _calibration_text(calibration),
            },
        )


def _distances(hull: Hull, relaxations: Sequence[Relaxation]) -> tuple[list[Cell], list[Cell]]:
    """Return the distance of each relaxed crystal, or why it has none."""
    distances: list[Cell] = []
    reasons: list[Cell] = []
    for relaxation in relaxations:
        distance: float | None = None
        reason: str | None = None
        if relaxation.crystal is not None and relaxation.energy is not None:
            try:
                distance = hull.distance(relaxation.crystal, relaxation.energy)
            except OutsideHull as error:
                reason = str(error)
        distances.append(distance)
        reasons.append(reason)
    return distances, reasons


def _own_distances(hull: Hull, relaxations: Sequence[Relaxation]) -> list[Cell]:
    """Return the distances from the hull that the samples of each system make themselves."""
    crystals, energies, rows = [], [], []
    for row, relaxation in enumerate(relaxations):
        if relaxation.crystal is not None and relaxation.energy is not None:
            crystals.append(relaxation.crystal)
            energies.append(relaxation.energy)
            rows.append(row)
    column: list[Cell] = [None] * len(relaxations)
    for row, distance in zip(rows, hull.own_distances(crystals, energies) or [], strict=False):
        column[row] = distance
    return column


def _calibration_figures(
    calibration: Calibration | None,
) -> tuple[dict[str, float | None], dict[str, str]]:
    """Return bias, error, precision and recall of a potential on a hull, and their units."""
    if calibration is None:
        return {}, {}
    figures: dict[str, float | None] = {
        "calibration_bias": calibration.bias_ev_per_atom,
        "calibration_mae": calibration.mae_ev_per_atom,
    }
    units = dict.fromkeys(figures, "eV/atom")
    for calls in calibration.stable:
        for name, value in (("precision", calls.precision), ("recall", calls.recall)):
            title = f"calibration_{name}_at_{calls.threshold_ev_per_atom:g}"
            figures[title] = value
            units[title] = _OF_CALIBRATION
    return figures, units


def _calibration_text(calibration: Calibration | None) -> str:
    if calibration is None:
        return "no calibration known for this pair of potential and hull"
    counts = "; ".join(
        f"at {calls.threshold_ev_per_atom:g} eV/atom {calls.n_true} stable by DFT, "
        f"{calls.n_called} called stable, {calls.n_both} both"
        for calls in calibration.stable
    )
    return f"{calibration.n} crystals out of sample, {calibration.crystals}; {counts}"


def _at_most(distances: list[Cell], threshold: float) -> list[Cell]:
    return [
        None if distance is None else isinstance(distance, int | float) and distance <= threshold
        for distance in distances
    ]
