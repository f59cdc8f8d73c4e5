"""Evaluator: the generation metrics of CDVAE."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Final, Literal

import numpy as np
from pydantic import Field

from matgen.crystal.properties import density
from matgen.evaluation.cohort import Cohort
from matgen.evaluation.columns import Cell, padded, share
from matgen.evaluation.intervals import wilson
from matgen.records import Crystal, Measurement
from matgen.roles.evaluator import Evaluator, Need
from matgen_metrics.charge_balance import balanced
from matgen_metrics.divergence import Floats
from matgen_metrics.fingerprint_store import fingerprints
from matgen_metrics.fingerprints import N_FEATURES, Failure
from matgen_metrics.magpie import N_FEATURES as N_COMPOSITION_FEATURES
from matgen_metrics.magpie import composition_fingerprint, standardised
from matgen_metrics.nearest import mean_pairwise, nearest_distances
from matgen_metrics.resampling import weighted_wasserstein, with_interval
from matgen_metrics.validity import Validity

_CUTOFFS: Final[Mapping[str, tuple[float, float]]] = {
    "mp20": (0.4, 10.0),
    "perov": (0.2, 4.0),
    "carbon": (0.2, 4.0),
}
"""Data set to the structure and the composition distance up to which a crystal is covered."""
_RESAMPLES: Final = 500
"""Bootstrap draws for the intervals of the Wasserstein distances."""


class Coverage(Evaluator):
    """CDVAE's validity, COV-R and COV-P, AMSD and AMCD, diversity, and Wasserstein distances."""

    name = "coverage"
    cites = ("Xie et al., CDVAE, arXiv:2110.06197",)
    needs: ClassVar[frozenset[Need]] = frozenset({Need.TRUTH})

    cutoffs: Literal["mp20", "perov", "carbon"] = "mp20"
    """Whose distances count as covered: 0.4 and 10 for mp20, 0.2 and 4 for the others."""
    subsample: int = Field(default=0, ge=0)
    """Valid samples that diversity and Wasserstein distances are taken over; 0 for all. CDVAE draws
    1,000, without a seed."""
    subsample_seed: int = Field(default=0, ge=0)
    """Which of them are drawn."""
    seconds_per_crystal: float = Field(default=120.0, gt=0)
    """Processor time after which a crystal has no fingerprint; CDVAE has no limit."""
    kept_fingerprints: str = ""
    """File (.npz) to keep structure fingerprints in, so that the truth's are computed once; empty
    keeps none."""

    def measure(self, cohort: Cohort) -> Measurement:
        """Return CDVAE's metrics, as sampled, over all samples that were asked for."""
        if cohort.truth is None:
            return Measurement(asked=cohort.asked, skipped="needs truth")
        asked, truth = cohort.asked, [record.crystal for record in cohort.truth]
        n_samples = len(cohort.samples)
        found = fingerprints(
            [*cohort.crystals, *truth],
            cohort.pool,
            seconds=self.seconds_per_crystal,
            kept=Path(self.kept_fingerprints) if self.kept_fingerprints else None,
        )
        samples = [_Row.of(c, f) for c, f in zip(cohort.crystals, found[:n_samples], strict=True)]
        truths = [_Row.of(c, f) for c, f in zip(truth, found[n_samples:], strict=True)]
        flags: dict[str, list[Cell]] = {
            "comp_valid": padded((row.comp_valid for row in samples), asked),
            "struct_valid": padded((row.struct_valid for row in samples), asked),
            "valid": padded((row.valid for row in samples), asked),
        }
        columns, distances = self._coverage(samples, truths, asked)
        flags["cov_precision"] = columns.pop("cov_precision")
        spread, intervals = self._spread(
            [row for row in samples if row.valid], [row for row in truths if row.struct_valid]
        )
        summary = {
            **{name: share(column, asked) for name, column in flags.items()},
            **distances,
            **spread,
        }
        if distances["cov_recall"] is not None:
            n_covered = round(distances["cov_recall"] * len(truths))
            intervals["cov_recall"] = wilson(n_covered, len(truths))
        return Measurement(
            asked=asked,
            per_sample={**flags, **columns},
            summary=summary,
            intervals=intervals,
            units={
                **dict.fromkeys([*flags], ""),
                **dict.fromkeys([*distances, *columns, "comp_div", "struct_div"], "distance"),
                "cov_recall": "of truth",
                "wdist_density": "g/cm³",
                "wdist_n_elements": "elements",
            },
            notes={
                "geometry": "as sampled",
                "oxidation_table": "smact14",
                "cutoffs": f"{self.cutoffs}: structure {_CUTOFFS[self.cutoffs][0]:g}, "
                f"composition {_CUTOFFS[self.cutoffs][1]:g}",
                "truth_crystals": len(truths),
                "wdist_over": f"{self.subsample} valid samples, seed {self.subsample_seed}"
                if self.subsample
                else "all valid samples",
                **_failures("samples", samples),
                **_failures("truth", truths),
            },
        )

    def _coverage(
        self, samples: Sequence[_Row], truths: Sequence[_Row], asked: int
    ) -> tuple[dict[str, list[Cell]], dict[str, float | None]]:
        """Return what each sample is near to, and the figures over samples and over truth.

        A crystal without a fingerprint, on either side, covers nothing and is not covered.
        """
        ours = [row for row in samples if row.complete]
        theirs = [row for row in truths if row.complete]
        structure = nearest_distances(_structures(ours), _structures(theirs))
        composition = nearest_distances(_compositions(ours), _compositions(theirs))
        near = [
            (s <= _CUTOFFS[self.cutoffs][0]) & (c <= _CUTOFFS[self.cutoffs][1])
            for s, c in zip(structure, composition, strict=True)
        ]
        columns = {
            "cov_precision": _spread_out(samples, near[0].tolist(), asked, missing=False),
            "struct_distance": _spread_out(samples, _known(structure[0]), asked),
            "comp_distance": _spread_out(samples, _known(composition[0]), asked),
        }
        return columns, {
            "cov_recall": float(near[1].sum()) / len(truths) if truths else None,
            "amsd_recall": _finite_mean(structure[1]),
            "amsd_precision": _finite_mean(structure[0]),
            "amcd_recall": _finite_mean(composition[1]),
            "amcd_precision": _finite_mean(composition[0]),
        }

    def _spread(
        self, valid: Sequence[_Row], truths: Sequence[_Row]
    ) -> tuple[dict[str, float | None], dict[str, tuple[float, float]]]:
        """Return diversity and Wasserstein distances of the valid, and intervals of the latter."""
        if self.subsample and len(valid) > self.subsample:
            rng = np.random.default_rng(self.subsample_seed)
            chosen = rng.choice(len(valid), self.subsample, replace=False)
            valid = [valid[index] for index in chosen]
        found = {
            "comp_div": mean_pairwise(_compositions(valid)),
            "struct_div": mean_pairwise(_structures(valid)),
            "wdist_density": None,
            "wdist_n_elements": None,
        }
        intervals: dict[str, tuple[float, float]] = {}
        for name, show in _COMPARED.items():
            if not valid or not truths:
                continue
            sides = [np.array([show(row) for row in side]) for side in (valid, truths)]
            value, spread = with_interval(
                weighted_wasserstein(*sides), len(valid), len(truths), _RESAMPLES
            )
            found[f"wdist_{name}"] = value
            if spread is not None:
                intervals[f"wdist_{name}"] = spread
        return found, intervals


@dataclass(frozen=True, eq=False, slots=True)
class _Row:
    """One crystal with what is compared; without one everything is absent."""

    structure: Floats | Failure | None
    composition: Floats | None
    density: float
    n_elements: int
    comp_valid: bool | None
    struct_valid: bool | None

    @classmethod
    def of(cls, crystal: Crystal | None, structure: Floats | Failure | None) -> _Row:
        if crystal is None:
            return cls(None, None, np.nan, 0, None, None)
        numbers, n_sites = np.unique(crystal.numbers, return_counts=True)
        counts = dict(zip(numbers.tolist(), n_sites.tolist(), strict=True))
        struct_valid = _GEOMETRY.structurally_valid(crystal)
        return cls(
            structure,
            composition_fingerprint(counts),
            density(crystal) if struct_valid else np.nan,
            len(counts),
            balanced(counts, "smact14") is True,
            struct_valid,
        )

    @property
    def complete(self) -> bool:
        """Whether there are both fingerprints."""
        return isinstance(self.structure, np.ndarray) and self.composition is not None

    @property
    def valid(self) -> bool | None:
        """Both validities and both fingerprints; None without a crystal."""
        if self.struct_valid is None:
            return None
        return bool(self.comp_valid and self.struct_valid and self.complete)


_GEOMETRY: Final = Validity()
_COMPARED: Final[Mapping[str, Callable[[_Row], float]]] = {
    "density": lambda row: row.density,
    "n_elements": lambda row: float(row.n_elements),
}


def _structures(rows: Sequence[_Row]) -> Floats:
    found = [row.structure for row in rows if isinstance(row.structure, np.ndarray)]
    return np.array(found, dtype=np.float64).reshape(-1, N_FEATURES)


def _compositions(rows: Sequence[_Row]) -> Floats:
    found = [row.composition for row in rows if row.composition is not None]
    stacked = np.array(found, dtype=np.float64).reshape(-1, N_COMPOSITION_FEATURES)
    return standardised(stacked)


def _spread_out(
    samples: Sequence[_Row], values: Sequence[Cell], asked: int, missing: Cell = None
) -> list[Cell]:
    """Return one cell per sample asked for from values of the complete ones."""
    remaining = iter(values)
    cells = (
        next(remaining) if row.complete else None if row.struct_valid is None else missing
        for row in samples
    )
    return padded(cells, asked)


def _known(distances: Floats) -> list[Cell]:
    return [distance if np.isfinite(distance) else None for distance in distances.tolist()]


def _finite_mean(values: Floats) -> float | None:
    return float(values.mean()) if len(values) and np.isfinite(values).all() else None


def _failures(side: str, rows: Sequence[_Row]) -> dict[str, str | float]:
    reasons = Counter(row.structure for row in rows if isinstance(row.structure, str))
    unknown = sum(row.composition is None and row.struct_valid is not None for row in rows)
    return {
        f"{side}_without_structure_fingerprint": reasons["failed"],
        f"{side}_over_time": reasons["too long"],
        f"{side}_without_composition_fingerprint": unknown,
    }
