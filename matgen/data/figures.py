"""Statistics as figures: PNG to look at, SVG to print, and one page that shows them all.

Colours can be told apart by the colour-blind: viridis, and the palette of Okabe and Ito (2008).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from matgen.atomic import replacing, write_text
from matgen.data.figure_page import Drawing, page_of, share
from matgen.data.histogram import Histogram, histogram
from matgen.data.statistics import (
    CRYSTAL_SYSTEMS,
    Distribution,
    PropertyStatistics,
    Statistics,
    crystal_system,
    crystal_systems,
)
from matgen.elements import symbols, table_place

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BLUE, ORANGE, GREEN, VERMILION = "#0072B2", "#E69F00", "#009E73", "#D55E00"
_SYSTEM_COLOURS: Final = dict(
    zip(
        CRYSTAL_SYSTEMS,
        ("#000000", ORANGE, "#56B4E9", GREEN, "#CC79A7", VERMILION, BLUE),
        strict=True,
    )
)
_UNITS: Final = {
    "g/cm3": "g/cm³", "muB/A3": "µB/Å³", "1": "", "formula": "", "elements": "", "number": "",
}  # fmt: skip
_STYLE: Final[dict[Any, Any]] = {  # matplotlib's type of its keys is private
    "font.size": 10,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "grid.color": "#dddddd",
    "legend.frameon": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "matgen",
    "figure.constrained_layout.use": True,
}
_DPI: Final = 130
_LAST_USUAL: Final = 103
"""Heavier elements get a place in the table only where there are any."""


def draw(statistics: Statistics, folder: Path) -> list[Drawing]:
    """Write every figure into a folder, and ``index.html`` that shows them."""
    drawings = []
    folder.mkdir(parents=True, exist_ok=True)
    for drawing, paint, size in _plan(statistics):
        with _figure(*size) as figure:
            paint(figure)
            _save(figure, folder / drawing.name)
        drawings.append(drawing)
    write_text(folder / "index.html", page_of(statistics, drawings))
    return drawings


_Paint = Callable[["Figure"], None]


def _plan(found: Statistics) -> Iterator[tuple[Drawing, _Paint, tuple[float, float]]]:
    wide, plain = (9.0, 4.0), (6.4, 3.8)
    yield (
        Drawing("elements", "How many crystals contain each element; colours are logarithmic."),
        lambda figure: _elements(figure, found),
        (11.0, 6.2),
    )
    yield (
        Drawing("sites", "Sites per cell."),
        lambda figure: _distribution(figure, found.n_sites, "sites per cell"),
        plain,
    )
    yield (
        Drawing("n_elements", "Different elements per crystal."),
        lambda figure: _bars(
            figure,
            {str(n): count for n, count in sorted(found.n_elements.items())},
            "different elements",
        ),
        plain,
    )
    yield (
        Drawing("space_groups", "Space groups by number, coloured by crystal system."),
        lambda figure: _space_groups(figure, found),
        wide,
    )
    yield (
        Drawing("cells", "Lengths and angles of the cells as the dataset gives them."),
        lambda figure: _cells(figure, found),
        (9.0, 3.8),
    )
    yield (
        Drawing("density", "Mass density, computed from the crystals."),
        lambda figure: _distribution(figure, found.density, "density (g/cm³)"),
        plain,
    )
    taken: list[str] = []
    for name, values in found.properties.items():
        if values.name == "space_group" and not values.source and not found.computed_groups:
            continue  # drawn above
        taken.append(_file_name(name, taken))
        yield (
            Drawing(f"property-{taken[-1]}", _property_caption(values, found)),
            _property_painter(values, found),
            plain,
        )


def _property_painter(values: PropertyStatistics, found: Statistics) -> _Paint:
    missing = (
        f"known for {values.known:,} of {found.n_crystals:,} crystals, "
        f"{share(found.n_crystals - values.known, found.n_crystals)} missing"
    )
    label = _labelled(values)

    def paint(figure: Figure) -> None:
        if values.texts:
            _bars(figure, dict(values.texts.most_common(20)), label, title=missing)
        else:
            _distribution(figure, values.numbers, label, title=missing)

    return paint


def _property_caption(values: PropertyStatistics, found: Statistics) -> str:
    missing = found.n_crystals - values.known
    return (
        f"{_labelled(values)}: known for {values.known:,} of {found.n_crystals:,} "
        f"crystals, missing in {share(missing, found.n_crystals)}."
    )


def _elements(figure: Figure, found: Statistics) -> None:
    from matplotlib import colormaps
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import LogNorm
    from matplotlib.patches import Rectangle

    axes = figure.subplots()
    # Most elements are within one decade: a few noble gases must not use up the colours.
    usual = float(np.quantile(list(found.elements.values()) or [1], 0.1))
    lowest = 10.0 ** math.floor(math.log10(usual))
    most = max(found.elements.values(), default=1)
    scale, palette = LogNorm(lowest, max(most, 10.0 * lowest), clip=True), colormaps["viridis"]
    last = max([_LAST_USUAL, *found.elements])
    for number in range(1, last + 1):
        column, row = table_place(number)
        count = found.elements[number]
        face = palette(float(scale(count))) if count else (0.95, 0.95, 0.95, 1.0)
        ink = _ink(face[:3]) if count else "#777777"
        axes.add_patch(Rectangle((column, row), 0.94, 0.94, facecolor=face))
        centre = column + 0.47
        axes.text(centre, row + 0.42, symbols[number], ha="center", va="center", color=ink,
                  fontsize=13, fontweight="bold")  # fmt: skip
        axes.text(centre, row + 0.75, f"{count:,}" if count else "–", ha="center", va="center",
                  color=ink, fontsize=7.5)  # fmt: skip
    axes.set(xlim=(-0.1, 18.1), ylim=(9.7, -0.2), aspect="equal")
    axes.axis("off")
    bar = figure.colorbar(
        ScalarMappable(scale, palette),
        cax=axes.inset_axes((0.2, 0.87, 0.42, 0.03)),
        orientation="horizontal",
        extend="min" if lowest > 1.0 else "neither",
        format="{x:,.0f}",
    )
    bar.set_label(f"crystals that contain the element, of {found.n_crystals:,}")


def _ink(face: Sequence[float]) -> str:
    """Return black or white, whichever stands out more (relative luminance as in WCAG 2)."""
    luminance = float(np.dot(np.asarray(face) ** 2.2, (0.2126, 0.7152, 0.0722)))
    return "black" if luminance > 0.18 else "white"


def _space_groups(figure: Figure, found: Statistics) -> None:
    axes = figure.subplots()
    by_system = crystal_systems(found.space_groups)
    for system, count in by_system.items():
        numbers = [n for n in sorted(found.space_groups) if crystal_system(n) == system]
        axes.bar(
            numbers,
            [found.space_groups[n] for n in numbers],
            width=1.0,
            color=_SYSTEM_COLOURS[system],
            label=f"{system} {share(count, sum(by_system.values()))}",
        )
    axes.set(xlim=(0, 231), xlabel="space group number", ylabel="crystals")
    # The first monoclinic one would be written over the first of all.
    axes.set_xticks([1, *list(CRYSTAL_SYSTEMS.values())[2:], 230])
    if found.space_groups:
        axes.set_yscale("log")
        axes.set_ylim(bottom=0.7)
    _with_thousands(axes)
    figure.legend(loc="outside upper center", ncols=4, fontsize=9)


def _cells(figure: Figure, found: Statistics) -> None:
    left, right = figure.subplots(1, 2, sharey=False)
    lengths = _joint(found.lengths)
    angles = _joint(found.angles, centred=True)
    _steps(left, dict(zip("abc", lengths, strict=True)), "cell length (Å)")
    _steps(right, dict(zip("αβγ", angles, strict=True)), "cell angle (degrees)")
    for axes in (left, right):
        if found.n_crystals:
            axes.set_yscale("log")
            axes.set_ylim(bottom=0.7)
        _with_thousands(axes)
    right.set_xticks(
        [t for t in range(0, 181, 15) if right.get_xlim()[0] <= t <= right.get_xlim()[1]]
    )


def _joint(distributions: tuple[Distribution, ...], *, centred: bool = False) -> list[Histogram]:
    """Return histograms of several distributions with the same bins."""
    whole = Distribution()
    for distribution in distributions:
        whole.merge(distribution)
    edges = histogram(whole, centred=centred).edges
    return [histogram(distribution, edges=edges) for distribution in distributions]


def _steps(axes: Axes, histograms: Mapping[str, Histogram], label: str) -> None:
    styles = ((BLUE, "-"), (ORANGE, "--"), (GREEN, ":"))
    for (name, bins), (colour, style) in zip(histograms.items(), styles, strict=True):
        axes.stairs(
            bins.counts, bins.edges, label=name, color=colour, linestyle=style, linewidth=1.8
        )
    axes.set(xlabel=label, ylabel="crystals")
    axes.legend()
    _note_outside(axes, sum(bins.outside for bins in histograms.values()))


def _distribution(figure: Figure, values: Distribution, label: str, *, title: str = "") -> None:
    from matplotlib.ticker import MaxNLocator

    axes = figure.subplots()
    axes.set(xlabel=label, ylabel="crystals", title=title)
    if not values.n:
        axes.text(0.5, 0.5, "no value", transform=axes.transAxes, ha="center", color="#777777")
        axes.set(xticks=[], yticks=[])
        return
    bins = histogram(values)
    axes.stairs(bins.counts, bins.edges, fill=True, color=BLUE)
    if bins.uneven:
        axes.set_yscale("log")
        axes.set_ylim(bottom=0.7)
    _with_thousands(axes)
    if bins.whole:
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    if not bins.uneven:
        _whole_counts(axes)
    median = values.quantile(0.5)
    assert median is not None
    axes.axvline(median, color=VERMILION, linestyle="--", linewidth=1.5)
    # In a corner of its own: a legend would lie on the bars of some property.
    axes.set_title(f"median {median:.4g}", loc="right", color=VERMILION)
    _note_outside(axes, bins.outside)


def _bars(figure: Figure, counts: Mapping[str, int], label: str, *, title: str = "") -> None:
    axes = figure.subplots()
    axes.bar(list(counts), list(counts.values()), color=BLUE)
    axes.set(xlabel=label, ylabel="crystals", title=title)
    _with_thousands(axes)
    _whole_counts(axes)
    for place, count in enumerate(counts.values()):
        axes.annotate(f"{count:,}", (place, count), ha="center", va="bottom", fontsize=8)
    if len(counts) > 8:
        axes.tick_params("x", labelrotation=60)


def _note_outside(axes: Axes, n_outside: int) -> None:
    if n_outside:
        axes.set_xlabel(f"{axes.get_xlabel()}\n{n_outside:,} values lie beyond this axis")


def _whole_counts(axes: Axes) -> None:
    """Put no tick between two numbers of crystals."""
    from matplotlib.ticker import MaxNLocator

    axes.yaxis.set_major_locator(
        MaxNLocator("auto", steps=[1, 2, 5, 10], integer=True, min_n_ticks=1)
    )


def _with_thousands(axes: Axes) -> None:
    axes.yaxis.set_major_formatter("{x:,.0f}")


def _labelled(values: PropertyStatistics) -> str:
    shown = _UNITS.get(values.unit, values.unit)
    words = values.name.replace("_", " ")
    label = f"{words} ({shown})" if shown else words
    return f"{label} from {values.shown}" if values.source else label


def _file_name(name: str, taken: Sequence[str]) -> str:
    """Return a name for a file that no other property has, also where case makes no difference."""
    plain = "".join(letter if letter.isalnum() or letter in "-_" else "-" for letter in name)
    while plain.lower() in {other.lower() for other in taken}:
        plain += "-"
    return plain


@contextmanager
def _figure(width_inch: float, height_inch: float) -> Iterator[Figure]:
    """Give a figure in our style, without pyplot's global state."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context(_STYLE):
        yield Figure(figsize=(width_inch, height_inch))


def _save(figure: Figure, path: Path) -> None:
    for kind in ("png", "svg"):
        with replacing(path.with_name(f"{path.name}.{kind}")) as temporary:
            # Without the date, the same statistics are the same bytes.
            metadata = {"Date": None} if kind == "svg" else None
            figure.savefig(temporary, format=kind, dpi=_DPI, metadata=metadata)
