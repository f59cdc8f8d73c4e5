"""The page that shows the figures of a dataset: plain HTML beside them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from matgen.data.statistics import Statistics


@dataclass(frozen=True, slots=True)
class Drawing:
    """One figure on disk: ``NAME.png`` and ``NAME.svg``."""

    name: str
    caption: str


def page_of(found: Statistics, drawings: Sequence[Drawing]) -> str:
    """Return the page: a table of the properties, then every figure with its caption."""
    title = f"{found.dataset}: {', '.join(found.splits)}"
    counts = ", ".join(f"{split} {count:,}" for split, count in found.counts.items())
    figures = "\n".join(
        f'<figure><a href="{d.name}.svg"><img src="{d.name}.png" alt="{escape(d.caption)}"></a>'
        f"<figcaption>{escape(d.caption)}</figcaption></figure>"
        for d in drawings
    )
    rows = "\n".join(
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>"
        for row in table_rows(found)
    )
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{escape(title)}</title>
<style>
body {{ font: 16px/1.5 sans-serif; max-width: 70rem; margin: 2rem auto; padding: 0 1rem; }}
figure {{ margin: 2rem 0; }}
img {{ max-width: 100%; height: auto; }}
table {{ border-collapse: collapse; }}
td, th {{ padding: 0.2rem 0.8rem; border-bottom: 1px solid #ddd; text-align: left; }}
</style>
</head>
<body>
<h1>{escape(title)}</h1>
<p>{found.n_crystals:,} crystals ({escape(counts)}), {found.skipped:,} entries that are none.
Fingerprint {escape(found.fingerprint)}. All figures as numbers:
<a href="summary.json">summary.json</a>. Click a figure for its SVG.</p>
<table>
<tr><th>property</th><th>unit</th><th>known</th><th>missing</th><th>lowest</th><th>median</th>
<th>mean</th><th>highest</th></tr>
{rows}
</table>
{figures}
</body>
</html>
"""


def table_rows(found: Statistics) -> list[tuple[str, ...]]:
    """Return a row per property: name, unit, known, missing, lowest, median, mean, highest."""
    rows: list[tuple[str, ...]] = []
    for name, values in found.properties.items():
        numbers = values.numbers
        figures = (numbers.lowest, numbers.quantile(0.5), numbers.mean, numbers.highest)
        told = ["" if not numbers.n or v is None else f"{v:.4g}" for v in figures]
        missing = share(found.n_crystals - values.known, found.n_crystals)
        rows.append((name, values.unit, f"{values.known:,}", missing, *told))
    return rows


def share(part: int, whole: int) -> str:
    """Return a part of a whole in per cent, with its sign."""
    if not part or not whole:
        return "0 %"
    percent = 100.0 * part / whole
    return f"{percent:.1f} %" if percent >= 0.1 else "< 0.1 %"
