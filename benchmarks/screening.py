"""What over-generating and screening is worth: S.U.N. crystals per sample, and per CPU hour.

Two ways to the same kind of crystals, each a few commands of matgen:

- raw: ``matgen sample``, ``matgen evaluate --relax``.
- screened: many samples that obey rules (formulas not in the training set, no two sites nearer than
  0.5 Å), the potential at the crystals as drawn (``relaxer.max_steps=0``), and of those that are
  valid, unique and novel the lowest above the hull are relaxed. What the single points cost is
  counted, and every sample drawn is in the denominator ``per_drawn``.

The reference for novelty is, for both, every crystal of mp_le20. CPU time is that of the commands
and their workers. Both ways go on where they stopped: what a command made is kept in ``--out``.

    python benchmarks/screening.py --quick
    python benchmarks/screening.py --model default -n 10000 --relaxed 500 --out screening

Prints a Markdown table; the last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from matgen.io.sources import entries
from matgen.io.writing import write_samples
from matgen.records import Sample
from matgen_datasets.mp_le20 import FILE as REFERENCE

RULES = ("--unseen-formulas", "--min-distance", "0.5")


@dataclass(frozen=True)
class Way:
    """What a way to crystals gave.

    Attributes:
        drawn: Samples.
        relaxed: Crystals that were relaxed.
        report: Of those, as ``matgen evaluate`` wrote it.
        cpu_seconds: Of all its commands.
    """

    drawn: int
    relaxed: int
    report: dict[str, Any]  # JSON
    cpu_seconds: float

    def figure(self, evaluator: str, name: str) -> dict[str, Any]:  # JSON
        """Return a figure of the report, with its interval."""
        found: dict[str, Any] = self.report["measurements"][evaluator]["summary"][name]
        return found

    @property
    def n_sun(self) -> float:
        """Stable, unique and novel crystals."""
        return float(self.figure("sun", "sun")["value"]) * self.relaxed


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--model", default="default")
    parser.add_argument("-n", type=int, default=10_000, help="samples to screen")
    parser.add_argument("--relaxed", type=int, default=500, help="crystals to relax, either way")
    parser.add_argument("--relax", default="chgnet", help="potential")
    parser.add_argument("--sample", default="", help="more flags of matgen sample, for both ways")
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--out", type=Path, default=None)
    parser.add_argument("--quick", action="store_true", help="under 50 s on two cores")
    options = parser.parse_args()
    if options.quick:
        options.n, options.relaxed = 40, 3
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as scratch:
        out = options.out or Path(scratch)
        out.mkdir(parents=True, exist_ok=True)
        ways = {"raw": raw(options, out), "screened": screened(options, out)}
    figures: dict[str, Any] = {}  # numbers and texts
    per_hour = {name: 3600 * way.n_sun / way.cpu_seconds for name, way in ways.items()}
    figures["sun_per_cpu_hour_ratio"] = (
        per_hour["screened"] / per_hour["raw"] if per_hour["raw"] else None
    )
    for name, way in ways.items():
        figures[f"{name}_sun"] = way.figure("sun", "sun")["value"]
        figures[f"{name}_sun_per_drawn"] = way.n_sun / way.drawn
        figures[f"{name}_sun_per_cpu_hour"] = per_hour[name]
        figures[f"{name}_cpu_seconds"] = way.cpu_seconds
    print(table(ways))
    figures |= {
        "n": options.n, "relaxed": options.relaxed, "model": options.model, "relax": options.relax,
        "sample": options.sample, "seconds": time.perf_counter() - started,
    }  # fmt: skip
    print(json.dumps(figures))


def raw(options: argparse.Namespace, out: Path) -> Way:
    """Sample and relax."""
    crystals = out / "raw.extxyz"
    seconds = drawn(options, options.relaxed, crystals, ())
    report, more = evaluated(options, crystals, out / "raw-evaluation", ())
    return Way(options.relaxed, options.relaxed, report, seconds + more)


def screened(options: argparse.Namespace, out: Path) -> Way:
    """Sample many, look at each once, and relax the best."""
    library, best = out / "library.extxyz", out / "best.extxyz"
    seconds = drawn(options, options.n, library, RULES)
    single = ("--set", "relaxer.max_steps=0")
    _, more = evaluated(options, library, out / "library-evaluation", single)
    chosen = lowest(out / "library-evaluation", options.relaxed)
    found = {int(entry.info["index"]): entry.crystal for entry in entries(library)}
    samples = [Sample(rank, found[index]) for rank, index in enumerate(chosen)]
    write_samples(best, samples, asked=len(samples))
    report, last = evaluated(options, best, out / "best-evaluation", ())
    return Way(options.n, len(samples), report, seconds + more + last)


def lowest(evaluation: Path, n: int) -> list[int]:
    """Return the valid, unique and novel samples, the lowest above the hull first."""
    columns = ["index", "energy_above_hull", "valid_structure", "unique", "novel"]
    table = pq.read_table(evaluation / "samples.parquet", columns=columns).to_pydict()
    energies = np.array(table["energy_above_hull"], dtype=float)
    wanted = np.isfinite(energies)
    for name in columns[2:]:
        wanted &= np.array([value is True for value in table[name]])
    rows = np.flatnonzero(wanted)
    best = rows[np.argsort(energies[rows], kind="stable")][:n]
    return [int(table["index"][row]) for row in best]


def drawn(options: argparse.Namespace, n: int, path: Path, rules: Sequence[str]) -> float:
    """Write samples, unless they are there; return the CPU time, remembered."""
    words = ["sample", "--model", options.model, "-n", str(n), "--out", str(path)]
    return remembered(path, [*words, *options.sample.split(), *rules])


def evaluated(
    options: argparse.Namespace, crystals: Path, out: Path, settings: Sequence[str]
) -> tuple[dict[str, Any], float]:  # JSON
    """Return the report of ``matgen evaluate``, and its CPU time."""
    words = ["evaluate", str(crystals), "--relax", options.relax, "--out", str(out)]
    words += ["--reference", str(REFERENCE), "--set", "reference.val_fraction=0"]
    words += ["--workers", str(options.workers), "--no-cache", *settings]
    seconds = remembered(out, words)
    return json.loads((out / "report.json").read_text(encoding="utf-8")), seconds


def remembered(path: Path, words: Sequence[str]) -> float:
    """Run matgen unless it has made the path; return the CPU time that it took then."""
    note = path.with_name(path.name + ".seconds")
    if path.exists() and note.exists():
        return float(note.read_text())
    print("matgen", *words, file=sys.stderr, flush=True)
    before = _cpu_seconds()
    subprocess.run([sys.executable, "-m", "matgen", *words], check=True, stdout=sys.stderr)
    seconds = _cpu_seconds() - before
    note.write_text(repr(seconds))
    return seconds


def _cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def table(ways: dict[str, Way]) -> str:
    """Return both ways as a Markdown table; rates of what was relaxed, with 95 % intervals."""
    head = ["way", "drawn", "relaxed", "valid", "novel", "stable", "S.U.N.", "S.U.N. per drawn"]
    head += ["CPU s per relaxed", "S.U.N. per CPU hour"]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    named = (("validity", "valid"), ("novelty", "novel"), ("stability", "stable"), ("sun", "sun"))
    for name, way in ways.items():
        cells = [name, f"{way.drawn:,}", f"{way.relaxed:,}"]
        for evaluator, figure in named:
            found = way.figure(evaluator, figure)
            text = f"{100 * found['value']:.1f}"
            if found["interval_95"] is not None:
                low, high = (100 * end for end in found["interval_95"])
                text += f" ({low:.1f}–{high:.1f})"
            cells.append(text)
        cells += [f"{100 * way.n_sun / way.drawn:.1f}", f"{way.cpu_seconds / way.relaxed:.1f}"]
        cells += [f"{3600 * way.n_sun / way.cpu_seconds:.0f}"]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
