"""Runs as arrays on a common axis, each with a colour and dashes of its own.

Colours can be told apart by the colour-blind (palette of Okabe and Ito, 2008).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import cycle, islice, product
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from matgen.training.curves import Curves, StepLine, ValidationLine, XAxis

BLUE, VERMILION = "#0072B2", "#D55E00"
_COLOURS: Final = (BLUE, VERMILION, "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_DASHES: Final[tuple[Literal["-", "--", ":", "-."], ...]] = ("-", "--", ":", "-.")
_SMOOTHED: Final = 60
"""The standard deviation of the smoothing Gaussian is this part of the logged steps."""


@dataclass(frozen=True, eq=False)
class Shown:
    """A run in a figure.

    Attributes:
        label: Its line in the legend.
        tokens_per_epoch: Crystal tokens; only needed for an axis of epochs.
    """

    label: str
    curves: Curves
    tokens_per_epoch: float


@dataclass(frozen=True, eq=False)
class Series:
    """A run as arrays, on the axis that was chosen."""

    shown: Shown
    colour: str
    dashes: Literal["-", "--", ":", "-."]
    x_steps: NDArray[np.float64]
    x_validations: NDArray[np.float64]

    @property
    def end(self) -> float:
        """Where the run ends on the axis."""
        return highest(np.concatenate([self.x_steps, self.x_validations]))

    def steps(self, value: Callable[[StepLine], float]) -> NDArray[np.float64]:
        """Return a value of each logged step."""
        return np.array([value(line) for line in self.shown.curves.steps], dtype=np.float64)

    def validations(self, value: Callable[[ValidationLine], float]) -> NDArray[np.float64]:
        """Return a value of each validation."""
        lines = self.shown.curves.validations
        return np.array([value(line) for line in lines], dtype=np.float64)


def series_of(runs: Sequence[Shown], x_axis: XAxis) -> tuple[list[Series], str]:
    """Return the runs on the axis, and its label; tokens in units that give short numbers."""
    placed = [
        [
            np.array(run.curves.along(x_axis, lines, tokens_per_epoch=run.tokens_per_epoch))
            for lines in (run.curves.steps, run.curves.validations)
        ]
        for run in runs
    ]
    unit, word = 1.0, ""
    if x_axis is XAxis.TOKENS:
        most = max((highest(x) for pair in placed for x in pair), default=0.0)
        units = ((1e9, "billion "), (1e6, "million "), (1e3, "thousand "), (1.0, ""))
        unit, word = next((u for u in units if most >= u[0]), units[-1])
    labels = {
        XAxis.TOKENS: f"{word}crystal tokens",
        XAxis.STEPS: "steps",
        XAxis.MINUTES: "minutes of training",
        XAxis.EPOCHS: "epochs",
    }
    looks = islice(cycle(product(_DASHES, _COLOURS)), len(runs))
    series = [
        Series(run, colour, dashes, x_steps / unit, x_validations / unit)
        for run, (dashes, colour), (x_steps, x_validations) in zip(runs, looks, placed, strict=True)
    ]
    return series, labels[x_axis]


def highest(values: NDArray[np.float64]) -> float:
    """Return the highest of those that are finite, at least 0."""
    return float(np.max(values[np.isfinite(values)], initial=0.0))


def smoothed(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return a centred Gaussian mean, of what is finite.

    It is narrow at the beginning, where losses fall so fast that a mean would lie below them.
    """
    known = np.isfinite(values)
    filled = np.where(known, values, 0.0)
    means = np.full(len(values), math.nan)
    for place in range(len(values)):
        width = min(max(1.0, len(values) / _SMOOTHED), 0.25 + place / 6)
        first = max(0, place - math.ceil(3 * width))
        near = slice(first, place + math.ceil(3 * width) + 1)
        away = np.arange(first, first + len(filled[near])) - place
        weights = np.exp(-0.5 * (away / width) ** 2) * known[near]
        if weights.any():
            means[place] = weights @ filled[near] / weights.sum()
    return means
