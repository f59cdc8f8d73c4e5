"""Columns of one value per sample asked for, and the figures made from them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from statistics import fmean
from statistics import median as _median
from typing import TypeAlias

Cell: TypeAlias = float | str | bool | None


def padded(values: Iterable[Cell], asked: int) -> list[Cell]:
    """Return the values with None for every sample that was asked for and never came."""
    column = list(values)
    return column + [None] * (asked - len(column))


def share(flags: Iterable[Cell], asked: int) -> float | None:
    """Return how many flags are true per sample asked for; None if none was asked for."""
    return sum(flag is True for flag in flags) / asked if asked else None


def numbers(values: Iterable[Cell]) -> list[float]:
    """Return the finite numbers of a column."""
    return [
        float(value)
        for value in values
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    ]


def mean(values: Iterable[Cell]) -> float | None:
    """Return the mean of what was measurable, None if nothing was."""
    found = numbers(values)
    return fmean(found) if found else None


def median(values: Iterable[Cell]) -> float | None:
    """Return the median of what was measurable, None if nothing was."""
    found = numbers(values)
    return float(_median(found)) if found else None


def both(*columns: Sequence[Cell]) -> list[Cell]:
    """Return where every column is true; None where any is None and none is false."""
    joined: list[Cell] = []
    for row in zip(*columns, strict=True):
        if any(value is False for value in row):
            joined.append(False)
        else:
            joined.append(None if any(value is None for value in row) else True)
    return joined
