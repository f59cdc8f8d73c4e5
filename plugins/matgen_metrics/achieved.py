"""Evaluator: what was asked for against what the samples show."""

from __future__ import annotations

from typing import Final

from matgen.evaluation.cohort import Cohort
from matgen.evaluation.columns import Cell, mean, padded, share
from matgen.records import Crystal, Measurement, PropertyValue
from matgen.roles.condition import Condition
from matgen.roles.evaluator import Evaluator

_TOLERANCES_ANG: Final = (0.01, 0.1)
"""spglib's symprec: strict, and as MatterGen and Materium count."""
_NEAR: Final = 0.05
"""A number within this share of the request counts as reached."""


class Conditions(Evaluator):
    """For every requested condition that a structure shows: how close the samples come.

    Space groups are determined here, at two tolerances; energies and gaps need a calculation and
    are left out.
    """

    name = "achieved"

    def measure(self, cohort: Cohort) -> Measurement:
        """Return requested and achieved value, and the error, of each condition."""
        columns: dict[str, list[Cell]] = {}
        summary: dict[str, float | None] = {}
        units: dict[str, str] = {}
        notes: dict[str, str | float] = {}
        labels = dict.fromkeys(label for sample in cohort.samples for label in sample.requested)
        for label in labels:
            condition = cohort.conditions.get(label)
            if condition is None:
                notes[label] = "requested, but its condition is not among those given"
                continue
            requested = [sample.requested.get(label) for sample in cohort.samples]
            if _is_space_group(condition):
                self._space_group(cohort, label, requested, columns, summary)
            else:
                self._value(cohort, condition, requested, columns, summary, units, notes)
        if not labels:
            return Measurement(asked=cohort.asked, skipped="needs requested conditions")
        if not summary:
            told = "; ".join(f"{label}: {note}" for label, note in notes.items())
            return Measurement(asked=cohort.asked, notes=notes, skipped=told)
        return Measurement(
            asked=cohort.asked,
            per_sample=columns,
            summary=summary,
            units={**dict.fromkeys(summary, ""), **units},
            notes=notes,
        )

    def _value(
        self,
        cohort: Cohort,
        condition: Condition,
        requested: list[PropertyValue | None],
        columns: dict[str, list[Cell]],
        summary: dict[str, float | None],
        units: dict[str, str],
        notes: dict[str, str | float],
    ) -> None:
        label, asked = condition.label, cohort.asked
        achieved = [
            None if crystal is None else condition.achieved(crystal) for crystal in cohort.crystals
        ]
        if all(value is None for value in achieved):
            notes[label] = "a structure does not show it"
            return
        errors: list[Cell] = [
            None if want is None or got is None else condition.error(want, got)
            for want, got in zip(requested, achieved, strict=True)
        ]
        reached = padded(
            (_reached(want, error) for want, error in zip(requested, errors, strict=True)), asked
        )
        columns[f"{label}_requested"] = padded(requested, asked)
        columns[f"{label}_achieved"] = padded(achieved, asked)
        columns[f"{label}_error"] = padded(errors, asked)
        columns[f"{label}_reached"] = reached
        # A text is reached exactly or not at all; its mean error would say the same again.
        if not any(isinstance(value, str) for value in requested):
            summary[f"{label}_error_mean"] = mean(errors)
            units[f"{label}_error_mean"] = units[f"{label}_error"] = condition.measured_in
        summary[f"{label}_reached"] = share(reached, asked)
        units[f"{label}_requested"] = units[f"{label}_achieved"] = condition.measured_in
        notes[label] = f"reached: exact, or a number within {_NEAR:.0%}"

    def _space_group(
        self,
        cohort: Cohort,
        label: str,
        requested: list[PropertyValue | None],
        columns: dict[str, list[Cell]],
        summary: dict[str, float | None],
    ) -> None:
        columns[f"{label}_requested"] = padded(requested, cohort.asked)
        for symprec in _TOLERANCES_ANG:
            found = [None if c is None else space_group(c, symprec) for c in cohort.crystals]
            reached: list[Cell] = [
                None if want is None else got is not None and got == want
                for want, got in zip(requested, found, strict=True)
            ]
            columns[f"{label}_achieved_{symprec:g}"] = padded(found, cohort.asked)
            columns[f"{label}_reached_{symprec:g}"] = padded(reached, cohort.asked)
            summary[f"{label}_reached_{symprec:g}"] = share(reached, cohort.asked)


def space_group(crystal: Crystal, symprec_ang: float) -> int | None:
    """Return the space-group number at a tolerance, None where spglib finds none."""
    import spglib

    cell = (crystal.lattice.tolist(), crystal.frac.tolist(), crystal.numbers.tolist())
    try:
        found = spglib.get_symmetry_dataset(cell, symprec=symprec_ang)
    except spglib.SpglibError:
        return None
    return None if found is None else int(found.number)


def _is_space_group(condition: Condition) -> bool:
    return (condition.reads or condition.name) == "space_group"


def _reached(requested: PropertyValue | None, error: Cell) -> bool | None:
    if requested is None or not isinstance(error, int | float):
        return None
    if isinstance(requested, str):
        return error == 0
    return error <= _NEAR * abs(requested)
