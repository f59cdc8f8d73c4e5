"""Learning curves of one or several runs as one figure."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from matgen.training.curve_series import (
    BLUE,
    VERMILION,
    Series,
    Shown,
    highest,
    series_of,
    smoothed,
)
from matgen.training.curves import ValidationLine, XAxis

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.gridspec import GridSpec

Format = Literal["png", "svg", "pdf"]

_STYLE: Final[dict[Any, Any]] = {  # matplotlib's type of its keys is private
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": "#e4e4e4",
    "grid.linewidth": 0.7,
    "legend.frameon": False,
    "lines.linewidth": 1.4,
    "svg.fonttype": "none",
    "svg.hashsalt": "matgen",
    "figure.constrained_layout.use": True,
}
_DPI: Final = 180
_SUPERSCRIPTS: Final = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_PER_ROW: Final = 4
_SKIPPED_START: Final = 0.04
"""Share of a run whose losses may lie above the frame: they fall too fast to be read."""
_ENOUGH: Final = 8
"""Points that a frame is chosen by; of fewer, all are in it."""


def draw_curves(runs: Sequence[Shown], *, x_axis: XAxis, kind: Format) -> bytes:
    """Return the figure as the bytes of a file.

    Above: training and validation loss. Below, small: learning rate, gradient norm, the validation
    loss with conditions given and with none where they differ, and that of each kind of token.

    Args:
        runs: Those to draw together; each has at least one line.
        x_axis: What everything is drawn against.
        kind: Of file.
    """
    import matplotlib as mpl

    panels = list(_panels(runs))
    n_rows = math.ceil(len(panels) / _PER_ROW)
    columns = _legend_columns(runs)
    height = 3.9 + 1.75 * n_rows + 0.2 * math.ceil(len(runs) / columns)
    with mpl.rc_context(_STYLE), _figure(9.2, height) as figure:
        grid = figure.add_gridspec(1 + n_rows, _PER_ROW, height_ratios=[2.3] + [1.0] * n_rows)
        series, x_label = series_of(runs, x_axis)
        end = max((run.end for run in series), default=0.0) or 1.0
        top = figure.add_subplot(grid[0, :])
        top.set_xlabel(x_label)
        _losses(top, series)
        top.set_xlim(-0.01 * end, 1.01 * end)
        for place, (title, paint) in enumerate(panels):
            axes = _small(figure, grid, place, len(panels), x_label)
            axes.set_title(title)
            paint(axes, series)
            axes.set_xlim(-0.02 * end, 1.02 * end)
        if len(runs) > 1:
            _name_runs(figure, series, columns)
        file = io.BytesIO()
        # Without the date, the same curves are the same bytes.
        metadata = None if kind == "png" else {"CreationDate" if kind == "pdf" else "Date": None}
        figure.savefig(file, format=kind, dpi=_DPI, metadata=metadata)
    return file.getvalue()


_Paint = Callable[["Axes", Sequence[Series]], None]


def _panels(runs: Sequence[Shown]) -> Iterator[tuple[str, _Paint]]:
    """Yield title and content of each small panel."""
    power = _power(runs)
    in_units = f" (10{str(power).translate(_SUPERSCRIPTS)})" if power else ""
    yield f"learning rate{in_units}", _learning_rate(10.0**power)
    yield "gradient norm", _gradient_norm
    lines = [line for run in runs for line in run.curves.validations]
    if any(line.given != line.free for line in lines if math.isfinite(line.given)):
        yield "validation, conditions given", _validation(lambda line: line.given)
        yield "validation, none given", _validation(lambda line: line.free)
    for kind in dict.fromkeys(kind for run in runs for kind in run.curves.kinds):
        yield f"validation, {kind} tokens", _validation(_of_kind(kind))


def _power(runs: Sequence[Shown]) -> int:
    """Return the power of ten of the highest learning rate."""
    rates = [line.learning_rate for run in runs for line in run.curves.steps]
    highest = max((rate for rate in rates if math.isfinite(rate)), default=0.0)
    return math.floor(math.log10(highest)) if highest > 0 else 0


def _of_kind(kind: str) -> Callable[[ValidationLine], float]:
    return lambda line: line.kinds.get(kind, math.nan)


def _losses(axes: Axes, series: Sequence[Series]) -> None:
    """Draw training and validation losses of all runs."""
    from matplotlib.lines import Line2D

    alone = len(series) == 1
    for run in series:
        raw = run.steps(lambda line: line.loss)
        axes.plot(run.x_steps, raw, color=run.colour, alpha=0.25, linewidth=0.7)
        axes.plot(run.x_steps, smoothed(raw), color=run.colour, linestyle=run.dashes)
        own = VERMILION if alone else run.colour
        losses = run.validations(lambda line: line.loss)
        axes.plot(
            run.x_validations, losses, color=own, linestyle=run.dashes,
            marker="o", markersize=3.5, markeredgecolor="white", markeredgewidth=0.5, linewidth=0.9,
        )  # fmt: skip
        if np.isfinite(losses).any():
            lowest = int(np.nanargmin(losses))
            axes.plot(
                run.x_validations[lowest], losses[lowest], color=own, linestyle="none",
                marker="o", markersize=8, markerfacecolor="none", markeredgewidth=1.3,
            )  # fmt: skip
    axes.set_ylabel("loss (nats/token)")
    grey, red = (BLUE, VERMILION) if alone else ("#555555", "#555555")
    handles = [
        Line2D([], [], color=grey, label="training (smoothed; faint: as logged)"),
        Line2D([], [], color=red, marker="o", markersize=3.5, linewidth=0.9, label="validation"),
        Line2D(
            [], [], color=red, marker="o", markersize=8, markerfacecolor="none", linestyle="none",
            label=_lowest(series[0]) if alone else "lowest validation loss",
        ),
    ]  # fmt: skip
    axes.legend(handles=handles, loc="upper right")
    if alone:
        axes.set_title(series[0].shown.label)
    _frame(
        axes,
        [(run.x_steps, smoothed(run.steps(lambda line: line.loss))) for run in series]
        + [(run.x_validations, run.validations(lambda line: line.loss)) for run in series],
    )


def _lowest(run: Series) -> str:
    best = run.shown.curves.best
    if best is None:
        return "lowest validation loss"
    return f"lowest validation loss: {best.loss:.4f} at step {best.step:,}"


def _learning_rate(unit: float) -> _Paint:
    def paint(axes: Axes, series: Sequence[Series]) -> None:
        for run in series:
            rates = run.steps(lambda line: line.learning_rate / unit)
            axes.plot(run.x_steps, rates, color=run.colour, linestyle=run.dashes)
        axes.set_ylim(bottom=0.0)

    return paint


def _gradient_norm(axes: Axes, series: Sequence[Series]) -> None:
    for run in series:
        norms = run.steps(lambda line: line.gradient_norm)
        axes.plot(run.x_steps, norms, color=run.colour, alpha=0.25, linewidth=0.6)
        axes.plot(run.x_steps, smoothed(norms), color=run.colour, linestyle=run.dashes)
    # One spike would press all the rest to the floor.
    norms_of_all = [(run.x_steps, run.steps(lambda line: line.gradient_norm)) for run in series]
    _frame(axes, norms_of_all, share=0.99)


def _validation(value: Callable[[ValidationLine], float]) -> _Paint:
    def paint(axes: Axes, series: Sequence[Series]) -> None:
        alone = len(series) == 1
        for run in series:
            axes.plot(
                run.x_validations, run.validations(value),
                color=VERMILION if alone else run.colour, linestyle=run.dashes,
                marker="o", markersize=2, linewidth=0.9,
            )  # fmt: skip
        axes.set_ylabel("nats/token")
        _frame(axes, [(run.x_validations, run.validations(value)) for run in series])

    return paint


def _small(figure: Figure, grid: GridSpec, place: int, n_panels: int, x_label: str) -> Axes:
    row, column = divmod(place, _PER_ROW)
    axes = figure.add_subplot(grid[1 + row, column])
    axes.tick_params(labelsize=8)
    axes.locator_params(nbins=4)
    if place + _PER_ROW >= n_panels:
        axes.set_xlabel(x_label, fontsize=8)
    axes.yaxis.label.set_fontsize(8)
    return axes


def _name_runs(figure: Figure, series: Sequence[Series], n_columns: int) -> None:
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], color=run.colour, linestyle=run.dashes, linewidth=2, label=run.shown.label)
        for run in series
    ]
    figure.legend(handles=handles, loc="outside upper left", ncols=n_columns)


def _legend_columns(runs: Sequence[Shown]) -> int:
    """Return how many names of runs fit side by side."""
    longest = max(len(run.label) for run in runs)
    return max(1, min(len(runs), 110 // (longest + 8)))


def _frame(
    axes: Axes,
    drawn: Sequence[tuple[NDArray[np.float64], NDArray[np.float64]]],
    *,
    share: float = 1.0,
) -> None:
    """Choose the y axis by what comes after the steep start of each run, if enough does.

    Args:
        axes: Where it was drawn.
        drawn: x and y of each curve.
        share: Of the values, at least so many lie in the frame; the highest may not.
    """
    later = [y[(x >= _SKIPPED_START * highest(x)) & np.isfinite(y)] for x, y in drawn]
    seen = np.concatenate(later)
    if len(seen) < _ENOUGH:
        return
    low, high = float(seen.min()), float(np.quantile(seen, share))
    margin = 0.06 * (high - low) or 0.05
    axes.set_ylim(low - margin, high + margin)


@contextmanager
def _figure(width_inch: float, height_inch: float) -> Iterator[Figure]:
    """Give a figure without pyplot's global state."""
    from matplotlib.figure import Figure

    yield Figure(figsize=(width_inch, height_inch))
