"""Several evaluations side by side: differences, and whether they mean the same at all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any, Literal

from matgen.errors import BadOptions
from matgen.evaluation.columns import Cell, numbers
from matgen.evaluation.differences import Interval, better, of_figures, of_samples
from matgen.evaluation.evaluated_runs import (
    Run,
    differing,
    label_of,
    names_of,
    other_versions,
    read_run,
)


@dataclass(frozen=True, slots=True)
class Value:
    """A figure of one run; ``difference`` is to the first run, its interval with it."""

    value: float | None
    interval: Interval | None
    difference: float | None = None
    difference_interval: Interval | None = None

    @property
    def significant(self) -> bool:
        """Whether the interval of the difference excludes nought."""
        return self.difference_interval is not None and _excludes_nought(self.difference_interval)


@dataclass(frozen=True, slots=True)
class Row:
    """One figure over all runs.

    Attributes:
        evaluator: Which evaluator found it.
        figure: Its name.
        unit: "" for a rate.
        better: Which way, None where nobody says.
        values: One per run; None where the run lacks the figure.
        best: Position of the run that is significantly better than every other, None where there
            is none or none may be named.
    """

    evaluator: str
    figure: str
    unit: str
    better: Literal["higher", "lower"] | None
    values: tuple[Value | None, ...]
    best: int | None


@dataclass(frozen=True, eq=False)
class Comparison:
    """Runs, their figures, and what keeps them from being compared.

    Attributes:
        runs: In the order given; differences are to the first.
        rows: Every figure that any run has.
        differing: What differs between the runs' settings, in sentences; empty if nothing that
            changes the meaning of a figure does.
        versions: Libraries of different versions, in sentences.
        allowed: Whether the best is named although settings differ.
    """

    runs: tuple[Run, ...]
    rows: tuple[Row, ...]
    differing: tuple[str, ...]
    versions: tuple[str, ...]
    allowed: bool

    @property
    def warnings(self) -> list[str]:
        """What a reader must know before comparing."""
        told = list(self.differing)
        if self.differing and not self.allowed:
            told.append("No run is called best, because these figures do not mean the same.")
        told += self.versions
        told += [
            f"{run.name}: {warning}" for run in self.runs for warning in run.report["warnings"]
        ]
        return told

    def to_json(self) -> dict[str, object]:
        """Return what ``comparison.json`` holds."""
        return {
            "format": 1,
            "runs": [
                {"name": run.name, "asked": run.report["asked"], "label": label_of(run)}
                for run in self.runs
            ],
            "comparable": not self.differing,
            "warnings": self.warnings,
            "figures": [
                {
                    "evaluator": row.evaluator,
                    "figure": row.figure,
                    "unit": row.unit,
                    "better": row.better,
                    "best": None if row.best is None else self.runs[row.best].name,
                    "values": [None if value is None else _json_of(value) for value in row.values],
                }
                for row in self.rows
            ],
        }


def compare(folders: Sequence[Path], *, allow_different: bool = False) -> Comparison:
    """Return the comparison of evaluations.

    Args:
        folders: Two or more, as ``matgen evaluate`` wrote them; differences are to the first.
        allow_different: Name the best run of a figure although the runs were not evaluated alike.

    Raises:
        BadOptions: fewer than two, or one twice.
        BadFile: a folder holds no whole report.
    """
    if len(folders) < 2:
        raise BadOptions("a comparison needs two evaluations or more; give their folders")
    places = [folder.resolve() for folder in folders]
    if len(set(places)) < len(places):
        raise BadOptions("one evaluation is given twice; give each once")
    runs = tuple(
        read_run(folder, name) for folder, name in zip(places, names_of(places), strict=True)
    )
    unlike = tuple(differing(runs))
    naming = allow_different or not unlike
    keys = dict.fromkeys(
        (evaluator, figure)
        for run in runs
        for evaluator, found in run.report["measurements"].items()
        for figure in found["summary"]
    )
    rows = tuple(_row(runs, evaluator, figure, naming=naming) for evaluator, figure in keys)
    return Comparison(runs, rows, unlike, tuple(other_versions(runs)), allow_different)


def _row(runs: Sequence[Run], evaluator: str, figure: str, *, naming: bool) -> Row:
    found = [_found(run, evaluator, figure) for run in runs]
    unit = next(str(one["unit"]) for one in found if one is not None)
    values: list[Value | None] = []
    for position, one in enumerate(found):
        if one is None:
            values.append(None)
            continue
        difference, interval = (
            _difference(runs[0], runs[position], evaluator, figure) if position else (None, None)
        )
        values.append(Value(one["value"], _interval(one), difference, interval))
    direction = better(figure)
    best = _best(runs, evaluator, figure, direction) if naming and direction else None
    return Row(evaluator, figure, unit, direction, tuple(values), best)


def _found(run: Run, evaluator: str, figure: str) -> dict[str, Any] | None:  # JSON
    measurement = run.report["measurements"].get(evaluator)
    found = None if measurement is None else measurement["summary"].get(figure)
    return found if isinstance(found, dict) else None


def _interval(found: Mapping[str, Any]) -> Interval | None:  # JSON
    pair = found["interval_95"]
    return None if pair is None else (float(pair[0]), float(pair[1]))


def _difference(
    first: Run, second: Run, evaluator: str, figure: str
) -> tuple[float | None, Interval | None]:
    """Return ``second - first`` with its interval, None where either has no value."""
    a, b = _found(first, evaluator, figure), _found(second, evaluator, figure)
    if a is None or b is None or a["value"] is None or b["value"] is None:
        return None, None
    difference = float(b["value"]) - float(a["value"])
    name, _, statistic = figure.rpartition("_")
    if statistic in {"mean", "median"}:
        columns = [_column(run, evaluator, name) for run in (first, second)]
        if columns[0] is not None and columns[1] is not None:
            return difference, of_samples(numbers(columns[0]), numbers(columns[1]), statistic)
    intervals = _interval(a), _interval(b)
    if intervals[0] is None or intervals[1] is None:
        return difference, None
    return difference, of_figures(a["value"], intervals[0], b["value"], intervals[1])


def _column(run: Run, evaluator: str, name: str) -> list[Cell] | None:
    # A column keeps its plain name only for the first evaluator that uses it.
    return run.columns.get(f"{evaluator}.{name}", run.columns.get(name))


def _best(
    runs: Sequence[Run], evaluator: str, figure: str, direction: Literal["higher", "lower"]
) -> int | None:
    sign = 1.0 if direction == "higher" else -1.0
    beaten = [0] * len(runs)
    for i, j in combinations(range(len(runs)), 2):
        difference, interval = _difference(runs[i], runs[j], evaluator, figure)
        if difference is not None and interval is not None and _excludes_nought(interval):
            beaten[j if sign * difference > 0 else i] += 1
    winners = [position for position, count in enumerate(beaten) if count == len(runs) - 1]
    return winners[0] if winners else None


def _excludes_nought(interval: Interval) -> bool:
    return interval[0] > 0 or interval[1] < 0


def _json_of(value: Value) -> dict[str, object]:
    return {
        "value": value.value,
        "interval_95": None if value.interval is None else list(value.interval),
        "difference_to_first": value.difference,
        "difference_interval_95": None
        if value.difference_interval is None
        else list(value.difference_interval),
        "significant": value.significant,
    }
