"""What published evaluators found on known structures, and what ours find: case, published, ours.

The golden structures of the tests, through the evaluators that protocols are made of. Prints the
Markdown table of docs/evaluation.md on standard error and one line of JSON, ratios first:

- ..._equal: share of masks (unique, novel, stable, S.U.N., matched pairs) that are the same, sample
  by sample; of corrections, those with every term the same;
- largest_difference: over all averages and distances, the largest relative difference.

Validity, fingerprints and coverage are in benchmarks/published_metrics.py.

    python benchmarks/golden_table.py --quick
"""

from __future__ import annotations

import argparse
import gzip
import json
import platform
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from matgen.elements import atomic_number, symbols
from matgen.evaluation.cohort import Cohort
from matgen.evaluation.columns import both
from matgen.evaluation.energy_corrections import Scheme, adjustments
from matgen.evaluation.reference import Reference
from matgen.io.hull_file import HullFile, plain_fractions, write_hull_file
from matgen.records import Crystal, Record, Relaxation, Sample
from matgen.roles.relaxer import Relaxer, RelaxerSession
from matgen_executors.local import LocalPool
from matgen_hulls.file import FileOfTotals
from matgen_metrics.displacement import MatchRate
from matgen_metrics.novelty import Novelty
from matgen_metrics.precision_recall import PrecisionRecall
from matgen_metrics.stability import Stability
from matgen_metrics.structure_prediction import StructurePrediction
from matgen_metrics.uniqueness import Uniqueness

GOLDEN = Path(__file__).parents[1] / "tests" / "golden" / "eval"
SCHEMES: dict[str, Scheme] = {"MP2020": "mp2020", "TRI2024": "tri2024", "none": "none"}


class Synthetic(Relaxer):
    """The potential of the published energies, which were made up."""

    name = "synthetic"
    energy_scale = "synthetic"

    def open(self, device: str) -> RelaxerSession:
        """Raise: nothing is relaxed."""
        raise AssertionError(device)


class Table:
    """Rows for people, figures for machines."""

    def __init__(self) -> None:
        self.rows: list[tuple[str, str, str]] = []
        self.equal: dict[str, float] = {}
        self.largest = 0.0

    def add_mask(self, case: str, figure: str, ours: list[Any], published: list[Any]) -> None:
        """Add a column of flags, compared one by one."""
        same = [bool(a) == bool(b) for a, b in zip(ours, published, strict=True)]
        rates = (sum(map(bool, column)) / len(column) for column in (published, ours))
        told = [f"{rate:.5f}" for rate in rates]
        self.rows.append((case, told[0], f"{told[1]}, {sum(same)} of {len(same)} equal"))
        self.equal[f"{figure}_equal"] = sum(same) / len(same)

    def add_value(self, case: str, ours: float | None, published: float) -> None:
        """Add an average or a distance."""
        assert ours is not None, case
        self.largest = max(self.largest, abs(ours / published - 1.0))
        self.rows.append((case, f"{published:.10g}", f"{ours:.10g}"))

    def markdown(self) -> str:
        """Return the rows as a table."""
        lines = ["| case | published | ours |", "|---|---|---|"]
        return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in self.rows)])


def loaded(name: str) -> Any:
    return json.loads(gzip.decompress((GOLDEN / f"{name}.json.gz").read_bytes()))


def crystal(saved: Any) -> Crystal:
    return Crystal(
        np.array(saved["lattice"]),
        np.array(saved["frac_coords"]),
        np.array([atomic_number(symbol) for symbol in saved["species"]]),
    )


def cohort(crystals: list[Crystal], **more: Any) -> Cohort:
    samples = [Sample(index, crystal) for index, crystal in enumerate(crystals)]
    return Cohort(samples, len(samples), LocalPool(), **more)


def reference(saved: Any) -> Reference:
    return Reference(map(crystal, saved), ids=[row["id"] for row in saved])


def mattergen(table: Table, *, quick: bool) -> None:
    perturbed = [crystal(row) for row in loaded("mattergen_structures")["perturbed"]["structures"]]
    golden = loaded("matching")
    known = reference(golden["reference"])
    sets = [("420 perturbed", perturbed, known, golden["perturbed"])]
    if not quick:
        release = loaded("mattergen_release")
        structures = [crystal(row) for row in release["structures"]]
        sets.append(("770 released", structures, reference(release["reference"]), release))
    for title, crystals, others, want in sets:
        whole = cohort(crystals, reference=others)
        for matcher in ("ordered", "disordered"):
            case, key = f"MatterGen, {matcher}, {title}", f"{matcher}_{title.split()[0]}"
            unique = Uniqueness(matcher=matcher).measure(whole).per_sample["unique"]
            novel = Novelty(matcher=matcher).measure(whole).per_sample["novel"]
            found = PrecisionRecall(matcher=matcher).measure(whole).summary
            table.add_mask(f"{case}: unique", f"unique_{key}", unique, want[matcher]["unique"])
            table.add_mask(f"{case}: novel", f"novel_{key}", novel, want[matcher]["novel"])
            metrics = want[matcher]["metrics"]
            table.add_value(f"{case}: precision", found["precision"], metrics["precision"])
    lemat = golden["lemat"]
    whole = cohort(perturbed, reference=known)
    unique = Uniqueness(matcher="lemat", keep="last").measure(whole).per_sample["unique"]
    novel = Novelty(matcher="lemat").measure(whole).per_sample["novel"]
    table.add_mask("LeMat, 420 perturbed: unique", "unique_lemat", unique, lemat["unique"])
    table.add_mask("LeMat, 420 perturbed: novel", "novel_lemat", novel, lemat["novel"])


def predictions(table: Table) -> None:
    saved = loaded("csp_pairs")
    truth = [Record(str(i), crystal(pair["truth"])) for i, pair in enumerate(saved["pairs"])]
    whole = cohort([crystal(pair["prediction"]) for pair in saved["pairs"]], truth=truth)
    # pymatgen's own tolerances are "ordered" here and "flowmm" in the file.
    for matcher, named in (("cdvae", "cdvae"), ("ordered", "flowmm")):
        case = f"structure prediction, {matcher}, 400 pairs"
        found = StructurePrediction(matcher=matcher).measure(whole).summary
        metre = saved["metre"][matcher]
        table.add_value(f"{case}: match rate", found["match_rate"], saved["match_rate"][named])
        table.add_value(f"{case}: RMSE", found["rmse"], saved["mean_rms"][named])
        table.add_value(f"{case}: METRe", found["metre"], metre["metre"])
        table.add_value(f"{case}: cRMSE", found["crmse"], metre["metre_crmse"])


def energies(table: Table, folder: Path) -> None:
    saved, structures = loaded("energy_metrics"), loaded("mattergen_structures")
    pure = [({symbol: 1.0}, 0.0) for symbol in symbols[1:]]
    entries = [(plain_fractions(formula, ""), energy) for formula, energy in saved["reference"]]
    path = folder / "synthetic.parquet"
    write_hull_file(path, HullFile("total", [*pure, *entries], {"energy_scale": "synthetic"}))
    originals = [*structures["originals"], *saved["originals_from_120"]]
    relaxed = map(crystal, structures["perturbed"]["structures"])
    whole = cohort(
        [crystal(row) for row in originals],
        relaxations=[
            Relaxation(c, energy=energy)
            for c, energy in zip(relaxed, saved["energies"], strict=True)
        ],
        hull=FileOfTotals(path=str(path)).open(Synthetic()),
    )
    stability, moved = Stability().measure(whole), MatchRate().measure(whole)
    stable = stability.per_sample["stable"]
    sun = both(stable, saved["is_unique"], saved["is_novel"])
    published = both(saved["is_stable"], saved["is_unique"], saved["is_novel"])
    case, metrics = "MatterGen, synthetic hull, 420 perturbed", saved["metrics"]
    table.add_mask(f"{case}: stable", "stable", stable, saved["is_stable"])
    table.add_mask(f"{case}: S.U.N.", "sun", sun, published)
    table.add_value(
        f"{case}: mean energy above hull, eV/atom",
        stability.summary["energy_above_hull_mean"],
        metrics["avg_ehull"],
    )
    table.add_value(f"{case}: mean RMSD, Å", moved.summary["rmsd_mean"], metrics["avg_rmsd"])


def corrections(table: Table) -> None:
    cases = loaded("energy_corrections")
    for published, scheme in SCHEMES.items():
        same = 0
        for case in cases:
            terms = adjustments(crystal(case), case["energy"], scheme)
            told = [[term.name, term.energy_ev] for term in terms]
            same += told == case[published]["adjustments"]
        row = (f"corrections, {published}, 260 structures", "every term", f"{same} of {len(cases)}")
        table.rows.append((row[0], row[1], f"{row[2]} equal"))
        table.equal[f"corrections_{scheme}_equal"] = same / len(cases)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="without the 770 released structures")
    quick = parser.parse_args().quick
    warnings.simplefilter("ignore")
    table = Table()
    mattergen(table, quick=quick)
    predictions(table)
    with tempfile.TemporaryDirectory() as folder:
        energies(table, Path(folder))
    corrections(table)
    print(table.markdown(), file=sys.stderr)
    found = {
        **table.equal,
        "largest_difference": table.largest,
        "n_cases": len(table.rows),
        "processor": platform.processor() or platform.machine(),
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
