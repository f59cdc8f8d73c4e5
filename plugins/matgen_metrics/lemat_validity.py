"""Evaluator: validity as LeMat-GenBench counts it."""

from __future__ import annotations

from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from pydantic import Field

from matgen.crystal.checks import check_crystal
from matgen.errors import BadCrystal
from matgen.evaluation.cohort import Cohort
from matgen.evaluation.columns import Cell, both, padded, share
from matgen.evaluation.matching import comparable
from matgen.evaluation.time_limit import OutOfTime, time_limit
from matgen.records import Crystal, Measurement
from matgen.roles.evaluator import Evaluator
from matgen_metrics.lemat_charge import Charge, charge_deviation
from matgen_metrics.lemat_geometry import distances_valid, plausible

if TYPE_CHECKING:
    from pymatgen.core.structure import Structure


class LematValidity(Evaluator):
    """Charge neutrality, distances and plausible ranges of LeMat-GenBench."""

    name = "lemat_validity"
    cites = ("LeMat-GenBench, arXiv:2512.04562",)

    charge_tolerance: float = Field(default=0.1, ge=0)
    """Largest sum of valences that counts as neutral, elementary charges."""
    seconds_per_crystal: float = Field(default=60.0, gt=0)
    """Processor time after which a crystal counts as not neutral; the benchmark has no limit."""

    def measure(self, cohort: Cohort) -> Measurement:
        """Return the three tests and all of them together, per sample, as sampled."""
        asked = cohort.asked
        present = {i: crystal for i, crystal in enumerate(cohort.crystals) if crystal is not None}
        judge = partial(_judged, tolerance=self.charge_tolerance, seconds=self.seconds_per_crystal)
        found = dict(zip(present, cohort.pool.map(judge, list(present.values())), strict=True))
        rows = [found.get(index, _ABSENT) for index in range(len(cohort.samples))]
        flags: dict[str, list[Cell]] = {
            "charge_neutral": padded((row.charge_neutral for row in rows), asked),
            "distances": padded((row.distances for row in rows), asked),
            "plausible": padded((row.plausible for row in rows), asked),
        }
        flags["valid"] = both(*flags.values())
        return Measurement(
            asked=asked,
            per_sample={
                **flags,
                "charge_decided_by": padded((row.decided_by for row in rows), asked),
                "lemat_validity_error": padded((row.error for row in rows), asked),
            },
            summary={name: share(column, asked) for name, column in flags.items()},
            units=dict.fromkeys(flags, ""),
            notes={
                "geometry": "as sampled",
                "charge_tolerance": self.charge_tolerance,
                "oxidation_table": "lemat-genbench c132073 and icsd24",
                "with_error": sum(row.error is not None for row in rows),
                **_decisions(rows),
            },
        )


class _Verdict(NamedTuple):
    charge_neutral: bool | None
    distances: bool | None
    plausible: bool | None
    decided_by: str | None = None
    error: str | None = None


_ABSENT = _Verdict(None, None, None)
_BROKEN = _Verdict(charge_neutral=False, distances=False, plausible=False)


def _decisions(rows: list[_Verdict]) -> dict[str, str | float]:
    counts = Counter(row.decided_by for row in rows if row.decided_by is not None)
    return {f"charge_decided_by {name}": n for name, n in sorted(counts.items())}


def _judged(crystal: Crystal, tolerance: float, seconds: float) -> _Verdict:
    try:
        check_crystal(crystal, min_distance=0.0)
    except BadCrystal as bad:
        return _BROKEN._replace(error=str(bad))
    if not comparable(crystal):
        return _BROKEN._replace(error="a needle or sheet too thin to search around")
    structure = crystal.to_structure()
    charge, reason = _charge(structure, seconds)
    return _Verdict(
        charge_neutral=charge is not None and charge.deviation <= tolerance,
        distances=distances_valid(structure),
        plausible=plausible(structure),
        decided_by=None if charge is None else charge.decided_by,
        error=reason,
    )


def _charge(structure: Structure, seconds: float) -> tuple[Charge | None, str | None]:
    try:
        with time_limit(seconds):
            return charge_deviation(structure), None
    except OutOfTime as late:
        return None, f"charge: {late}"
    except Exception as error:  # noqa: BLE001 - one sample: the benchmark counts it as not neutral
        return None, f"charge: {type(error).__name__}: {error}"
