"""What an evaluation found."""

from __future__ import annotations

import platform
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Final

from matgen import __version__
from matgen.crystal.composition import reduced_formula
from matgen.crystal.symmetry import space_group
from matgen.evaluation.columns import Cell, padded
from matgen.evaluation.intervals import interval
from matgen.evaluation.matching import DEFAULT, RMSD, comparable
from matgen.evaluation.sanity import suspicions
from matgen.evaluation.statuses import counted, statuses
from matgen.records import Crystal, Measurement, Relaxation, Sample

if TYPE_CHECKING:
    from matgen.evaluation.pipeline import EvaluationPlan
    from matgen.evaluation.reference import Reference
    from matgen.roles.component import Component

_FORMAT: Final = 1
SYMPREC_ANG: Final = 0.01
"""How far a site may be off its symmetric place; as Matbench Discovery counts space groups."""
_LIBRARIES: Final = ("ase", "moyopy", "numpy", "pymatgen", "pymatgen-core", "spglib", "torch")


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table.

    Attributes:
        evaluator: Which evaluator found it.
        figure: Name of the figure; empty for an evaluator that was skipped.
        value: None where nothing was measurable.
        low: Lower end of the 95 % interval, None where there is none.
        high: Upper end.
        unit: "" for a rate over the samples asked for.
        note: Why it was skipped, empty otherwise.
    """

    evaluator: str
    figure: str
    value: float | None
    low: float | None
    high: float | None
    unit: str
    note: str


@dataclass(frozen=True, eq=False)
class Report:
    """The measurements of one cohort, with everything needed to trust or repeat them.

    Attributes:
        samples: What was evaluated.
        asked: Samples the user asked for: the denominator of every rate.
        measurements: Evaluator to what it found.
        relaxations: One per sample, or None if none was asked for.
        settings: Every component with all its fields, matcher, reference and versions.
    """

    samples: Sequence[Sample]
    asked: int
    measurements: Mapping[str, Measurement]
    relaxations: Sequence[Relaxation] | None
    settings: Mapping[str, object]

    @classmethod
    def of(
        cls,
        plan: EvaluationPlan,
        samples: Sequence[Sample],
        asked: int,
        measurements: Mapping[str, Measurement],
        relaxations: Sequence[Relaxation] | None,
        reference: Reference | None,
        *,
        protocol: Mapping[str, object] | None = None,
    ) -> Report:
        """Return the report of a finished evaluation.

        Args:
            protocol: Name, label and published setup, None where the figures follow none.
        """
        packages = [
            *_LIBRARIES,
            *([plan.relaxer.package] if plan.relaxer and plan.relaxer.package else []),
        ]
        settings = {
            "protocol": protocol,
            "evaluators": [_described(evaluator) for evaluator in plan.evaluators],
            "relaxer": _described(plan.relaxer),
            "potential": plan.relaxer.fingerprint() if plan.relaxer else None,
            "energy_scale": plan.relaxer.energy_scale if plan.relaxer else None,
            "hull": _described(plan.hull),
            "reference": None
            if reference is None
            else {"description": reference.description, "crystals": len(reference)},
            "conditions": [_described(condition) for condition in plan.conditions],
            "device": plan.device,
            "matcher": DEFAULT.to_json(),
            "symprec_ang": SYMPREC_ANG,
            "rmsd_matcher": RMSD.to_json(),
            "geometry_compared": "as sampled" if relaxations is None else "relaxed",
            "versions": {
                "matgen": __version__,
                "python": platform.python_version(),
                **{name: found for name in packages if (found := _version(name))},
            },
        }
        return cls(samples, asked, dict(measurements), relaxations, settings)

    @property
    def title(self) -> str:
        """One line: how many samples, under which protocol."""
        protocol = self.settings.get("protocol")
        label = f" under {protocol['label']}" if isinstance(protocol, Mapping) else ""
        return f"{self.asked:,} samples evaluated{label}"

    @cached_property
    def statuses(self) -> list[str]:
        """What became of each sample asked for."""
        return statuses(self.samples, self.asked, self.relaxations, self.measurements)

    @cached_property
    def warnings(self) -> list[str]:
        """What looks wrong with the whole of it, in sentences; usually nothing."""
        reference = self.settings["reference"]
        return suspicions(
            self.asked,
            self.statuses,
            self.measurements,
            relaxed=self.relaxations is not None,
            reference_crystals=reference["crystals"] if isinstance(reference, Mapping) else None,
        )

    @cached_property
    def columns(self) -> dict[str, list[Cell]]:
        """Column name to one value per sample asked for, every evaluator's columns included.

        Where two evaluators use one name, the first keeps it plain and the other's becomes
        ``evaluator.column``.
        """
        samples, asked = self.samples, self.asked
        crystals = [sample.crystal for sample in samples]
        columns: dict[str, list[Cell]] = {
            "index": padded((sample.index for sample in samples), asked),
            "formula": padded(map(_formula, crystals), asked),
            "status": list(self.statuses),
            "n_sites": padded((None if c is None else c.n_sites for c in crystals), asked),
            "space_group_sampled": padded(map(_space_group, crystals), asked),
            "log_prob": padded((sample.log_prob for sample in samples), asked),
            "sampling_error": padded((sample.error or None for sample in samples), asked),
        }
        if self.relaxations is not None:
            relaxed = (_space_group(relaxation.crystal) for relaxation in self.relaxations)
            columns["space_group_relaxed"] = padded(relaxed, asked)
        for name, measurement in self.measurements.items():
            for column, values in measurement.per_sample.items():
                columns[column if column not in columns else f"{name}.{column}"] = list(values)
        return columns

    def rows(self) -> list[tuple[str, str, str, str]]:
        """Return the table as text: evaluator, figure, value with unit, 95 % interval."""
        return [
            (
                row.evaluator,
                row.figure,
                row.note or f"{number(row.value)} {row.unit}".rstrip(),
                "" if row.low is None else f"{number(row.low)} to {number(row.high)}",
            )
            for row in self.figures()
        ]

    def figures(self) -> Iterator[Row]:
        """Yield every figure, and one row for each skipped evaluator."""
        for name, measurement in self.measurements.items():
            if measurement.skipped:
                yield Row(name, "", None, None, None, "", f"skipped: {measurement.skipped}")
            for figure, value in measurement.summary.items():
                low, high = interval(measurement, figure) or (None, None)
                yield Row(name, figure, value, low, high, measurement.units.get(figure, ""), "")

    def to_json(self) -> dict[str, object]:
        """Return what ``report.json`` holds."""
        return {
            "format": _FORMAT,
            "asked": self.asked,
            "sampled": len(self.samples),
            "with_crystal": sum(sample.crystal is not None for sample in self.samples),
            "relaxed": None
            if self.relaxations is None
            else sum(relaxation.crystal is not None for relaxation in self.relaxations),
            "statuses": counted(self.statuses),
            "warnings": self.warnings,
            "measurements": {
                name: {
                    "skipped": measurement.skipped,
                    "summary": {
                        row.figure: {
                            "value": row.value,
                            "interval_95": None if row.low is None else [row.low, row.high],
                            "unit": row.unit,
                        }
                        for row in self.figures()
                        if row.evaluator == name and row.figure
                    },
                    "notes": dict(measurement.notes),
                }
                for name, measurement in self.measurements.items()
            },
            "settings": dict(self.settings),
        }


def number(value: float | None) -> str:
    """Return a figure as text, four digits."""
    return "not measurable" if value is None else f"{value:.4g}"


def _described(component: Component | None) -> dict[str, object] | None:
    if component is None:
        return None
    return {
        "use": component.name,
        "class": f"{type(component).__module__}.{type(component).__qualname__}",
        "revision": component.revision,
        "settings": component.model_dump(mode="json"),
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _formula(crystal: Crystal | None) -> str | None:
    # A broken crystal has a row too.
    return None if crystal is None or not comparable(crystal) else reduced_formula(crystal)


def _space_group(crystal: Crystal | None) -> int | None:
    if crystal is None or not comparable(crystal):
        return None
    return space_group(crystal, symprec=SYMPREC_ANG)
