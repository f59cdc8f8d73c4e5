"""Evaluator: distances of the samples' distributions as LeMat-GenBench takes them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Final

import numpy as np
from pydantic import Field

from matgen.evaluation.cohort import Cohort
from matgen.evaluation.columns import padded
from matgen.records import Measurement
from matgen.roles.evaluator import Evaluator
from matgen_metrics.descriptions import (
    SYMPREC_ANG,
    Description,
    compared_with,
    crystal_systems,
    described,
    element_counts,
    element_presence,
    fewer,
    space_groups,
)
from matgen_metrics.divergence import Floats, jensen_shannon, mean_discrepancy
from matgen_metrics.lemat_reference import Distributions, read_histograms, read_values
from matgen_metrics.subset import counted, evaluator_of

_SEED: Final = 0
"""The same crystals give the same subsample."""


class LematDistribution(Evaluator):
    """Jensen-Shannon distances and mean discrepancies of LeMat-GenBench.

    Compared with its own reference distributions where their files are given, else with the truth,
    else with the reference of the evaluation. Only then are the figures its leaderboard's.
    """

    name = "lemat_distribution"
    cites = ("LeMat-GenBench, arXiv:2512.04562",)

    only: str = "lemat_validity.valid"
    """Samples that count, as evaluator.column; empty for all. The benchmark drops invalid ones."""
    histograms: str = ""
    """Its file lematbulk_jsdistance_distributions.json; empty compares with the truth."""
    values: str = ""
    """Its values lematbulk_mmd_values_15k saved as .npz; empty compares with the truth."""
    most_values: int = Field(default=15_000, ge=1)
    """Larger sets are subsampled to this many, as the benchmark does for its discrepancies; a truth
    or reference that is compared with for its distances too."""

    def waits_for(self) -> tuple[str, ...]:
        """Return the evaluator that tells which samples count."""
        return evaluator_of(self.only)

    def measure(self, cohort: Cohort) -> Measurement:
        """Return the four distances, the three discrepancies and their means, as sampled."""
        crystals = counted(cohort, self.only)
        if isinstance(crystals, str):
            return Measurement(asked=cohort.asked, skipped=crystals)
        reference, names = self._reference(cohort)
        if reference is None:
            return Measurement(asked=cohort.asked, skipped="needs truth")
        rows = described(crystals, cohort.pool)
        found = _distributions([row for row in rows if row is not None])
        distances = {
            f"jsd_{name}": jensen_shannon(found.histograms[name], other)
            for name, other in reference.histograms.items()
        }
        discrepancies = {
            f"mmd_{name}": mean_discrepancy(
                self._fewer(found.values[name]), self._fewer(reference.values[name])
            )
            for name in reference.values
        }
        summary = {
            **distances,
            "jsd_mean": _mean(list(distances.values())),
            **discrepancies,
            "mmd_mean": _mean(list(discrepancies.values())),
        }
        columns = {
            "space_group": padded((r.space_group if r else None for r in rows), cohort.asked),
            "volume": padded((r.volume if r else None for r in rows), cohort.asked),
            "density": padded((r.density if r else None for r in rows), cohort.asked),
        }
        return Measurement(
            asked=cohort.asked,
            per_sample=columns,
            summary=summary,
            units={
                **dict.fromkeys(summary, "distance"),
                "space_group": "",
                "volume": "Å³",
                "density": "g/cm³",
            },
            notes={
                "geometry": "as sampled",
                "over": f"{sum(row is not None for row in rows)} samples",
                "only": self.only or "all",
                "symprec_ang": SYMPREC_ANG,
                "mmd": "biased, Gaussian, sigma 1 (Å³, g/cm³, sites per Å³)",
                **names,
            },
        )

    def _reference(self, cohort: Cohort) -> tuple[Distributions | None, dict[str, str | float]]:
        histograms = read_histograms(Path(self.histograms)) if self.histograms else None
        values = read_values(Path(self.values)) if self.values else None
        names: dict[str, str | float] = {}
        if histograms is None or values is None:
            others = compared_with(cohort)
            if others is None:
                return None, names
            # As many as the benchmark takes; space groups of a whole reference take minutes.
            known = described(fewer(others[0], self.most_values), cohort.pool)
            names["compared_crystals"] = len(known)
            own = _distributions([row for row in known if row is not None])
            names["jsd_compared_with"] = names["mmd_compared_with"] = others[1]
            histograms = own.histograms if histograms is None else histograms
            values = own.values if values is None else values
        if self.histograms:
            names["jsd_compared_with"] = Path(self.histograms).name
        if self.values:
            names["mmd_compared_with"] = Path(self.values).name
        return Distributions(histograms, values), names

    def _fewer(self, values: Floats) -> Floats:
        if len(values) <= self.most_values:
            return values
        return np.random.default_rng(_SEED).choice(values, self.most_values, replace=False)


def _distributions(rows: Sequence[Description]) -> Distributions:
    return Distributions(
        {
            "space_group": space_groups(rows),
            "crystal_system": crystal_systems(rows),
            "element_counts": element_counts(rows),
            "elements": element_presence(rows),
        },
        {
            "volume": np.array([row.volume for row in rows]),
            "density": np.array([row.density for row in rows]),
            "site_density": np.array([row.n_sites / row.volume for row in rows]),
        },
    )


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if known and len(known) == len(values) else None
