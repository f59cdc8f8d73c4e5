"""Evaluations as they were written, and what in their settings keeps them from being compared."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from matgen.atomic import read_json
from matgen.errors import BadFile
from matgen.evaluation.columns import Cell

_MUST_AGREE: Final = {
    "protocol label": ("protocol", "label"),
    "potential": ("relaxer",),
    "hull": ("hull",),
    "reference": ("reference",),
    "geometry compared": ("geometry_compared",),
    "matcher": ("matcher",),
    "matcher for RMSD": ("rmsd_matcher",),
}
"""What two evaluations share if their figures mean the same: name to its place in the settings."""


@dataclass(frozen=True, eq=False)
class Run:
    """One evaluation as it was written.

    Attributes:
        name: Short and unlike the others'.
        report: What ``report.json`` holds.
        columns: Column of ``samples.parquet`` to one value per sample asked for.
    """

    name: str
    report: Mapping[str, Any]  # JSON
    columns: Mapping[str, list[Cell]]


def names_of(places: Sequence[Path]) -> list[str]:
    """Return the last part of each path, and as many before it as tell them apart."""
    for depth in range(1, max(len(place.parts) for place in places) + 1):
        names = ["/".join(place.parts[-depth:]) for place in places]
        if len(set(names)) == len(names):
            return names
    return [str(place) for place in places]


def read_run(folder: Path, name: str) -> Run:
    """Return one evaluation from its folder.

    Raises:
        BadFile: ``report.json`` or ``samples.parquet`` is missing, damaged or of an older matgen.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    report = read_json(folder / "report.json")
    if not {"measurements", "settings", "asked", "statuses", "warnings"} <= report.keys():
        raise BadFile(
            f"{folder / 'report.json'} is no report of this matgen; run matgen evaluate again"
        )
    try:
        columns = pq.read_table(folder / "samples.parquet").to_pydict()
    except (OSError, pa.ArrowInvalid) as error:
        raise BadFile(f"cannot read {folder / 'samples.parquet'}: {error}") from None
    return Run(name, report, columns)


def label_of(run: Run) -> str:
    """Return the protocol label of a run, empty where it has none."""
    return str(_setting(run, ("protocol", "label")) or "")


def differing(runs: Sequence[Run]) -> list[str]:
    """Return what differs so that figures mean other things, in sentences."""
    said = []
    for name, path in _MUST_AGREE.items():
        values = {run.name: _short(_setting(run, path)) for run in runs}
        if len(set(values.values())) > 1:
            said.append(f"The {name} differs: {_listed(values)}.")
    for evaluator in _shared_evaluators(runs):
        values = {run.name: _short(_evaluators(run)[evaluator]) for run in runs}
        if len(set(values.values())) > 1:
            said.append(f"The settings of {evaluator} differ: {_listed(values)}.")
    return said


def other_versions(runs: Sequence[Run]) -> list[str]:
    """Return which libraries have other versions, in sentences."""
    names = dict.fromkeys(name for run in runs for name in run.report["settings"]["versions"])
    said = []
    for name in names:
        values = {run.name: str(run.report["settings"]["versions"].get(name, "")) for run in runs}
        if len(set(values.values())) > 1:
            said.append(f"The version of {name} differs: {_listed(values)}.")
    return said


def _evaluators(run: Run) -> dict[str, object]:
    return {found["use"]: found["settings"] for found in run.report["settings"]["evaluators"]}


def _shared_evaluators(runs: Sequence[Run]) -> list[str]:
    first, *others = (_evaluators(run) for run in runs)
    return [name for name in first if all(name in other for other in others)]


def _setting(run: Run, path: Sequence[str]) -> object:
    value: object = run.report["settings"]
    for name in path:
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def _short(value: object) -> str:
    if isinstance(value, Mapping) and "use" in value:
        fields = ", ".join(f"{k}={v}" for k, v in value["settings"].items() if v != "")
        return f"{value['use']} ({fields})" if fields else str(value["use"])
    if isinstance(value, Mapping) and "description" in value:
        return f"{value['description']}, {value['crystals']} crystals"
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True)


def _listed(values: Mapping[str, str]) -> str:
    return "; ".join(f"{name}: {'none' if v == 'null' else v}" for name, v in values.items())
