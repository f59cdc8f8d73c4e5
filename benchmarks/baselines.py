"""How many crystals a second the baselines make, and what share is neutral, sound and different.

``volume_error_median``: of cell volumes by the sum of the elements', on crystals not fitted to.

One thread. Start-up is reading the dataset, fitting volumes and making tables, once.

    python benchmarks/baselines.py --quick

The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import time

import numpy as np

from matgen.catalog import Catalog
from matgen.crystal.checks import check_crystal
from matgen.errors import BadCrystal
from matgen.generation.generators import generated
from matgen.plan_parts import resolve_dataset
from matgen.records import Crystal, Record
from matgen.roles.generator import Generator
from matgen_baselines.volumes import AtomicVolumes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("-n", type=int, default=5000)
    parser.add_argument("--quick", action="store_true", help="under 50 s on two cores")
    options = parser.parse_args()
    n = 1000 if options.quick else options.n
    catalog = Catalog.load()
    known = list(resolve_dataset(catalog, "mp_le20").records("train"))
    told: dict[str, float | int | str] = {}
    for name in catalog.names("generator"):
        generator = catalog.build("generator", name)
        assert isinstance(generator, Generator)
        short = name.partition(":")[2]
        begin = time.process_time()
        session = generator.open(known)
        opened = time.process_time()
        crystals = [sample.crystal for sample in generated(session, n, seed=0)]
        done = time.process_time()
        found = [crystal for crystal in crystals if crystal is not None]
        told |= {
            f"{short}_per_second": round(n / (done - opened), 1),
            f"{short}_share_made": len(found) / n,
            f"{short}_share_neutral": float(np.mean([_neutral(c) for c in found])),
            f"{short}_share_sound": float(np.mean([_sound(c) for c in found])),
            f"{short}_start_up_s": round(opened - begin, 2),
        }
    told["volume_error_median"] = round(_volume_error(known), 4)
    print(json.dumps({**told, "n": n, "known": len(known)}))


def _volume_error(known: list[Record]) -> float:
    """Return the median relative error of volumes on the crystals left out of the fit."""
    rng = np.random.default_rng(0)
    order = rng.permutation(len(known))
    half = len(known) // 2
    volumes = AtomicVolumes([known[row] for row in order[:half]])
    crystals = [known[row].crystal for row in order[half:]]
    errors = np.array([volumes.volume(c.numbers) / c.volume - 1.0 for c in crystals])
    return float(np.median(np.abs(errors[np.isfinite(errors)])))


def _neutral(crystal: Crystal) -> bool:
    return crystal.oxidation is not None and not crystal.oxidation.sum()


def _sound(crystal: Crystal) -> bool:
    """Whether the crystal would be read: no two sites nearer than half an Å."""
    try:
        check_crystal(crystal)
    except BadCrystal:
        return False
    return True


if __name__ == "__main__":
    main()
