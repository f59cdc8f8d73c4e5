"""What an evaluation found, and the files it is written to."""

from __future__ import annotations

import json
import platform
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Final

from matgen import __version__
from matgen.atomic import replacing, write_json, write_text
from matgen.crystal.composition import reduced_formula
from matgen.evaluation.columns import Cell, padded
from matgen.evaluation.intervals import interval
from matgen.evaluation.matching import DEFAULT, RMSD, comparable
from matgen.records import Measurement, Relaxation, Sample

if TYPE_CHECKING:
    import pyarrow as pa

    from matgen.evaluation.pipeline import EvaluationPlan
    from matgen.evaluation.reference import Reference
    from matgen.roles.component import Component

_FORMAT: Final = 1
_LIBRARIES: Final = ("ase", "numpy", "pymatgen", "pymatgen-core", "spglib", "torch")


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
        packages = [*_LIBRARIES, *([plan.relaxer.name] if plan.relaxer else [])]
        settings = {
            "protocol": protocol,
            "evaluators": [_described(evaluator) for evaluator in plan.evaluators],
            "relaxer": _described(plan.relaxer),
            "energy_scale": plan.relaxer.energy_scale if plan.relaxer else None,
            "hull": _described(plan.hull),
            "reference": None
            if reference is None
            else {"description": reference.description, "crystals": len(reference)},
            "conditions": [_described(condition) for condition in plan.conditions],
            "device": plan.device,
            "matcher": DEFAULT.to_json(),
            "rmsd_matcher": RMSD.to_json(),
            "geometry_compared": "as sampled" if relaxations is None else "relaxed",
            "versions": {
                "matgen": __version__,
                "python": platform.python_version(),
                **{name: found for name in packages if (found := _version(name))},
            },
        }
        return cls(samples, asked, dict(measurements), relaxations, settings)

    def rows(self) -> list[tuple[str, str, str, str]]:
        """Return the table as text: evaluator, figure, value with unit, 95 % interval."""
        return [
            (
                row.evaluator,
                row.figure,
                row.note or f"{_number(row.value)} {row.unit}".rstrip(),
                "" if row.low is None else f"{_number(row.low)} to {_number(row.high)}",
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

    def markdown(self) -> str:
        """Return the table for people."""
        lines = [
            f"{self.asked} samples asked for; rates divide by that.",
            f"Geometry compared: {self.settings['geometry_compared']}.",
            *(
                f"{role.capitalize()}: {json.dumps(self.settings[role])}."
                for role in ("relaxer", "hull")
                if self.settings[role]
            ),
            "",
            "| evaluator | figure | value | 95 % interval |",
            "|---|---|---|---|",
            *(f"| {' | '.join(row)} |" for row in self.rows()),
        ]
        notes = [
            f"- {name}: {key} = {value}"
            for name, measurement in self.measurements.items()
            for key, value in measurement.notes.items()
        ]
        return "\n".join([*lines, "", *notes]) + "\n"

    def table(self) -> pa.Table:
        """Return one row per sample asked for, with every column of every evaluator."""
        import pyarrow as pa

        samples = self.samples
        columns: dict[str, list[Cell]] = {
            "index": padded((sample.index for sample in samples), self.asked),
            "formula": padded((_formula(sample) for sample in samples), self.asked),
            "n_sites": padded(
                (None if s.crystal is None else s.crystal.n_sites for s in samples), self.asked
            ),
            "log_prob": padded((sample.log_prob for sample in samples), self.asked),
            "sampling_error": padded((sample.error or None for sample in samples), self.asked),
        }
        for name, measurement in self.measurements.items():
            for column, values in measurement.per_sample.items():
                # Two evaluators may use one name; the first keeps it plain.
                columns[column if column not in columns else f"{name}.{column}"] = list(values)
        return pa.table({name: _array(values) for name, values in columns.items()})

    def write(self, folder: Path) -> None:
        """Write report.json, report.md, samples.parquet, samples.csv and relaxed.extxyz."""
        import pyarrow.csv as pa_csv
        import pyarrow.parquet as pq

        write_json(folder / "report.json", self.to_json())
        write_text(folder / "report.md", self.markdown())
        table = self.table()
        with replacing(folder / "samples.parquet") as temporary:
            pq.write_table(table, temporary)
        with replacing(folder / "samples.csv") as temporary:
            pa_csv.write_csv(table, temporary)
        if self.relaxations is not None:
            self._write_relaxed(folder / "relaxed.extxyz")

    def _write_relaxed(self, path: Path) -> None:
        from ase.io import write

        frames = []
        assert self.relaxations is not None
        for sample, relaxation in zip(self.samples, self.relaxations, strict=True):
            if relaxation.crystal is None:
                continue
            atoms = relaxation.crystal.to_atoms()
            # "energy" would be read back as a calculator's; this names what it is.
            atoms.info = {
                "index": sample.index,
                "total_energy_ev": relaxation.energy,
                "converged": relaxation.converged,
            }
            frames.append(atoms)
        with replacing(path) as temporary:
            write(temporary, frames, format="extxyz")


def _number(value: float | None) -> str:
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


def _formula(sample: Sample) -> str | None:
    crystal = sample.crystal
    # A broken crystal has a row too.
    if crystal is None or not comparable(crystal):
        return None
    return reduced_formula(crystal)


def _array(values: list[Cell]) -> pa.Array[pa.Scalar[pa.DataType]]:
    """Return a typed column; one that mixes types becomes text, one without values stays null."""
    import pyarrow as pa

    kinds = {type(value) for value in values if value is not None}
    if not kinds:
        return pa.nulls(len(values))
    if kinds == {bool}:
        return pa.array([None if v is None else bool(v) for v in values], pa.bool_())
    if kinds == {int}:
        return pa.array([None if v is None else int(v) for v in values], pa.int64())
    if kinds <= {int, float}:
        return pa.array([None if v is None else float(v) for v in values], pa.float64())
    return pa.array([None if v is None else str(v) for v in values], pa.string())
