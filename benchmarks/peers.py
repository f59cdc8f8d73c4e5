"""Peers, baselines and our own samples under one evaluator.

Arms: what DiffCSP, DiffCSP++, CrystalFormer, WyFormer and FlowMM published as their samples after
training on MP-20 (``benchmarks/peers/README.md`` has sources and licences), the shipped model, the
two baselines, and real crystals as a control. Each is evaluated by ``matgen evaluate`` under the
protocol ``matgen``: CHGNet, the same hull, and one reference for all, every one of the 72,096
crystals of mp_le20, which holds the training data of every arm.

The relaxations that the table was made from are kept in ``benchmarks/peers``, and with them the
crystals that our own arms drew: another processor rounds otherwise and draws others.

Published cells are taken in their primitive form (1e-3 Å), which changes no energy per atom and no
comparison, and saves half the time. Relaxations are shared between runs, so the command goes on
where it stopped, and a larger ``-n`` only adds.

    python benchmarks/peers.py --quick
    python benchmarks/peers.py -n 500 --out peers                       # hours: relaxes
    python benchmarks/peers.py -n 500 --out peers --kept                # minutes: kept relaxations
    python benchmarks/peers.py -n 500 --out peers --kept --hull hull_mp2020.parquet

Writes table.md, table.json and published.md into ``--out``. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from matgen.catalog import Catalog
from matgen.crystal.primitive import primitive_cell
from matgen.io.crystal_table import CrystalTable
from matgen.io.sources import entries
from matgen.io.writing import write_samples
from matgen.records import Sample
from matgen_datasets.mp_le20 import FILE as UNION

DATA = Path(__file__).parent / "peers"
SYMPREC = 1e-3


@dataclass(frozen=True)
class Arm:
    """One set of crystals.

    Attributes:
        title: In the table.
        command: Arguments of ``matgen sample``; empty for published samples.
        relaxed: Whether the crystals were relaxed and chosen before they were published.
    """

    title: str
    command: tuple[str, ...] = ()
    relaxed: bool = False


CHOSEN = ("--unseen-formulas", "--min-distance", "0.5", "--best-of", "8", "--rank-by", "structure")
"""What a person who wants new stable crystals would add to ``matgen sample``."""
ARMS = {
    "diffcsp": Arm("DiffCSP"),
    "diffcsp_pp": Arm("DiffCSP++"),
    "crystalformer": Arm("CrystalFormer"),
    "wyformer_diffcsp_pp": Arm("WyFormer + DiffCSP++"),
    "flowmm": Arm("FlowMM, relaxed and chosen", relaxed=True),
    "matgen": Arm("matgen, shipped model", ("--seed", "0")),
    "matgen_chosen": Arm("matgen, rules and ranking", ("--seed", "0", *CHOSEN)),
    "ion_exchange": Arm("ion exchange", ("--generator", "ion_exchange")),
    "random_prototypes": Arm("random prototypes", ("--generator", "random_prototypes")),
    "real": Arm("real crystals (MP-20 val)"),
}
FIGURES = {
    "valid": ("validity", "valid"),
    "unique": ("uniqueness", "unique"),
    "novel": ("novelty", "novel"),
    "stable": ("stability", "stable"),
    "on hull": ("stability", "on_hull"),
    "S.U.N.": ("sun", "sun"),
    "matches relaxed": ("match_rate", "matches_relaxed"),
    "RMSD median": ("match_rate", "rmsd_median"),
    "above hull median": ("stability", "energy_above_hull_median"),
    "converged": ("relaxation", "converged"),
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("-n", type=int, default=500, help="crystals of each arm")
    parser.add_argument("--out", type=Path, default=None)
    parser.add_argument("--arms", nargs="+", choices=list(ARMS), default=list(ARMS))
    parser.add_argument("--relax", default="chgnet", help="potential")
    parser.add_argument("--hull", default=None, help="file of another hull; else the shipped one")
    parser.add_argument("--max-steps", type=int, default=500)
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--kept", action="store_true", help="take the relaxations kept here")
    parser.add_argument("--keep", action="store_true", help="keep this run's relaxations here")
    parser.add_argument("--quick", action="store_true", help="under 50 s on two cores")
    options = parser.parse_args()
    if options.quick:
        options.n, options.kept = 24, True
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as scratch:
        out = options.out or Path(scratch)
        out.mkdir(parents=True, exist_ok=True)
        reports = {arm: _evaluated(arm, out, options) for arm in options.arms}
        table = _table(reports)
        comparison = _against_published(reports, out)
        (out / "table.md").write_text(table, encoding="utf-8")
        (out / "published.md").write_text(comparison, encoding="utf-8")
        figures = {arm: _figures(report) for arm, report in reports.items()}
        (out / "table.json").write_text(json.dumps(figures, indent=1), encoding="utf-8")
        print(table, comparison, sep="\n")
        if options.keep:
            _keep(options, out)
    last: dict[str, Any] = {}  # numbers and texts
    for arm in options.arms:
        last |= {f"{arm}_{name}": figures[arm][key]["value"] for name, key in _LAST.items()}
    last |= {"n": options.n, "relax": options.relax, "seconds": time.perf_counter() - started}
    last["label"] = next(iter(reports.values()))["settings"]["protocol"]["label"]
    print(json.dumps(last))


_LAST = {"sun": "S.U.N.", "stable": "stable", "novel": "novel"}


def _evaluated(arm: str, out: Path, options: argparse.Namespace) -> dict[str, Any]:  # JSON
    """Return the report of an arm's first ``n`` crystals."""
    crystals = out / f"{arm}-{options.n}.extxyz"
    if not crystals.exists():
        _write_arm(arm, crystals, options.n, kept=options.kept)
    words = ["evaluate", str(crystals), "--relax", options.relax, "--reference", str(UNION)]
    words += ["--workers", str(options.workers), "--out", str(out / f"{arm}-evaluation")]
    if options.hull:
        words += ["--hull", options.hull]
    if options.kept:
        energies = out / f"{arm}-kept.parquet"
        _write_kept(arm, options, energies)
        words += ["--energies", str(energies)]
    words += ["--set", f"relaxer.max_steps={options.max_steps}"]
    # All of the file, not the nine tenths that would be trained on.
    words += ["--set", "reference.val_fraction=0"]
    # By the clock nothing should end here: what it ends is not shared between runs.
    words += ["--set", "relaxer.max_seconds=1200"]
    _matgen(words)
    report: dict[str, Any] = json.loads(
        (out / f"{arm}-evaluation" / "report.json").read_text(encoding="utf-8")
    )
    return report


def _matgen(words: Sequence[str]) -> None:
    print("matgen", *words, file=sys.stderr, flush=True)
    subprocess.run([sys.executable, "-m", "matgen", *words], check=True, stdout=sys.stderr)


def _write_arm(arm: str, path: Path, n: int, *, kept: bool) -> None:
    """Write the first crystals of an arm: published, drawn before, or drawn now."""
    if kept and _drawn(arm):
        table = CrystalTable.read(DATA / "drawn.parquet")
        names = pq.read_table(DATA / "drawn.parquet", columns=["arm"])["arm"].to_pylist()
        rows = [row for row, name in enumerate(names) if name == arm][:n]
        write_samples(path, _numbered(table.crystal(row) for row in rows), asked=len(rows))
    elif arm == "real":
        from matgen.plan_parts import resolve_dataset

        dataset = resolve_dataset(Catalog.load(), "mp_le20")
        rng = np.random.default_rng(0)
        records = list(dataset.records("val"))
        chosen = rng.permutation(len(records))[:n]
        found = (records[int(row)].crystal for row in chosen)
        write_samples(path, _numbered(found), asked=min(n, len(records)))
    elif ARMS[arm].command:
        _matgen(["sample", *ARMS[arm].command, "-n", str(n), "--out", str(path)])
    else:
        table = CrystalTable.read(DATA / f"{arm}.parquet")
        n = min(n, len(table))
        found = (primitive_cell(table.crystal(row), symprec=SYMPREC) for row in range(n))
        write_samples(path, _numbered(found), asked=n)


def _drawn(arm: str) -> bool:
    """Whether the crystals of an arm are made here rather than published."""
    return arm == "real" or bool(ARMS[arm].command)


def _numbered(crystals: Any) -> Iterator[Sample]:  # an iterable of crystals
    for index, crystal in enumerate(crystals):
        yield Sample(index, crystal)


def _write_kept(arm: str, options: argparse.Namespace, path: Path) -> None:
    """Write the kept relaxations of an arm's first ``n`` crystals, for ``--energies``."""
    kept = DATA / f"relaxed_{options.relax}.parquet"
    rows = pq.read_table(kept, filters=[("arm", "=", arm), ("index", "<", options.n)])
    pq.write_table(rows.drop_columns(["arm"]), path)


def _keep(options: argparse.Namespace, out: Path) -> None:
    """Keep the relaxed crystals of the arms beside this script, for ``--kept``.

    Other arms that are kept already stay.
    """
    _keep_drawn(options, out)
    path = DATA / f"relaxed_{options.relax}.parquet"
    rows = _of_other_arms(path, options.arms)
    for arm in options.arms:
        for entry in entries(out / f"{arm}-evaluation" / "relaxed.extxyz"):
            crystal = entry.crystal or entry.overlapping
            if crystal is None:
                continue
            rows.append(
                {
                    "arm": arm,
                    "index": int(entry.info["index"]),
                    "total_energy_ev": float(entry.info["total_energy_ev"]),
                    "converged": str(entry.info["converged"]).lower() in {"true", "t"},
                    "numbers": crystal.numbers.tolist(),
                    "lattice": crystal.lattice.ravel().tolist(),
                    "frac_coords": crystal.frac.ravel().tolist(),
                }
            )
    schema = pa.schema(
        {
            "arm": pa.string(),
            "index": pa.int32(),
            "total_energy_ev": pa.float64(),
            "converged": pa.bool_(),
            "numbers": pa.list_(pa.uint8()),
            "lattice": pa.list_(pa.float64()),
            "frac_coords": pa.list_(pa.float64()),
        }
    )
    pq.write_table(pa.Table.from_pylist(rows, schema), path, compression="zstd")


def _of_other_arms(path: Path, arms: Sequence[str]) -> list[dict[str, Any]]:
    """Return the rows of a kept file that are of none of these arms."""
    kept: list[dict[str, Any]] = pq.read_table(path).to_pylist() if path.exists() else []
    return [row for row in kept if row["arm"] not in arms]


def _keep_drawn(options: argparse.Namespace, out: Path) -> None:
    """Keep the crystals that were drawn here."""
    rows = _of_other_arms(DATA / "drawn.parquet", options.arms)
    rows += [
        {
            "id": f"{arm}-{number}",
            "arm": arm,
            "numbers": crystal.numbers.tolist(),
            "lattice": crystal.lattice.ravel().tolist(),
            "frac_coords": crystal.frac.ravel().tolist(),
        }
        for arm in options.arms
        if _drawn(arm)
        for number, entry in enumerate(entries(out / f"{arm}-{options.n}.extxyz"))
        if (crystal := entry.crystal or entry.overlapping) is not None
    ]
    schema = pa.schema(
        {
            "id": pa.string(),
            "arm": pa.string(),
            "numbers": pa.list_(pa.uint8()),
            "lattice": pa.list_(pa.float64()),
            "frac_coords": pa.list_(pa.float64()),
        }
    )
    table = pa.Table.from_pylist(rows, schema)
    pq.write_table(table, DATA / "drawn.parquet", compression="zstd")


def _figures(report: dict[str, Any]) -> dict[str, Any]:  # JSON
    figures = {}
    for title, (evaluator, name) in FIGURES.items():
        summary = report["measurements"][evaluator]["summary"]
        figures[title] = summary.get(name, {"value": None, "interval_95": None})
    return {"asked": report["asked"], **figures}


def _table(reports: dict[str, dict[str, Any]]) -> str:  # JSON
    """Return the arms as a Markdown table; rates in per cent, with 95 % intervals."""
    head = ["arm", "n", *FIGURES]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for arm, report in reports.items():
        figures = _figures(report)
        cells = [ARMS[arm].title, str(report["asked"])]
        cells += [_cell(figures[name]) for name in FIGURES]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _cell(figure: dict[str, Any]) -> str:  # JSON
    value, interval, unit = figure["value"], figure["interval_95"], figure.get("unit", "")
    if value is None:
        return "–"
    scale, digits = (100.0, 1) if not unit else (1.0, 3)
    text = f"{value * scale:.{digits}f}"
    if interval is not None:
        low, high = (f"{end * scale:.{digits}f}" for end in interval)
        text += f" ({low}–{high})"
    return text


def _against_published(reports: dict[str, dict[str, Any]], out: Path) -> str:  # JSON
    """Return how our distances from the hull compare with those published for the same samples."""
    head = ["arm", "both", "published median", "ours", "median difference", "middle 80 %"]
    head += ["Spearman", "stable, published", "stable, ours", "same side of 0.1"]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for arm, report in reports.items():
        if _drawn(arm):
            continue
        published = pq.read_table(DATA / f"{arm}.parquet")["published_energy_above_hull"]
        theirs = np.array(published.to_pylist(), dtype=float)[: report["asked"]]
        samples = pq.read_table(
            out / f"{arm}-evaluation" / "samples.parquet", columns=["index", "energy_above_hull"]
        ).to_pydict()
        ours = np.full(len(theirs), math.nan)
        ours[samples["index"]] = np.array(samples["energy_above_hull"], dtype=float)
        both = np.isfinite(theirs) & np.isfinite(ours)
        a, b = theirs[both], ours[both]
        low, high = np.quantile(b - a, [0.1, 0.9])
        ranks = [np.argsort(np.argsort(values)) for values in (a, b)]
        cells = [
            ARMS[arm].title,
            str(int(both.sum())),
            f"{np.median(a):.3f}",
            f"{np.median(b):.3f}",
        ]
        cells += [f"{np.median(b - a):+.3f}", f"{low:+.3f} to {high:+.3f}"]
        cells += [f"{np.corrcoef(*ranks)[0, 1]:.3f}"]
        cells += [f"{np.mean(values <= 0.1):.1%}" for values in (a, b)]
        cells += [f"{np.mean((a <= 0.1) == (b <= 0.1)):.1%}"]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
