"""How much of what others publish about known structures our evaluators give, and what it costs.

The golden structures of the tests; one line of JSON, ratios first:

- ..._equal: share of labels, space groups or fingerprints that are the published ones (LeMat-Bulk's
  validity, SMACT's two tables, CDVAE's validity, CrystalNN fingerprints to 1e-10);
- cdvae_largest_difference: over COV, AMSD, AMCD, validity, diversity and Wasserstein distances the
  largest relative difference to CDVAE's evaluation, from the stored fingerprints;
- cpu_s_per_...: processor seconds for one structure, mean.

    python benchmarks/published_metrics.py --quick
"""

from __future__ import annotations

import argparse
import gzip
import json
import platform
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from matgen.elements import atomic_number
from matgen.evaluation.cohort import Cohort
from matgen.records import Crystal, Measurement, Record, Sample
from matgen.roles.evaluator import Evaluator
from matgen_executors.local import LocalPool
from matgen_metrics import fingerprint_store
from matgen_metrics.charge_balance import balanced
from matgen_metrics.coverage import Coverage
from matgen_metrics.descriptions import describe
from matgen_metrics.fingerprints import digest, structure_fingerprint
from matgen_metrics.lemat_validity import LematValidity

GOLDEN = Path(__file__).parents[1] / "tests" / "golden" / "eval"


def loaded(name: str) -> Any:
    return json.loads(gzip.decompress((GOLDEN / f"{name}.json.gz").read_bytes()))


def crystal(saved: Any) -> Crystal:
    return Crystal(
        np.array(saved["lattice"]),
        np.array(saved["frac_coords"]),
        np.array([atomic_number(symbol) for symbol in saved["species"]]),
    )


def measured(evaluator: Evaluator, crystals: list[Crystal], truth: list[Crystal]) -> Measurement:
    samples = [Sample(index, crystal) for index, crystal in enumerate(crystals)]
    records = [Record(str(index), crystal) for index, crystal in enumerate(truth)]
    return evaluator.measure(Cohort(samples, len(samples), LocalPool(), truth=records))


def share(found: list[Any], published: list[Any]) -> float:
    return sum(a == b for a, b in zip(found, published, strict=True)) / len(published)


def lemat(step: int) -> dict[str, float]:
    saved = loaded("lemat_seed42")
    crystals = [crystal(row) for row in saved["structures"][::step]]
    start = time.process_time()
    found = measured(LematValidity(), crystals, []).per_sample
    seconds = time.process_time() - start
    groups = [described.space_group if (described := describe(c)) else None for c in crystals]
    return {
        "lemat_valid_equal": share(found["valid"], saved["lemat_valid"][::step]),
        "space_group_equal": share(groups, saved["space_group"][::step]),
        "n_lemat": len(crystals),
        "cpu_s_per_lemat_validity": round(seconds / len(crystals), 4),
    }


def compositions() -> dict[str, float]:
    found: dict[str, list[Any]] = {"smact14": [], "icsd24": []}
    published: dict[str, list[Any]] = {"smact14": [], "icsd24": []}
    for saved in loaded("composition_validity").values():
        for counts in saved["compositions"]:
            numbers = {atomic_number(symbol): n for symbol, n in counts.items()}
            found["smact14"].append(balanced(numbers, "smact14"))
            found["icsd24"].append(balanced(numbers, "icsd24"))
        for table in published:
            published[table] += saved[table]
    return {
        **{f"{table}_equal": share(found[table], labels) for table, labels in published.items()},
        "n_compositions": len(published["smact14"]),
    }


def cdvae(step: int) -> dict[str, float]:
    saved = loaded("cdvae_coverage")
    samples = [crystal(row) for row in loaded("mattergen_structures")["perturbed"]["structures"]]
    sides = samples[:300], [crystal(row) for row in saved["truth"]]
    stored = np.array([*saved["sample_fingerprints"], *saved["truth_fingerprints"]])
    crystals = [*sides[0], *sides[1]]
    start = time.process_time()
    again = [structure_fingerprint(c, seconds=1000.0) for c in crystals[::step]]
    seconds = time.process_time() - start
    equal = [
        not isinstance(found, str) and bool(np.abs(found - row).max() < 1e-10)
        for found, row in zip(again, stored[::step], strict=True)
    ]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "fingerprints.npz"
        fingerprint_store.keep(path, dict(zip(map(digest, crystals), stored, strict=True)))
        evaluators = {
            cutoffs: measured(Coverage(cutoffs=cutoffs, kept_fingerprints=str(path)), *sides)
            for cutoffs in ("mp20", "perov")
        }
    found = evaluators["mp20"]
    other = {"wdist_density": "wdist_density_all_valid"}
    other["wdist_n_elements"] = "wdist_num_elems_all_valid"
    metrics = saved["metrics"]
    pairs = [
        (found.summary[name], metrics[other.get(name, name)])
        for name in found.summary
        if not name.startswith("cov_")
    ] + [
        (evaluators[ours].summary[name], metrics[theirs][name])
        for ours, theirs in (("mp20", "mp20"), ("perov", "perovskite_carbon"))
        for name in ("cov_recall", "cov_precision")
    ]
    flags = zip(
        *(found.per_sample[n] for n in ("comp_valid", "struct_valid", "valid")), strict=True
    )
    return {
        "fingerprint_equal": sum(equal) / len(equal),
        "cdvae_valid_equal": share([list(row) for row in flags], saved["sample_valid"]),
        "cdvae_largest_difference": max(abs(ours / theirs - 1.0) for ours, theirs in pairs),
        "n_cdvae_figures": len(pairs),
        "n_fingerprints": len(equal),
        "cpu_s_per_fingerprint": round(seconds / len(equal), 3),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="one structure in thirty")
    step = 30 if parser.parse_args().quick else 1
    warnings.simplefilter("ignore")
    found = {**lemat(step), **compositions(), **cdvae(step)}
    ratios = {name: value for name, value in found.items() if name.endswith("_equal")}
    print(json.dumps({**ratios, **found, "processor": platform.processor() or platform.machine()}))


if __name__ == "__main__":
    main()
