"""Learning curves as one HTML file that needs nothing else: figure and tables inside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape


@dataclass(frozen=True, slots=True)
class Table:
    """A table of texts."""

    caption: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]


def page_of(title: str, svg: bytes, tables: Sequence[Table]) -> str:
    """Return the page: the figure as scalable drawing, and the tables under it.

    Args:
        title: Names the runs.
        svg: A whole SVG file.
        tables: Those without rows are left out.
    """
    # Inside HTML an SVG has neither XML declaration nor document type.
    drawing = svg.decode("utf-8")
    drawing = drawing[drawing.index("<svg") :]
    told = "\n".join(_table(table) for table in tables if table.rows)
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{escape(title)}</title>
<style>
body {{ font: 16px/1.5 sans-serif; max-width: 70rem; margin: 2rem auto; padding: 0 1rem; }}
svg {{ width: 100%; height: auto; }}
table {{ border-collapse: collapse; margin: 2rem 0; font-size: 90%; }}
caption {{ text-align: left; font-weight: bold; }}
td, th {{ padding: 0.2rem 0.8rem; border-bottom: 1px solid #ddd; text-align: left; }}
</style>
</head>
<body>
<h1>{escape(title)}</h1>
{drawing}
{told}
</body>
</html>
"""


def _table(table: Table) -> str:
    header = "".join(f"<th>{escape(cell)}</th>" for cell in table.header)
    rows = "\n".join(
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in table.rows
    )
    return (
        f"<table>\n<caption>{escape(table.caption)}</caption>\n<tr>{header}</tr>\n{rows}\n</table>"
    )
