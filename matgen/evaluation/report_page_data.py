"""What the page of a report draws, as JSON; coordinates packed."""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Sequence
from typing import Final

import numpy as np

from matgen.elements import covalent_radii, metallic, symbols, table_place
from matgen.evaluation.columns import Cell
from matgen.evaluation.matching import comparable
from matgen.evaluation.published import beside
from matgen.evaluation.report import Report, Row
from matgen.evaluation.report_facts import facts
from matgen.evaluation.statuses import MEANINGS, counted
from matgen.evaluation.targets import targets
from matgen.records import Crystal

_MOST_CRYSTALS: Final = 2000
"""More are not put into the 3D view: a page must open quickly."""
_LAST_USUAL: Final = 103
"""Heavier elements get a place in the table only where there are any."""
_DIGITS: Final = 6
_FRACTION_STEPS: Final = 65536
"""Fractional coordinates are stored as 16-bit integers: 0.0002 Å in a 10 Å cell."""


def page_data(report: Report) -> dict[str, object]:
    """Return everything that the scripts of the page read."""
    protocol = report.settings.get("protocol")
    label = str(protocol["label"]) if isinstance(protocol, dict) else ""
    sampled = [sample.crystal for sample in report.samples]
    relaxed = (
        None if report.relaxations is None else [found.crystal for found in report.relaxations]
    )
    return {
        "title": report.title,
        "asked": report.asked,
        "label": label,
        "warnings": report.warnings,
        "facts": facts(report),
        "notes": [
            [name, key, str(value)]
            for name, measurement in report.measurements.items()
            for key, value in measurement.notes.items()
        ],
        "figures": [_figure(report, row) for row in report.figures()],
        "published": [
            {"model": row.model, "figures": dict(row.figures), "source": row.source}
            for row in beside(label)
        ],
        "statuses": [
            [status, count, MEANINGS[status.split(":")[0]]]
            for status, count in counted(report.statuses).items()
        ],
        "columns": {
            name: [_short(value) for value in values] for name, values in report.columns.items()
        },
        "units": {
            name: unit
            for measurement in report.measurements.values()
            for name, unit in measurement.units.items()
            if unit
        },
        "threshold": _threshold(report),
        "elements": _elements([*sampled, *(relaxed or [])], sampled),
        "space_groups": _symbols_of(report),
        "targets": targets(report),
        "crystals": {
            "shown": min(len(sampled), _MOST_CRYSTALS),
            "sampled": _packed(sampled),
            "relaxed": None if relaxed is None else _packed(relaxed),
        },
    }


def packed(crystal: Crystal) -> str:
    """Return a crystal in base64.

    Little-endian: nine float32 of the lattice (rows, Å); per site one byte, the atomic number;
    then per site three uint16, fractional coordinates in 1/65536 of the cell.
    """
    steps = np.round((crystal.frac % 1.0) * _FRACTION_STEPS).astype(np.int64) % _FRACTION_STEPS
    raw = (
        crystal.lattice.astype("<f4").tobytes()
        + crystal.numbers.astype("u1").tobytes()
        + steps.astype("<u2").tobytes()
    )
    return base64.b64encode(raw).decode("ascii")


def _packed(crystals: Sequence[Crystal | None]) -> list[str | None]:
    return [
        packed(crystal) if crystal is not None and comparable(crystal) else None
        for crystal in crystals[:_MOST_CRYSTALS]
    ]


def _figure(report: Report, row: Row) -> dict[str, object]:
    measurement = report.measurements[row.evaluator]
    column = measurement.per_sample.get(row.figure)
    flags = column is not None and all(cell is None or isinstance(cell, bool) for cell in column)
    return {
        "evaluator": row.evaluator,
        "figure": row.figure,
        "value": _short(row.value),
        "low": _short(row.low),
        "high": _short(row.high),
        "unit": row.unit,
        "note": row.note,
        "count": sum(cell is True for cell in column) if flags and column else None,
        "of": measurement.asked,
    }


def _threshold(report: Report) -> float | None:
    """Return up to where a sample counts as stable, as its evaluator noted it."""
    for measurement in report.measurements.values():
        value = measurement.notes.get("threshold_ev_per_atom")
        if isinstance(value, int | float):
            return float(value)
    return None


def _elements(
    crystals: Sequence[Crystal | None], counted_over: Sequence[Crystal | None]
) -> list[dict[str, object]]:
    counts = Counter(number for crystal in counted_over for number in _present(crystal))
    there = {number for crystal in crystals for number in _present(crystal)}
    last = max([_LAST_USUAL, *there])
    found: list[dict[str, object]] = []
    for number in range(1, last + 1):
        column, row = table_place(number)
        radius = float(covalent_radii[number])
        found.append(
            {
                "number": number,
                "symbol": symbols[number],
                "column": int(column),
                "row": round(row),
                "count": counts[number],
                "radius": 1.5 if np.isnan(radius) else radius,
                "metal": bool(metallic[number]),
            }
        )
    return found


def _present(crystal: Crystal | None) -> set[int]:
    return set() if crystal is None or not comparable(crystal) else set(crystal.numbers.tolist())


def _symbols_of(report: Report) -> dict[str, str]:
    """Return the short Hermann–Mauguin symbol of every space group in the report."""
    from moyopy import SpaceGroupType

    numbers = {
        value
        for name in ("space_group_sampled", "space_group_relaxed")
        for value in report.columns.get(name, [])
        if isinstance(value, int)
    }
    return {str(n): SpaceGroupType(n).hm_short.replace(" ", "") for n in sorted(numbers)}


def _short(value: Cell) -> Cell:
    """Return a cell with few digits; what is no finite number becomes a text, as JSON has none."""
    if isinstance(value, bool) or not isinstance(value, float):
        return value
    return float(f"{value:.{_DIGITS}g}") if np.isfinite(value) else str(value)
