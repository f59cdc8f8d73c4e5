"""What was asked for against what the samples show, gathered per value asked for."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from statistics import fmean
from typing import Final

import numpy as np

from matgen.evaluation.columns import Cell, numbers
from matgen.evaluation.intervals import bootstrap, wilson
from matgen.evaluation.report import Report

_REQUESTED: Final = "_requested"
_MOST_VALUES: Final = 12
"""More different values than this are gathered into as many groups of equal size."""
_MOST_TEXTS: Final = 30


def targets(report: Report) -> list[dict[str, object]]:
    """Return one entry per condition that samples were asked for and can show.

    Each has ``label``, ``unit``, ``requested`` (one per sample), and either ``achieved`` (one per
    sample) with ``groups`` of requested value, mean and interval, or, for formulas and space
    groups, ``shares`` of samples that reached each value.
    """
    found = []
    for measurement in report.measurements.values():
        for name, requested in measurement.per_sample.items():
            if not name.endswith(_REQUESTED):
                continue
            label = name.removesuffix(_REQUESTED)
            entry: dict[str, object] = {
                "label": label,
                "unit": measurement.units.get(f"{label}_achieved", ""),
                "requested": _finite(requested),
            }
            achieved = measurement.per_sample.get(f"{label}_achieved")
            if achieved is not None and not any(isinstance(value, str) for value in requested):
                entry["achieved"] = _finite(achieved)
                entry["groups"] = _groups(requested, achieved)
            else:
                entry["shares"] = [
                    {
                        "name": _series(column.removeprefix(f"{label}_reached")),
                        "values": _shares(requested, flags),
                    }
                    for column, flags in measurement.per_sample.items()
                    if column.startswith(f"{label}_reached")
                ]
            found.append(entry)
    return found


def _series(suffix: str) -> str:
    """Return what a column of reached targets is of: ``_relaxed_0.01`` is relaxed, at 0.01 Å."""
    words = suffix.strip("_").split("_")
    if words[-1].replace(".", "", 1).isdigit():
        words[-1] = f"at {words[-1]} Å"
    return ", ".join(word for word in words if word) or "reached"


def _finite(values: Sequence[Cell]) -> list[Cell]:
    """Return the values with None for what JSON has no number for."""
    return [None if isinstance(v, float) and not np.isfinite(v) else v for v in values]


def _groups(requested: Sequence[Cell], achieved: Sequence[Cell]) -> list[dict[str, object]]:
    pairs = [
        (float(want), float(got))
        for want, got in zip(requested, achieved, strict=True)
        if numbers([want]) and numbers([got]) and want is not None and got is not None
    ]
    if not pairs:
        return []
    ordered = sorted(pairs)
    values = sorted({want for want, _ in ordered})
    if len(values) <= _MOST_VALUES:
        parts = [[pair for pair in ordered if pair[0] == value] for value in values]
    else:
        cuts = np.array_split(np.arange(len(ordered)), _MOST_VALUES)
        parts = [[ordered[index] for index in cut] for cut in cuts]
    groups: list[dict[str, object]] = []
    for part in parts:
        got = [value for _, value in part]
        low, high = bootstrap(got, "mean") or (None, None)
        groups.append(
            {
                "requested": fmean(want for want, _ in part),
                "mean": fmean(got),
                "low": low,
                "high": high,
                "n": len(part),
            }
        )
    return groups


def _shares(requested: Sequence[Cell], reached: Sequence[Cell]) -> list[dict[str, object]]:
    by_value: dict[str, list[bool]] = defaultdict(list)
    for want, flag in zip(requested, reached, strict=True):
        if want is not None:
            by_value[f"{want:g}" if isinstance(want, float) else str(want)].append(flag is True)
    most = sorted(by_value.items(), key=lambda item: -len(item[1]))[:_MOST_TEXTS]
    shares: list[dict[str, object]] = []
    for value, flags in most:
        low, high = wilson(sum(flags), len(flags))
        shares.append(
            {
                "requested": value,
                "share": sum(flags) / len(flags),
                "low": low,
                "high": high,
                "n": len(flags),
            }
        )
    return shares
