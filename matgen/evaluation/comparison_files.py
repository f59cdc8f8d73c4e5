"""The files that a comparison is written to, and its table for people."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from matgen.atomic import write_json, write_text
from matgen.evaluation.comparison import Comparison, Row, Value
from matgen.evaluation.evaluated_runs import label_of
from matgen.evaluation.report import number
from matgen.evaluation.report_files import markdown_table
from matgen.evaluation.self_contained import self_contained

_LEGEND: Final = (
    "In brackets: 95 % intervals. After the semicolon: difference to the first run; `*`: its "
    "interval excludes nought. **best**: significantly better than every other run. Intervals of "
    "rates: Wilson, of their differences: Newcombe; of means and medians: bootstrap. No correction "
    "for looking at many figures."
)


def write(comparison: Comparison, folder: Path) -> None:
    """Write comparison.json, comparison.md and comparison.html."""
    write_json(folder / "comparison.json", comparison.to_json())
    write_text(folder / "comparison.md", markdown(comparison))
    write_text(folder / "comparison.html", page_of(comparison))


def rows(comparison: Comparison) -> list[tuple[str, ...]]:
    """Return the table as text: figure, then a cell per run with interval, difference and mark.

    ``*`` marks a significant difference to the first run, ``best`` a run that is significantly
    better than every other.
    """
    return [
        (f"{row.evaluator}.{row.figure}", *(_cell(row, at) for at in range(len(row.values))))
        for row in comparison.rows
    ]


def markdown(comparison: Comparison) -> str:
    """Return the comparison for people who read text."""
    header = ("figure", *(run.name for run in comparison.runs))
    asked = ("samples asked for", *(str(run.report["asked"]) for run in comparison.runs))
    label = ("protocol", *(label_of(run) for run in comparison.runs))
    return "\n".join(
        [
            "# Evaluations compared",
            "",
            *(f"> **Warning:** {warning}\n" for warning in comparison.warnings),
            *markdown_table(header, [label, asked, *rows(comparison)]),
            "",
            _LEGEND,
            "",
        ]
    )


def page_of(comparison: Comparison) -> str:
    """Return the comparison as one HTML page."""
    data = {
        **comparison.to_json(),
        "statuses": [dict(run.report["statuses"]) for run in comparison.runs],
        "columns": [
            {
                name: [
                    float(f"{cell:.5g}") if isinstance(cell, float) else None
                    for cell in run.columns.get(name, [])
                ]
                for name in ("energy_above_hull", "rmsd")
            }
            for run in comparison.runs
        ],
    }
    return self_contained(
        "Evaluations compared",
        data,
        body="comparison.html",
        scripts=("drawing.js", "comparison.js"),
    )


def _cell(row: Row, at: int) -> str:
    value = row.values[at]
    if value is None:
        return "–"
    told = f"{number(value.value)} {row.unit}".rstrip() + _brackets(value)
    if value.difference is not None:
        told += f"; {value.difference:+.4g}{' *' if value.significant else ''}"
    return f"{told} **best**" if row.best == at else told


def _brackets(value: Value) -> str:
    if value.interval is None:
        return ""
    low, high = value.interval
    return f" [{number(low)}, {number(high)}]"
