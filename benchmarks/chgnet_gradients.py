"""How long CHGNet takes for energy, forces and stress: our one backward pass against its own two.

Real crystals (samples of DiffCSP as published, 2 to 20 sites), one thread, both calculators in turn
on each crystal in one process; medians of the ratios. Also the largest differences between the two.

    python benchmarks/chgnet_gradients.py --quick

The last line is JSON.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import statistics
import time
import warnings
from pathlib import Path

import numpy as np
import torch
from chgnet.model.dynamics import CHGNetCalculator

from matgen.io.crystal_table import CrystalTable
from matgen_relaxers.chgnet import Chgnet

SAMPLES = Path(__file__).parent / "peers" / "diffcsp.parquet"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("-n", type=int, default=200, help="crystals")
    parser.add_argument("--quick", action="store_true", help="under 50 s on two cores")
    options = parser.parse_args()
    n = 60 if options.quick else options.n
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    table = CrystalTable.read(SAMPLES)
    with contextlib.redirect_stdout(io.StringIO()):
        calculators = [Chgnet().calculator("cpu"), CHGNetCalculator(on_isolated_atoms="ignore")]
    seconds: list[tuple[float, float]] = []
    apart = np.zeros(3)
    for row in range(n):
        took, found = [], []
        for calculator in calculators:
            atoms = table.crystal(row).to_atoms()
            atoms.calc = calculator
            begin = time.process_time()
            found.append([atoms.get_potential_energy(), atoms.get_forces(), atoms.get_stress()])
            took.append(time.process_time() - begin)
        if row >= 2:  # the first ones load and warm up
            seconds.append((took[0], took[1]))
        apart = np.maximum(apart, [np.abs(a - b).max() for a, b in zip(*found, strict=True)])
    print(
        json.dumps(
            {
                "speedup": round(statistics.median(theirs / own for own, theirs in seconds), 2),
                "seconds_median": round(statistics.median(own for own, _ in seconds), 4),
                "energy_apart_ev": apart[0],
                "force_apart_ev_per_ang": apart[1],
                "stress_apart_ev_per_ang3": apart[2],
                "n": n,
                "torch": torch.__version__,
            }
        )
    )


if __name__ == "__main__":
    main()
