"""Evaluator: how far the samples' distributions are from those of real crystals."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
from pydantic import Field

from matgen.elements import HEAVIEST
from matgen.evaluation.cohort import Cohort
from matgen.evaluation.columns import padded
from matgen.records import Measurement
from matgen.roles.evaluator import Evaluator
from matgen_metrics.descriptions import SYMPREC_ANG, Description, compared_with, described, fewer
from matgen_metrics.divergence import Floats
from matgen_metrics.resampling import (
    Weighted,
    weighted_jensen_shannon,
    weighted_wasserstein,
    with_interval,
)
from matgen_metrics.subset import counted, evaluator_of

_QUANTITIES: Final[dict[str, tuple[str, Callable[[Description], float]]]] = {
    "density": ("g/cm³", lambda d: d.density),
    "n_elements": ("elements", lambda d: len(d.counts)),
    "n_sites": ("sites", lambda d: d.n_sites),
    "volume_per_atom": ("Å³", lambda d: d.volume / d.n_sites),
}
"""Quantity to its unit, and how a crystal shows it."""


class Distributions(Evaluator):
    """Wasserstein distances of density and size, Jensen-Shannon distances of symmetry and elements.

    Between the samples and the truth, or the reference where no truth is given. Crystalite's W_rho
    and W_nary are ``wdist_density`` and ``wdist_n_elements``.
    """

    name = "distributions"
    cites = ("Xie et al., CDVAE, arXiv:2110.06197",)

    only: str = ""
    """EVALUATOR.COLUMN: only samples for which that column is true count; empty for all."""
    resamples: int = Field(default=500, ge=0)
    """Bootstrap draws of both sides for the intervals; 0 gives none."""
    most_compared: int = Field(default=20_000, ge=1)
    """Crystals of the truth or the reference that are looked at; more are subsampled."""

    def waits_for(self) -> tuple[str, ...]:
        """Return the evaluator that tells which samples count."""
        return evaluator_of(self.only)

    def measure(self, cohort: Cohort) -> Measurement:
        """Return the distances with their spread, as sampled."""
        crystals = counted(cohort, self.only)
        if isinstance(crystals, str):
            return Measurement(asked=cohort.asked, skipped=crystals)
        others = compared_with(cohort)
        if others is None:
            return Measurement(asked=cohort.asked, skipped="needs truth (or a reference)")
        rows = described(crystals, cohort.pool)
        ours = [row for row in rows if row is not None]
        known = described(fewer(others[0], self.most_compared), cohort.pool)
        theirs = [row for row in known if row is not None]
        summary: dict[str, float | None] = {}
        intervals: dict[str, tuple[float, float]] = {}
        for figure, (distance, sides) in _distances(ours, theirs).items():
            if not all(sides):
                summary[figure] = None
                continue
            value, spread = with_interval(distance, *sides, self.resamples)
            summary[figure] = value
            if spread is not None:
                intervals[figure] = spread
        columns = {
            name: padded((None if row is None else show(row) for row in rows), cohort.asked)
            for name, (_, show) in _QUANTITIES.items()
        }
        return Measurement(
            asked=cohort.asked,
            per_sample=columns,
            summary=summary,
            units={
                **dict.fromkeys(summary, "distance"),
                **{name: unit for name, (unit, _) in _QUANTITIES.items()},
                **{f"wdist_{name}": unit for name, (unit, _) in _QUANTITIES.items()},
            },
            intervals=intervals,
            notes={
                "geometry": "as sampled",
                "over": f"{len(ours)} samples",
                "only": self.only or "all",
                "compared_with": others[1],
                "compared_crystals": len(theirs),
                "symprec_ang": SYMPREC_ANG,
            },
        )


def _distances(
    ours: Sequence[Description], theirs: Sequence[Description]
) -> dict[str, tuple[Weighted, tuple[int, int]]]:
    """Return figure to distance and to how many crystals of either side have what it compares."""
    found: dict[str, tuple[Weighted, tuple[int, int]]] = {}
    for name, (_, show) in _QUANTITIES.items():
        one, other = (np.array([float(show(row)) for row in side]) for side in (ours, theirs))
        found[f"wdist_{name}"] = (weighted_wasserstein(one, other), (len(one), len(other)))
    for name, classes in (("space_group", _groups), ("elements", _elements)):
        first, second = classes(ours), classes(theirs)
        found[f"jsd_{name}"] = (
            weighted_jensen_shannon(first, second),
            (len(first), len(second)),
        )
    return found


def _groups(rows: Sequence[Description]) -> Floats:
    """(N, 230) one at the space group of each crystal that has one."""
    known = [row.space_group for row in rows if row.space_group is not None]
    return np.eye(230)[np.array(known, dtype=np.int64) - 1]


def _elements(rows: Sequence[Description]) -> Floats:
    """(N, 118) one at each element of each crystal."""
    found = np.zeros((len(rows), HEAVIEST))
    for row, crystal in zip(found, rows, strict=True):
        row[np.array(list(crystal.counts)) - 1] = 1.0
    return found
