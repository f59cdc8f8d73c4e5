"""Evaluator: crystal structure prediction, match rate and RMSE at k samples for each truth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import ClassVar

import numpy as np
from pydantic import Field, field_validator

from matgen.errors import BadOptions
from matgen.evaluation.cohort import Cohort
from matgen.evaluation.columns import padded
from matgen.evaluation.geometry import Geometry, compared
from matgen.evaluation.intervals import bootstrap, wilson
from matgen.evaluation.matching import (
    PAIR_SECONDS,
    OrderedMatcher,
    described,
    matcher_named,
    prediction_distances,
)
from matgen.records import Crystal, Measurement
from matgen.roles.evaluator import Evaluator, Need
from matgen_metrics.charge_balance import OxidationTable, balanced
from matgen_metrics.validity import Validity

_OF_TRUTH = "of truth"
_LENGTH = "(V/N)^(1/3)"
_FLATTEST = 1e-3
"""V/(abc) below which METRe leaves a prediction out."""


class StructurePrediction(Evaluator):
    """Share of true crystals that any of their k predictions matches, and how closely.

    Unfiltered, as OMatG prints it first; filtered, as DiffCSP, where both prediction and truth must
    be valid; and METRe with cRMSE, where a true crystal is compared with all predictions of its
    composition and an unmatched one counts with the site tolerance.

    Source: CDVAE ``scripts/compute_metrics.py`` and DiffCSP; METRe: Betala et al.,
    arXiv:2509.12178, as in OMatG ``omg/analysis/analysis.py``.
    Deviates: CDVAE also calls a crystal invalid of which matminer makes no fingerprint.
    """

    name = "csp"
    needs: ClassVar[frozenset[Need]] = frozenset({Need.TRUTH})
    cites = (
        "Xie et al., CDVAE, arXiv:2110.06197",
        "Jiao et al., DiffCSP, arXiv:2309.04475",
        "Betala et al., METRe, arXiv:2509.12178",
    )

    matcher: str = "cdvae"
    """Any ordered matcher: cdvae, ordered, matbench, or tolerances as
    ``ltol=0.3,stol=0.5,angle_tol=10``."""
    geometry: Geometry = "sampled"
    """sampled compares what was predicted, auto relaxed crystals where relaxation ran."""
    oxidation_table: OxidationTable = "smact14"
    """Oxidation states for the validity of the filtered figures."""
    pair_seconds: float = Field(default=PAIR_SECONDS, ge=0)
    """Processor time for one pair, seconds; pairs without an answer count as different. 0: no
    limit."""

    @field_validator("matcher")
    @classmethod
    def _has_distances(cls, matcher: str) -> str:
        if not isinstance(matcher_named(matcher), OrderedMatcher):
            raise BadOptions(f"csp: the matcher {matcher!r} gives no distances; choose cdvae")
        return matcher

    def measure(self, cohort: Cohort) -> Measurement:
        """Return rates over the true crystals, and for each sample whether it matches its own."""
        if cohort.truth is None:
            return Measurement(asked=cohort.asked, skipped="needs truth")
        truths = [record.crystal for record in cohort.truth]
        if not truths:
            return Measurement(asked=cohort.asked, skipped="the truth is empty")
        crystals, geometry = compared(cohort, self.geometry)
        matcher = matcher_named(self.matcher)
        assert isinstance(matcher, OrderedMatcher)
        found = prediction_distances(
            truths, crystals, cohort.pool, matcher, pair_seconds=self.pair_seconds
        )
        k = cohort.per_truth
        own = [_own(near, truth, k) for truth, near in enumerate(found.rms)]
        valid = [self._valid(crystal) for crystal in crystals]
        both_valid = [
            {at: rms for at, rms in near.items() if valid[at]} if self._valid(crystal) else {}
            for near, crystal in zip(own, truths, strict=True)
        ]
        plausible = [crystal is not None and _plausible(crystal) for crystal in crystals]
        near_any = [
            {at: rms for at, rms in near.items() if plausible[at]} if _plausible(crystal) else {}
            for near, crystal in zip(found.rms, truths, strict=True)
        ]
        figures = _Figures()
        figures.add_rates(own, "match_rate", "rmse")
        figures.add_rates(both_valid, "match_rate_valid", "rmse_valid")
        if k > 1:
            first = [_own(near, truth, k, taken=1) for truth, near in enumerate(found.rms)]
            figures.add_rates(first, "match_rate_at_1", "rmse_at_1")
        figures.add_rates(near_any, "metre", "metre_rmse")
        site = matcher.tolerances.site
        figures.add_mean("crmse", [min(near.values(), default=site) for near in near_any])
        summary = figures.summary
        columns = self._columns(own, len(crystals), len(truths) * k)
        return Measurement(
            asked=cohort.asked,
            per_sample={name: padded(column, cohort.asked) for name, column in columns.items()},
            summary=summary,
            units={
                **{name: _LENGTH if "rms" in name else _OF_TRUTH for name in summary},
                "matches_truth": "",
                "rms": _LENGTH,
            },
            intervals=figures.intervals,
            notes={
                "geometry": geometry,
                "matcher": described(self.matcher),
                "predictions_for_each": k,
                "truths": len(truths),
                "oxidation_table": self.oxidation_table,
                "pairs_out_of_time": found.n_timed_out,
                "pairs_not_reducible": found.n_failed,
            },
        )

    def _columns(
        self, own: Sequence[Mapping[int, float]], n_samples: int, n_predictions: int
    ) -> dict[str, list[float | str | bool | None]]:
        rms = {at: value for near in own for at, value in near.items()}
        return {
            "matches_truth": [at in rms if at < n_predictions else None for at in range(n_samples)],
            "rms": [rms.get(at) for at in range(n_samples)],
        }

    def _valid(self, crystal: Crystal | None) -> bool:
        if crystal is None or not Validity().structurally_valid(crystal):
            return False
        numbers, counts = np.unique(crystal.numbers, return_counts=True)
        formula = dict(zip(numbers.tolist(), counts.tolist(), strict=True))
        return balanced(formula, self.oxidation_table) is True


def _own(
    near: Mapping[int, float], truth: int, per_truth: int, *, taken: int | None = None
) -> dict[int, float]:
    """Return what the predictions of a true crystal itself, or the first of them, reach."""
    begin = truth * per_truth
    end = begin + (per_truth if taken is None else taken)
    return {at: rms for at, rms in near.items() if begin <= at < end}


class _Figures:
    """Figures over the true crystals, with their intervals: true crystals are what is drawn."""

    def __init__(self) -> None:
        self.summary: dict[str, float | None] = {}
        self.intervals: dict[str, tuple[float, float]] = {}

    def add_rates(self, near: Sequence[Mapping[int, float]], rate: str, rms: str) -> None:
        """Add the share of true crystals that are matched, and the mean of their best distances."""
        best = [min(distances.values()) for distances in near if distances]
        self.summary[rate] = len(best) / len(near)
        self.intervals[rate] = wilson(len(best), len(near))
        self.add_mean(rms, best)

    def add_mean(self, figure: str, distances: Sequence[float]) -> None:
        """Add a mean of distances, None where there are none."""
        self.summary[figure] = fmean(distances) if distances else None
        spread = bootstrap(distances, "mean")
        if spread is not None:
            self.intervals[figure] = spread


def _plausible(crystal: Crystal) -> bool:
    """METRe's quick test: no sites within 0.5 Å, more than 0.1 Å³, not flat."""
    if not Validity().structurally_valid(crystal):
        return False
    lengths = np.linalg.norm(crystal.lattice, axis=1)
    return bool(crystal.volume > 0.1 and crystal.volume / lengths.prod() >= _FLATTEST)
