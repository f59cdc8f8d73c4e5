"""How much sooner uniqueness and novelty come than by MatterGen's evaluator, with the same masks.

Both arms run in one process, ratios are of processor seconds; one line of JSON, ratios first:

- speedup_many_per_formula: carbon and csp below, all their seconds together;
- speedup_carbon: uniqueness of Carbon-24 structures, all of one formula;
- speedup_csp: 20 predictions for each of some crystals, noised copies of them: uniqueness, and
  novelty against those crystals;
- speedup_diverse: rows of mp_le20 as samples, others as the reference;
- masks_identical: whether every mask of both arms is the same;
- wall_seconds_10000: 10,000 samples, noised and substituted rows of mp_le20, against all of
  mp_le20 on two cores, with starting the workers and packing the reference; not with --quick.

MatterGen's arm is its published algorithm (microsoft/mattergen 1.0.3, MIT,
``evaluation/utils/dataset_matcher.py``): entries by reduced formula, and pymatgen's ``fit``, which
reduces both cells, for every pair; with what the installed pymatgen keeps of earlier reductions.

    python benchmarks/match.py --quick
    python benchmarks/match.py --carbon carbon_24.parquet --carbon-rows 200
"""

from __future__ import annotations

import argparse
import gzip
import json
import platform
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import numpy as np
from pymatgen.core.structure_matcher import StructureMatcher

from matgen.catalog import Catalog
from matgen.evaluation.matching import candidate, novel_mask, unique_mask
from matgen.evaluation.reference import Reference
from matgen.records import Crystal
from matgen.roles.dataset import DatasetSource
from matgen_executors.local import LocalPool
from matgen_executors.processes import ProcessExecutor

if TYPE_CHECKING:
    from pymatgen.core.structure import Structure

CARBON = Path(__file__).parents[1] / "tests" / "golden" / "eval" / "carbon_24.json.gz"
PER_TRUTH = 20
RUNS = 3
"""Of our arm, of which the median counts; MatterGen's runs once."""
ALIKE = ((19, 11), (37, 19), (35, 17), (34, 16), (56, 38), (42, 74), (31, 13), (32, 14))
"""Elements that are put in each other's place, atomic numbers."""


def carbon_crystals(path: Path, n_rows: int) -> list[Crystal]:
    """Return structures of Carbon-24: from a Parquet file of it, or from the sample beside us."""
    if path.suffix == ".parquet":
        import pyarrow.parquet as pq

        columns = ("lattice", "frac_coords", "numbers")
        rows = pq.read_table(path, columns=list(columns)).slice(0, n_rows).to_pylist()
    else:
        rows = json.loads(gzip.decompress(path.read_bytes()))["structures"][:n_rows]
    return [
        Crystal(
            np.array(row["lattice"], dtype=np.float64).reshape(3, 3),
            np.array(row["frac_coords"], dtype=np.float64).reshape(-1, 3),
            np.array(row.get("numbers") or [6] * (np.size(row["frac_coords"]) // 3)),
        )
        for row in rows
    ]


def noised(crystal: Crystal, rng: np.random.Generator) -> Crystal:
    """Return a copy as a model might predict it: strained, moved, in another order.

    About half of them are so far off that they match nothing: models match half to two thirds of
    the crystals of MP-20 with one prediction.
    """
    lattice = crystal.lattice @ (np.eye(3) + rng.normal(0, 0.02, (3, 3)))
    shifts = rng.normal(0, rng.choice([0.02, 0.1, 0.3, 0.7, 1.0]), crystal.frac.shape)
    frac = crystal.frac + rng.random(3) + shifts @ np.linalg.inv(lattice)
    return Crystal(lattice, frac, crystal.numbers).take(rng.permutation(crystal.n_sites))


def substituted(crystal: Crystal, rng: np.random.Generator) -> Crystal:
    """Return a copy with elements in the place of others of their group."""
    numbers = crystal.numbers.copy()
    for pair in ALIKE:
        old, new = rng.permutation(pair)
        numbers[crystal.numbers == old] = new
    return Crystal(crystal.lattice, crystal.frac, numbers)


Masks = tuple[list[bool], list[bool]]


def by_formula(structures: Iterable[Structure]) -> dict[str, list[tuple[int, Structure]]]:
    grouped = defaultdict(list)
    for index, structure in enumerate(structures):
        grouped[structure.composition.reduced_formula].append((index, structure))
    return grouped


def mattergen(samples: Sequence[Structure], reference: Sequence[Structure]) -> Masks:
    """Return MatterGen's masks of unique and of novel samples, by its ordered matcher."""
    matcher = StructureMatcher()
    unique, novel = [False] * len(samples), [True] * len(samples)
    grouped = by_formula(samples)
    for members in grouped.values():
        seen: list[Structure] = []
        for index, structure in members:
            if not any(matcher.fit(structure, other) for other in seen):
                seen.append(structure)
                unique[index] = True
    known = by_formula(reference)
    for formula, members in grouped.items():
        for index, structure in members:
            # It looks for all matches, because recall counts them.
            found = [matcher.fit(structure, other) for _, other in known.get(formula, [])]
            novel[index] = not any(found)
    return unique, novel


def ours(samples: Sequence[Crystal], reference: Sequence[Crystal]) -> Masks:
    pool = LocalPool()
    unique = unique_mask(samples, pool).mask
    novel = novel_mask(samples, Reference(reference), pool).mask
    return [value is True for value in unique], [value is True for value in novel]


def seconds_of(work: Callable[[], Masks]) -> tuple[float, Masks]:
    start = time.process_time()
    masks = work()
    return time.process_time() - start, masks


class Comparison:
    """One set of samples and what both arms needed for it."""

    def __init__(self, samples: Sequence[Crystal], reference: Sequence[Crystal]) -> None:
        structures = [crystal.to_structure() for crystal in samples]
        known = [crystal.to_structure() for crystal in reference]
        # What an earlier set left there would not be there in a run of its own.
        StructureMatcher._get_reduced_istructure.cache_clear()  # noqa: SLF001
        self.theirs, theirs = seconds_of(lambda: mattergen(structures, known))
        runs = []
        for _ in range(RUNS):
            candidate._reduced.cache_clear()  # noqa: SLF001
            runs.append(seconds_of(lambda: ours(samples, reference)))
        self.ours = median(seconds for seconds, _ in runs)
        self.identical = all(masks == theirs for _, masks in runs)
        self.unique = sum(theirs[0]) / len(samples)
        self.novel = sum(theirs[1]) / len(samples)


def ten_thousand(rows: Sequence[Crystal], rng: np.random.Generator) -> tuple[float, float, float]:
    """Return wall seconds, and the shares of unique and novel samples."""
    chosen = [rows[index] for index in rng.integers(len(rows), size=10_000)]
    samples = [(noised, substituted)[index % 2](c, rng) for index, c in enumerate(chosen)]
    start = time.perf_counter()
    with ProcessExecutor(n_workers=2).open() as pool:
        unique = unique_mask(samples, pool).mask
        novel = novel_mask(samples, Reference(rows), pool).mask
    seconds = time.perf_counter() - start
    return seconds, unique.count(True) / len(samples), novel.count(True) / len(samples)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--carbon", type=Path, default=CARBON, help="Carbon-24, Parquet")
    parser.add_argument("--carbon-rows", type=int, default=120)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="under 50 s on two cores")
    options = parser.parse_args()
    rng = np.random.default_rng(options.seed)
    dataset = Catalog.load().build("dataset", "mp_le20", {"rows": "all"})
    assert isinstance(dataset, DatasetSource)
    rows = [record.crystal for record in dataset.records("train")]
    order = rng.permutation(len(rows)).tolist()
    n_truths, n_samples, n_known = (3, 200, 1000) if options.quick else (12, 600, 5000)
    truths = [rows[index] for index in order[:n_truths]]
    # Enough samples share a formula with the reference, as in the evaluation of a model.
    known = [rows[index] for index in order[:n_known]]
    fresh = [rows[index] for index in order[n_known : n_known + n_samples // 2]]
    samples = fresh + [noised(crystal, rng) for crystal in known[: n_samples // 2]]
    n_carbon = min(options.carbon_rows, 64) if options.quick else options.carbon_rows
    done = {
        "carbon": Comparison(carbon_crystals(options.carbon, n_carbon), []),
        "csp": Comparison([noised(c, rng) for c in truths for _ in range(PER_TRUTH)], truths),
        "diverse": Comparison(samples, known),
    }
    many = done["carbon"], done["csp"]
    figures: dict[str, object] = {
        "speedup_many_per_formula": sum(c.theirs for c in many) / sum(c.ours for c in many),
        **{f"speedup_{name}": c.theirs / c.ours for name, c in done.items()},
        "masks_identical": all(c.identical for c in done.values()),
    }
    if not options.quick:
        wall, unique, novel = ten_thousand(rows, rng)
        figures |= {"wall_seconds_10000": wall, "unique_10000": unique, "novel_10000": novel}
    for name, comparison in done.items():
        figures[f"cpu_seconds_{name}"] = comparison.ours
        figures[f"cpu_seconds_{name}_mattergen"] = comparison.theirs
        figures[f"unique_{name}"], figures[f"novel_{name}"] = comparison.unique, comparison.novel
    print(
        json.dumps(
            {
                **{k: round(v, 4) if isinstance(v, float) else v for k, v in figures.items()},
                "n_carbon": n_carbon,
                "n_csp": n_truths * PER_TRUTH,
                "n_diverse": len(samples),
                "n_reference": len(known),
                "seed": options.seed,
                "pymatgen_core": version("pymatgen-core"),
                "processor": platform.processor() or platform.machine(),
            }
        )
    )


if __name__ == "__main__":
    main()
