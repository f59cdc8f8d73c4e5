"""Evaluator: how the relaxations went."""

from __future__ import annotations

from typing import ClassVar

from matgen.evaluation.cohort import Cohort
from matgen.evaluation.columns import Cell, mean, padded, share
from matgen.records import Measurement
from matgen.roles.evaluator import Evaluator, Need


class RelaxationSummary(Evaluator):
    """Share of samples that relaxed and converged, and what it took."""

    name = "relaxation"
    needs: ClassVar[frozenset[Need]] = frozenset({Need.RELAXED})

    def measure(self, cohort: Cohort) -> Measurement:
        """Return outcome, steps and energy gained per sample."""
        if cohort.relaxations is None:
            return Measurement(asked=cohort.asked, skipped="needs relaxed")
        done = cohort.relaxations
        gains: list[Cell] = []
        for relaxation in done:
            start, end = relaxation.initial_energy, relaxation.energy
            crystal = relaxation.crystal
            known = start is not None and end is not None and crystal is not None
            gains.append((start - end) / crystal.n_sites if known else None)  # type: ignore[operator,union-attr] # all present when known
        # Nobody says what relaxations that were made elsewhere took.
        ran = [r.crystal is not None and r.seconds > 0 for r in done]
        columns: dict[str, list[Cell]] = {
            "relaxed": padded((r.crystal is not None for r in done), cohort.asked),
            "converged": padded((r.converged for r in done), cohort.asked),
            "steps": padded(
                (r.n_steps if known else None for r, known in zip(done, ran, strict=True)),
                cohort.asked,
            ),
            "energy": padded((r.energy for r in done), cohort.asked),
            "energy_gain": padded(gains, cohort.asked),
            "seconds": padded(
                (r.seconds if known else None for r, known in zip(done, ran, strict=True)),
                cohort.asked,
            ),
            "relaxation_error": padded((r.error or None for r in done), cohort.asked),
        }
        return Measurement(
            asked=cohort.asked,
            per_sample=columns,
            summary={
                "relaxed": share(columns["relaxed"], cohort.asked),
                "converged": share(columns["converged"], cohort.asked),
                "steps_mean": mean(columns["steps"]),
                "energy_gain_mean": mean(columns["energy_gain"]),
                "seconds_mean": mean(columns["seconds"]),
            },
            units={
                "relaxed": "",
                "converged": "",
                "steps": "steps",
                "steps_mean": "steps",
                "energy": "eV",
                "energy_gain": "eV/atom",
                "energy_gain_mean": "eV/atom",
                "seconds": "s",
                "seconds_mean": "s",
            },
        )
