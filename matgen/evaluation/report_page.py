"""The report that people look at: one HTML page with figures, samples and a 3D viewer."""

from __future__ import annotations

from pathlib import Path

from matgen.atomic import write_text
from matgen.evaluation.report import Report
from matgen.evaluation.report_page_data import page_data
from matgen.evaluation.self_contained import self_contained


def write_page(report: Report, path: Path) -> None:
    """Write the page of a report; it needs no other file and no network.

    Args:
        report: Any; sections without data say what they would need.
        path: Of the HTML file, replaced if it exists.
    """
    write_text(path, page_of(report))


def page_of(report: Report) -> str:
    """Return the page of a report."""
    return self_contained(
        report.title,
        page_data(report),
        body="report.html",
        scripts=("drawing.js", "figures.js", "charts.js", "samples.js", "viewer.js"),
        libraries=("vendor/3Dmol-min.js",),
    )
