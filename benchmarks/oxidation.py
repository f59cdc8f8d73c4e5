"""Our oxidation states beside pymatgen's guess, as a table over every crystal of the shipped set.

pymatgen's guess depends on the cell's composition alone, can take minutes for one, and is stopped
after ``--limit`` seconds here. Prints the table and then one line of JSON, ratios first.

    python benchmarks/oxidation.py --quick
    python benchmarks/oxidation.py --limit 60
"""

from __future__ import annotations

import argparse
import json
import signal
import time
from collections import Counter
from collections.abc import Mapping
from typing import Literal

import numpy as np
from pymatgen.core.composition import Composition

from matgen import Crystal, elements
from matgen.crystal.oxidation import OxidationAssigner
from matgen.io.crystal_table import CrystalTable
from matgen_datasets.mp_le20 import FILE

Outcome = Literal["whole", "fractional", "nothing", "too long"]
LABELS = {
    "whole": "one whole state per element",
    "fractional": "a fraction for some element (mixed valence)",
    "nothing": "no state (all zero)",
    "too long": "no answer within the limit",
}


class TooLong(Exception):
    """The time given to one guess is over."""


def guessed(crystal: Crystal, limit: float) -> tuple[Outcome, Mapping[int, float]]:
    """Return what ``add_oxidation_state_by_guess`` would put on each element."""
    numbers, counts = np.unique(crystal.numbers, return_counts=True)
    cell = {elements.symbols[z]: int(n) for z, n in zip(numbers, counts, strict=True)}

    def stop(*_: object) -> None:
        raise TooLong

    signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, limit)
    try:
        guesses = Composition(cell).oxi_state_guesses()
    except TooLong:
        return "too long", {}
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    states = {elements.atomic_number(s): float(q) for s, q in (guesses or ({},))[0].items()}
    if not any(states.values()):
        return "nothing", {}
    whole = all(state.is_integer() for state in states.values())
    return ("whole" if whole else "fractional"), states


def compared(crystal: Crystal, ours: np.ndarray, theirs: Mapping[int, float]) -> str:
    """Return how our states stand beside the guess."""
    if not ours.any():
        return "ours zero"
    if not theirs:
        return "ours has states"
    means = {int(z): float(ours[crystal.numbers == z].mean()) for z in np.unique(crystal.numbers)}
    same = all(abs(means[z] - theirs[z]) < 1e-6 for z in means)
    return "same mean per element" if same else "different"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("-n", type=int, default=0, help="crystals, spread evenly; 0: all")
    parser.add_argument("--limit", type=float, default=60.0, help="seconds for one of pymatgen's")
    parser.add_argument("--quick", action="store_true", help="under 50 s on two cores")
    options = parser.parse_args()
    n, limit = (1000, 2.0) if options.quick else (options.n, options.limit)
    table = CrystalTable.read(FILE)
    rows = range(0, len(table), max(1, len(table) // n) if n else 1)
    known: dict[bytes, tuple[Outcome, Mapping[int, float]]] = {}
    counted: Counter[tuple[str, str]] = Counter()
    neutral: Counter[str] = Counter()
    theirs_s, ours_s = [], []
    assigner = OxidationAssigner()
    for row in rows:
        crystal = table.crystal(row)
        start = time.perf_counter()
        assignment = assigner.assign(crystal)
        ours_s.append(time.perf_counter() - start)
        key = np.sort(crystal.numbers).tobytes()
        if key not in known:
            start = time.perf_counter()
            known[key] = guessed(crystal, limit)
            theirs_s.append(time.perf_counter() - start)
        outcome, states = known[key]
        counted[outcome, compared(crystal, assignment.oxidation, states)] += 1
        neutral[outcome] += int(assignment.oxidation.sum() == 0)
    print("| pymatgen's guess | ours | crystals | share |\n|---|---|---|---|")
    for (outcome, verdict), count in sorted(counted.items(), key=lambda item: -item[1]):
        print(f"| {LABELS[outcome]} | {verdict} | {count:,} | {count / len(rows):.1%} |")
    answered = {
        v: sum(c for (o, w), c in counted.items() if o == "whole" and w == v)
        for v in ("same mean per element", "different", "ours zero")
    }
    print(
        json.dumps(
            {
                "speedup_mean": round(float(np.mean(theirs_s) / np.mean(ours_s)), 1),
                "speedup_worst": round(max(theirs_s) / max(ours_s), 1),
                "same_where_whole": round(
                    answered["same mean per element"] / max(1, sum(answered.values())), 4
                ),
                "ours_neutral": round(sum(neutral.values()) / len(rows), 4),
                "n": len(rows),
                "limit_s": limit,
                "pymatgen_ms": {
                    "mean": round(1e3 * float(np.mean(theirs_s)), 3),
                    "worst": round(1e3 * max(theirs_s), 1),
                },
                "ours_ms": {
                    "mean": round(1e3 * float(np.mean(ours_s)), 3),
                    "median": round(1e3 * float(np.median(ours_s)), 4),
                    "worst": round(1e3 * max(ours_s), 2),
                },
            }
        )
    )


if __name__ == "__main__":
    main()
