"""Evaluator: what was asked for against what the samples show."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Final

from pydantic import Field

from matgen.evaluation.cohort import Cohort
from matgen.evaluation.columns import Cell, mean, median, numbers, padded, share
from matgen.records import Crystal, Measurement, PropertyValue
from matgen.roles.condition import Condition
from matgen.roles.evaluator import Evaluator
from matgen_metrics.spglib_groups import space_group

_MEASURED: Final = {"energy_above_hull": ("stability", "energy_above_hull")}
"""Property to the evaluator and column that measure it, where the structure alone cannot tell."""


class Conditions(Evaluator):
    """For every requested condition: how close the samples come, and how many come close enough.

    What a structure shows (density, formula, elements, HHI) is taken as sampled; space groups are
    determined here at each tolerance, as sampled and, where relaxation ran, relaxed; the energy
    above the hull is the stability evaluator's. Band gaps and magnetism need a calculation and are
    left out with a note.
    """

    name = "achieved"
    after: ClassVar[tuple[str, ...]] = ("stability",)

    relative_tolerance: float = Field(default=0.05, ge=0)
    """A number within this share of the request counts as reached."""
    tolerances: dict[str, float] = Field(default={"energy_above_hull": 0.05})
    """Condition to how far off still counts as reached, in its own unit, in place of the share."""
    symprecs_ang: tuple[float, ...] = Field(default=(0.01, 0.1), min_length=1)
    """spglib's symprec, Å: 0.01 is strict, 0.1 is what MatterGen and Materium count with."""

    def measure(self, cohort: Cohort) -> Measurement:
        """Return requested and achieved value, and the error, of each condition."""
        found = _Found(cohort.asked)
        labels = dict.fromkeys(label for sample in cohort.samples for label in sample.requested)
        for label in labels:
            condition = cohort.conditions.get(label)
            if condition is None:
                found.notes[label] = "requested, but its condition is not among those given"
                continue
            requested = [sample.requested.get(label) for sample in cohort.samples]
            if (condition.reads or condition.name) == "space_group":
                self._space_groups(cohort, label, requested, found)
            else:
                self._values(cohort, condition, requested, found)
        if not labels:
            return Measurement(asked=cohort.asked, skipped="needs requested conditions")
        if not found.summary:
            told = "; ".join(f"{label}: {note}" for label, note in found.notes.items())
            return Measurement(asked=cohort.asked, notes=found.notes, skipped=told)
        return Measurement(
            asked=cohort.asked,
            per_sample=found.columns,
            summary=found.summary,
            units={**dict.fromkeys(found.summary, ""), **found.units},
            notes=found.notes,
        )

    def _values(
        self,
        cohort: Cohort,
        condition: Condition,
        requested: Sequence[PropertyValue | None],
        found: _Found,
    ) -> None:
        label = condition.label
        achieved, how = _achieved(cohort, condition)
        if all(value is None for value in achieved):
            found.notes[label] = how
            return
        errors: list[Cell] = [
            None if want is None or got is None else condition.error(want, got)
            for want, got in zip(requested, achieved, strict=True)
        ]
        reached = [self._reached(label, *pair) for pair in zip(requested, errors, strict=True)]
        found.add_column(f"{label}_requested", requested, condition.measured_in)
        found.add_column(f"{label}_achieved", achieved, condition.measured_in)
        found.add_column(f"{label}_error", errors, condition.measured_in)
        found.add_rate(f"{label}_reached", reached)
        # A text is reached exactly or not at all; its mean error would say the same again.
        if any(isinstance(value, str) for value in requested):
            found.notes[label] = f"{how}; reached: exactly"
            return
        found.add_column(f"{label}_deviation", _deviations(requested, achieved), "")
        found.units[f"{label}_deviation"] = condition.measured_in
        for figure, value in (
            (f"{label}_error_mean", mean(errors)),
            (f"{label}_error_median", median(errors)),
            (f"{label}_deviation_mean", mean(found.columns[f"{label}_deviation"])),
        ):
            found.summary[figure] = value
            found.units[figure] = condition.measured_in
        found.notes[label] = f"{how}; reached: within {self._told(condition)}"
        found.notes[f"{label}_measured"] = len(numbers(errors))

    def _space_groups(
        self,
        cohort: Cohort,
        label: str,
        requested: Sequence[PropertyValue | None],
        found: _Found,
    ) -> None:
        geometries: dict[str, Sequence[Crystal | None]] = {"": cohort.crystals}
        if cohort.relaxations is not None:
            geometries["_relaxed"] = [relaxation.crystal for relaxation in cohort.relaxations]
        found.add_column(f"{label}_requested", requested, "")
        for suffix, crystals in geometries.items():
            for symprec in self.symprecs_ang:
                groups = [None if c is None else space_group(c, symprec) for c in crystals]
                reached: list[Cell] = [
                    None if want is None else got is not None and got == want
                    for want, got in zip(requested, groups, strict=True)
                ]
                found.add_column(f"{label}_achieved{suffix}_{symprec:g}", groups, "")
                found.add_rate(f"{label}_reached{suffix}_{symprec:g}", reached)
        found.notes[label] = "spglib at the symprec (Å) in the figure's name"

    def _reached(self, label: str, requested: PropertyValue | None, error: Cell) -> bool | None:
        if requested is None or not isinstance(error, int | float):
            return None
        if isinstance(requested, str):
            return error == 0
        return error <= self.tolerances.get(label, self.relative_tolerance * abs(requested))

    def _told(self, condition: Condition) -> str:
        absolute = self.tolerances.get(condition.label)
        if absolute is None:
            return f"{self.relative_tolerance:.0%} of the request"
        return f"{absolute:g} {condition.measured_in}"


class _Found:
    """Columns and figures as they are found."""

    def __init__(self, asked: int) -> None:
        self._asked = asked
        self.columns: dict[str, list[Cell]] = {}
        self.summary: dict[str, float | None] = {}
        self.units: dict[str, str] = {}
        self.notes: dict[str, str | float] = {}

    def add_column(self, name: str, cells: Sequence[Cell], unit: str) -> None:
        """Add one value per sample."""
        self.columns[name] = padded(cells, self._asked)
        self.units[name] = unit

    def add_rate(self, name: str, flags: Sequence[Cell]) -> None:
        """Add flags, and their share of the samples asked for."""
        self.add_column(name, flags, "")
        self.summary[name] = share(flags, self._asked)


def _achieved(cohort: Cohort, condition: Condition) -> tuple[list[PropertyValue | None], str]:
    """Return what each sample shows, and how that is known (or why it is not)."""
    shown = [None if c is None else condition.achieved(c) for c in cohort.crystals]
    if any(value is not None for value in shown):
        return shown, "as sampled"
    measured = _MEASURED.get(condition.reads or condition.name)
    if measured is None:
        return shown, "a structure does not show it"
    evaluator, column = measured
    done = cohort.done.get(evaluator)
    if done is None or done.skipped:
        return shown, f"not measured: needs the evaluator {evaluator} with a potential and a hull"
    cells = done.per_sample[column][: len(cohort.samples)]
    return [float(cell) if isinstance(cell, int | float) else None for cell in cells], evaluator


def _deviations(
    requested: Sequence[PropertyValue | None], achieved: Sequence[PropertyValue | None]
) -> list[Cell]:
    """Return achieved less requested, None where either is missing."""
    return [
        None if want is None or got is None else float(got) - float(want)
        for want, got in zip(requested, achieved, strict=True)
    ]
