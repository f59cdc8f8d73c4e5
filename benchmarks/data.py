"""From Parquet rows to a finished token store, beside the way that pymatgen offers.

Arms, on the same distinct crystals with nothing remembered, per core (CPU time of one process):

- ours: ``matgen data prepare`` end to end: read, check, canonical cell, oxidation states, tokens,
  conditions, store. ``reduced``: rows in canonical cells, as the bundled set has them, where the
  search for the cell is skipped; ``raw``: the same crystals in cells of another setting, each with
  a random origin; ``supercell``: those doubled.
- pymatgen: ``get_reduced_structure`` and ``add_oxidation_state_by_guess``, then species and bins
  of each site in Python. It looks neither for a primitive cell nor for symmetry, and most of its
  time goes into few compositions: medians are given beside the means. A guess is stopped after ten
  seconds.

Then the memory that preparing takes at this size and (``--repeats``) at a multiple of it, how long
a finished store takes to open in a fresh process, its bytes per token, and how fast a loader
redraws permutations. Prints one line of JSON at the end, ratios first.

    python benchmarks/data.py --quick
    python benchmarks/data.py -n 72096 --pymatgen 3000 --repeats 600000
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from matgen import Crystal, Record
from matgen.catalog import Catalog
from matgen.crystal.cell import canonical_cell
from matgen.crystal.symmetry import find_symmetry
from matgen.data.encoding import Encode
from matgen.data.imported_folder import CRYSTALS, ROWS_PER_GROUP, Description
from matgen.data.prepare import prepare
from matgen.data.prepare_plan import PreparePlan
from matgen.data.record_columns import RecordColumns
from matgen.data.token_store import TokenStore
from matgen.io.crystal_table import CrystalTable
from matgen.plan import TrainConfig, resolve_training
from matgen.records import LabelSource
from matgen.units import CANONICAL_UNITS
from matgen_datasets.mp_le20 import FILE
from matgen_executors.local import LocalExecutor
from matgen_executors.processes import ProcessExecutor

LIMIT_S = 10.0
LABELS = ("band_gap", "energy_above_hull", "space_group")


class Quiet:
    """Hears the progress and says nothing."""

    def on_chunk(self, n_records: int) -> None:
        """Do nothing."""


def raw_cell(crystal: Crystal, rng: np.random.Generator) -> Crystal:
    """Return the crystal in another setting: other vectors, origin and order."""
    change = np.eye(3)
    for _ in range(4):
        a, b = rng.choice(3, 2, replace=False)
        change[a] += rng.choice([-1.0, 1.0]) * change[b]
    frac = crystal.frac @ np.linalg.inv(change) + rng.random(3)
    moved = Crystal(change @ crystal.lattice, frac % 1.0, crystal.numbers)
    return moved.take(rng.permutation(crystal.n_sites))


def doubled(crystal: Crystal) -> Crystal:
    """Return two cells of the crystal as one."""
    along_c = np.array([0.0, 0.0, 1.0])
    frac = np.concatenate([crystal.frac, crystal.frac + along_c]) / (1.0 + along_c)
    lattice = crystal.lattice * (1.0 + along_c)[:, None]
    return Crystal(lattice, frac, np.tile(crystal.numbers, 2))


def write_folder(
    folder: Path,
    crystals: list[Crystal],
    labels: dict[str, np.ndarray],
    *,
    is_reduced: bool,
    repeats: int = 1,
) -> None:
    """Write crystals as an imported dataset, several times over under other names."""
    folder.mkdir()
    floats = pa.list_(pa.float64())
    columns = {
        "numbers": pa.array([c.numbers for c in crystals], type=pa.list_(pa.uint8())),
        "lattice": pa.array([c.lattice.ravel() for c in crystals], type=floats),
        "frac_coords": pa.array([c.frac.ravel() for c in crystals], type=floats),
        "split": pa.array(["train"] * len(crystals)),
        **{name: pa.array(values) for name, values in labels.items()},
    }
    writer: pq.ParquetWriter | None = None
    for repeat in range(repeats):
        names = pa.array([f"{repeat}-{i}" for i in range(len(crystals))])
        table = pa.table({"id": names, **columns})
        writer = writer or pq.ParquetWriter(folder / CRYSTALS, table.schema)
        writer.write_table(table, row_group_size=ROWS_PER_GROUP)
    assert writer is not None
    writer.close()
    Description(
        title=folder.name,
        units={name: CANONICAL_UNITS[name] for name in labels},
        label_sources={name: (LabelSource("mp"),) for name in labels},
        splits=["train"],
        split_by="nothing",
        reduced=is_reduced,
    ).write(folder)


def plan_of(catalog: Catalog, folder: Path) -> PreparePlan:
    """Return what ``matgen data prepare --dataset FOLDER`` would prepare."""
    train = resolve_training(TrainConfig(dataset=str(folder)), catalog, gpu=False)
    spec = train.spec
    return PreparePlan(train.dataset, "train", spec.representation, spec.ordering, spec.conditions)


def cpu_s(run: Callable[[], object]) -> float:
    """Return the CPU seconds that a call takes in this process."""
    start = time.process_time()
    run()
    return time.process_time() - start


def by_pymatgen(path: Path, rows: range) -> list[float]:
    """Return the CPU seconds per crystal of the way that pymatgen offers, from the table on."""

    def stop(*_: object) -> None:
        raise TimeoutError

    signal.signal(signal.SIGALRM, stop)
    start = time.process_time()
    table = CrystalTable.read(path / CRYSTALS)
    reading = (time.process_time() - start) / len(table)
    seconds = []
    for row in rows:
        start = time.process_time()
        structure = table.crystal(row).to_structure().get_reduced_structure()
        signal.setitimer(signal.ITIMER_REAL, LIMIT_S)
        try:
            structure.add_oxidation_state_by_guess()
        except TimeoutError:
            pass
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
        tokens: list[Any] = []
        for site in sorted(structure, key=lambda s: (-s.specie.Z, *s.frac_coords)):
            tokens.append(str(site.specie))
            tokens += [int(x * 1024) % 1024 for x in site.frac_coords]
        tokens += [int(x) for x in structure.lattice.parameters]
        seconds.append(reading + time.process_time() - start)
    return seconds


def slowest_share(seconds: list[float]) -> float:
    """Return the share of the time that the slowest twentieth of the crystals takes."""
    ordered = sorted(seconds, reverse=True)
    return round(sum(ordered[: max(1, len(ordered) // 20)]) / sum(ordered), 3)


def searching(crystals: list[Crystal]) -> dict[str, float]:
    """Return mean and worst CPU time of two symmetry searches on the same crystals, in ms."""
    import spglib

    def by_spglib(crystal: Crystal) -> None:
        spglib.get_symmetry_dataset((crystal.lattice, crystal.frac, crystal.numbers), symprec=0.01)

    result = {}
    for name, search in (("moyopy", find_symmetry), ("spglib", by_spglib)):
        search(crystals[0])
        seconds = [cpu_s(lambda c=c, s=search: s(c)) for c in crystals]
        result[f"{name}_ms"] = round(1e3 * float(np.mean(seconds)), 3)
        result[f"{name}_worst_ms"] = round(1e3 * max(seconds), 2)
    return result


def one_by_one(plan: PreparePlan, n: int) -> dict[str, float]:
    """Return how long single crystals take, in ms; the worst of each is taken twice."""
    task = Encode(plan)
    records: list[Record] = []
    for record in plan.dataset.records("train"):
        records.append(record)
        if len(records) == n:
            break
    task((0, RecordColumns.of(records[:50])))
    seconds = []
    for record in records:
        chunk = (0, RecordColumns.of([record]))
        # Twice, the faster: what else the machine does is not the crystal's doing.
        seconds.append(min(cpu_s(lambda c=chunk: task(c)) for _ in range(2)))
    median, worst = float(np.median(seconds)), max(seconds)
    return {
        "median_ms": round(1e3 * median, 3),
        "worst_ms": round(1e3 * worst, 3),
        "worst_over_median": round(worst / median, 1),
    }


def _prepare_for_memory(path: str, folder: str, pipe: Any) -> None:
    """In a fresh process: prepare with two workers, tell the peak memory of all processes, MB."""
    catalog = Catalog.load()
    plan = plan_of(catalog, Path(path))
    start = time.perf_counter()
    store = prepare(plan, Path(folder), catalog, ProcessExecutor(), observer=Quiet())
    seconds = time.perf_counter() - start
    own = resource.getrusage(resource.RUSAGE_SELF)
    workers = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = own.ru_utime + own.ru_stime + workers.ru_utime + workers.ru_stime
    peak = own.ru_maxrss + len(os.sched_getaffinity(0)) * workers.ru_maxrss
    pipe.send((str(store.path), seconds, cpu, peak / 1024))


def prepared(path: Path, folder: Path) -> tuple[Path, float, float, float]:
    """Return store, seconds, CPU seconds and the sum of the processes' peak memory in MB."""
    here, there = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(
        target=_prepare_for_memory, args=(str(path), str(folder), there)
    )
    process.start()
    there.close()
    store, seconds, cpu, peak_mb = here.recv()
    process.join()
    return Path(store), seconds, cpu, peak_mb


def reopen_s(store: Path) -> float:
    """Return how long a fresh process takes to open a store and read a batch of it."""
    code = (
        "import sys, time, numpy as np\n"
        "from pathlib import Path\n"
        "from matgen.catalog import Catalog\n"
        "from matgen.data.token_store import TokenStore\n"
        "catalog = Catalog.load(); catalog.names('representation'); catalog.names('condition')\n"
        "start = time.perf_counter()\n"
        "store = TokenStore.open(Path(sys.argv[1]), catalog)\n"
        "store.gather(np.arange(64) * (len(store) // 64), epoch=0)\n"
        "[store.features(c.label, np.arange(64)) for c in store.conditions]\n"
        "print(time.perf_counter() - start)\n"
    )
    command = [sys.executable, "-c", code, str(store)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def loading(store: TokenStore) -> float:
    """Return how many crystals a second the loader redraws in random order and origin."""
    from matgen_materium.orderings import Random

    redrawn = TokenStore(
        store.path,
        store.index,
        store.representation.model_copy(update={"origins": "random"}),
        Random(redraw="epoch"),
        store.conditions,
    )
    rng = np.random.default_rng(0)
    n = 0
    start = time.process_time()
    while time.process_time() - start < 2.0:
        redrawn.gather(rng.integers(len(store), size=512), epoch=1)
        n += 512
    return n / (time.process_time() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("-n", type=int, default=20_000, help="distinct crystals for our arm")
    parser.add_argument("--pymatgen", type=int, default=2000, help="of them for pymatgen's arm")
    parser.add_argument("--repeats", type=int, default=0, help="rows for the memory at scale")
    parser.add_argument("--quick", action="store_true", help="under 50 s on two cores")
    options = parser.parse_args()
    if options.quick:
        options.n, options.pymatgen, options.repeats = 1800, 90, 7_200
    table = CrystalTable.read(FILE)
    rows = np.random.default_rng(0).permutation(len(table))[: options.n]
    # Canonical already where the bundled file is; here so that the arm means what it says.
    crystals = [canonical_cell(table.crystal(int(row))) for row in rows]
    labels = {name: np.asarray(table.properties[name])[rows] for name in LABELS}
    rng = np.random.default_rng(1)
    catalog = Catalog.load()
    result: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        raw = [raw_cell(crystal, rng) for crystal in crystals]
        arms = {"reduced": crystals, "raw": raw, "supercell": [doubled(c) for c in raw]}
        few = range(0, options.n, max(1, options.n // options.pymatgen))
        for arm, described in arms.items():
            path = folder / arm
            write_folder(path, described, labels, is_reduced=arm == "reduced")
            plan = plan_of(catalog, path)
            seconds = cpu_s(
                lambda p=plan, a=arm: prepare(
                    p, folder / f"stores-{a}", catalog, LocalExecutor(), observer=Quiet()
                )
            )
            theirs = by_pymatgen(path, few)
            result[arm] = {
                "speedup_per_core": round(float(np.mean(theirs)) / (seconds / options.n), 1),
                "ours_ms": round(1e3 * seconds / options.n, 3),
                "pymatgen_ms": round(1e3 * float(np.mean(theirs)), 3),
                "pymatgen_median_ms": round(1e3 * float(np.median(theirs)), 3),
                "pymatgen_worst_ms": round(1e3 * max(theirs), 1),
                "pymatgen_slowest_twentieth": slowest_share(theirs),
                **one_by_one(plan, min(options.n, 10_000)),
            }
        scaled: list[dict[str, float]] = []
        for n_rows in (options.n, options.repeats) if options.repeats else (options.n,):
            path = folder / f"repeated-{n_rows}"
            repeats = -(-n_rows // options.n)
            write_folder(path, crystals, labels, is_reduced=True, repeats=repeats)
            stored, seconds, cpu, peak_mb = prepared(path, folder / f"stores-{n_rows}")
            store = TokenStore.open(stored, catalog)
            files = {p.name: p.stat().st_size for p in stored.iterdir()}
            scaled.append(
                {
                    "rows": len(store),
                    "seconds": round(seconds, 1),
                    "rows_per_s": round(len(store) / seconds),
                    "cpu_ms_per_row": round(1e3 * cpu / len(store), 3),
                    "peak_mb": round(peak_mb),
                    "reopen_s": round(reopen_s(stored), 3),
                    "token_bytes_per_token": round(files["ids.npy"] / store.n_tokens, 3),
                    "index_bytes_per_crystal": round(
                        (sum(files.values()) - files["ids.npy"]) / len(store), 1
                    ),
                }
            )
            shutil.rmtree(path)
        redrawn = loading(store)
    result["symmetry_search"] = searching(crystals[: options.pymatgen])
    print(json.dumps(result, indent=2))
    print(json.dumps(scaled, indent=2))
    print(
        json.dumps(
            {
                "speedup_per_core": result["reduced"]["speedup_per_core"],
                "speedup_per_core_raw": result["raw"]["speedup_per_core"],
                "speedup_per_core_supercell": result["supercell"]["speedup_per_core"],
                "worst_over_median": result["reduced"]["worst_over_median"],
                "cpu_per_row_at_scale": round(
                    scaled[-1]["cpu_ms_per_row"] / scaled[0]["cpu_ms_per_row"], 2
                ),
                "peak_mb": scaled[-1]["peak_mb"],
                "peak_mb_small": scaled[0]["peak_mb"],
                "reopen_s": scaled[-1]["reopen_s"],
                "token_bytes_per_token": scaled[-1]["token_bytes_per_token"],
                "index_bytes_per_crystal": scaled[-1]["index_bytes_per_crystal"],
                "rows": scaled[-1]["rows"],
                "rows_per_s_two_workers": scaled[-1]["rows_per_s"],
                "loader_redraws_per_s": round(redrawn),
                "n": options.n,
                "cpu": platform.processor() or platform.machine(),
                "python": platform.python_version(),
            }
        )
    )


if __name__ == "__main__":
    main()
