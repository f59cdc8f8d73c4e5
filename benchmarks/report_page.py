"""How large the page of a report is, and how long it takes to make and to open.

Real crystals (mp_le20) stand for samples and for their relaxed geometries, with columns as the
usual evaluators fill them; one line of JSON, ratios first:

- share_of_15_mb: size of the page over 15 MB;
- share_of_3_s: seconds until the page is whole, over 3, in a Chromium started anew (median of the
  repeats; null without a Chromium); load_per_core says how busy the machine was;
- seconds_to_read: until its text and tables are there, before the libraries have run;
- make_ms_per_sample: space groups included.

    python benchmarks/report_page.py --quick
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import tempfile
import time
from itertools import islice
from pathlib import Path

import numpy as np

from matgen.catalog import Catalog
from matgen.evaluation.report import Report
from matgen.evaluation.report_page import write_page
from matgen.records import Crystal, Measurement, Relaxation, Sample
from matgen.roles.dataset import DatasetSource

Column = list[float | str | bool | None]


def report_of(crystals: list[Crystal]) -> Report:
    rng = np.random.default_rng(0)
    n = len(crystals)

    def flags(share: float) -> Column:
        return [bool(value) for value in rng.random(n) < share]

    def values(scale: float) -> Column:
        return [float(value) for value in rng.exponential(scale, n)]

    names = ("valid_structure", "valid", "unique", "novel", "stable", "sun", "converged")
    columns = {
        **{name: flags(0.7) for name in names},
        "energy_above_hull": values(0.2),
        "rmsd": values(0.2),
        "energy": values(30.0),
        "density_requested": values(4.0),
        "density_achieved": values(4.0),
    }
    found = Measurement(
        asked=n,
        per_sample=columns,
        summary={name: sum(map(bool, columns[name])) / n for name in names},
    )
    samples = [Sample(index, crystal) for index, crystal in enumerate(crystals)]
    relaxations = [Relaxation(crystal, -1.0, 0.0, converged=True) for crystal in crystals]
    settings: dict[str, object] = {
        "protocol": None,
        "relaxer": None,
        "hull": None,
        "reference": None,
        "geometry_compared": "relaxed",
        "matcher": {},
        "rmsd_matcher": {},
        "symprec_ang": 0.01,
        "versions": {},
    }
    return Report(samples, n, {"all": found}, relaxations, settings)


def seconds_to_open(path: Path, repeats: int) -> tuple[float, float] | None:
    """Return seconds until text and tables are there, and until everything is."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        return None
    from playwright.sync_api import sync_playwright

    found = []
    with sync_playwright() as playwright:
        for _ in range(repeats):
            browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
            page = browser.new_page()
            page.goto(path.as_uri())
            page.wait_for_selector("html[data-ready]", timeout=120_000)
            filled = page.evaluate("performance.getEntriesByName('filled')[0].startTime")
            whole = page.evaluate("performance.timing.loadEventStart - performance.timeOrigin")
            found.append((filled / 1000, whole / 1000))
            browser.close()
    return statistics.median(f for f, _ in found), statistics.median(w for _, w in found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--samples", type=int, default=1000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="one opening")
    options = parser.parse_args()
    source = Catalog.load().build("dataset", "mp_le20", {"rows": "all"})
    assert isinstance(source, DatasetSource)
    crystals = [record.crystal for record in islice(source.records("train"), options.samples)]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "report.html"
        start = time.perf_counter()
        write_page(report_of(crystals), path)
        made = time.perf_counter() - start
        megabytes = path.stat().st_size / 1e6
        opened = seconds_to_open(path, 1 if options.quick else options.repeats)
    print(
        json.dumps(
            {
                "share_of_15_mb": round(megabytes / 15, 3),
                "share_of_3_s": None if opened is None else round(opened[1] / 3, 2),
                "make_ms_per_sample": round(1000 * made / len(crystals), 2),
                "megabytes": round(megabytes, 2),
                "seconds_to_read": None if opened is None else round(opened[0], 2),
                "seconds_to_open": None if opened is None else round(opened[1], 2),
                "load_per_core": round(os.getloadavg()[0] / (os.cpu_count() or 1), 1),
                "n_samples": len(crystals),
                "processor": platform.processor() or platform.machine(),
            }
        )
    )


if __name__ == "__main__":
    main()
