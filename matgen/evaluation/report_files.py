"""The files that a report is written to."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from matgen.atomic import replacing, write_json, write_text
from matgen.evaluation.columns import Cell
from matgen.evaluation.report import Report
from matgen.evaluation.report_facts import facts
from matgen.evaluation.statuses import counted

if TYPE_CHECKING:
    import pyarrow as pa


def write(report: Report, folder: Path) -> None:
    """Write report.json, report.md, samples.parquet, samples.csv and relaxed.extxyz."""
    import pyarrow.csv as pa_csv
    import pyarrow.parquet as pq

    write_json(folder / "report.json", report.to_json())
    write_text(folder / "report.md", markdown(report))
    found = table(report)
    with replacing(folder / "samples.parquet") as temporary:
        pq.write_table(found, temporary)
    with replacing(folder / "samples.csv") as temporary:
        pa_csv.write_csv(found, temporary)
    if report.relaxations is not None:
        _write_relaxed(report, folder / "relaxed.extxyz")


def markdown(report: Report) -> str:
    """Return the report for people who read text."""
    notes = [
        f"- {name}: {key} = {value}"
        for name, measurement in report.measurements.items()
        for key, value in measurement.notes.items()
    ]
    return "\n".join(
        [
            f"# {report.title}",
            "",
            *(f"> **Warning:** {warning}\n" for warning in report.warnings),
            f"{report.asked} samples asked for; rates divide by that.",
            "",
            *markdown_table(("evaluated with", ""), facts(report)),
            "",
            *markdown_table(("evaluator", "figure", "value", "95 % interval"), report.rows()),
            "",
            *markdown_table(
                ("status", "samples"),
                [(status, str(n)) for status, n in counted(report.statuses).items()],
            ),
            "",
            *notes,
            "",
        ]
    )


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the lines of a table."""
    return [
        f"| {' | '.join(header)} |",
        "|---" * len(header) + "|",
        *("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows),
    ]


def table(report: Report) -> pa.Table:
    """Return one row per sample asked for, with every column of every evaluator."""
    import pyarrow as pa

    return pa.table({name: _array(values) for name, values in report.columns.items()})


def _write_relaxed(report: Report, path: Path) -> None:
    from ase.io import write as ase_write

    frames = []
    assert report.relaxations is not None
    for sample, relaxation in zip(report.samples, report.relaxations, strict=True):
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
        ase_write(temporary, frames, format="extxyz")


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
