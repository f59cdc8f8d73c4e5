"""How many real crystals keep their space group through one round trip of the tokens.

For the default points and for the paper's counts and ranges, over crystals spread evenly through
the shipped set; prints one line of JSON, ratios first.

    python benchmarks/bins.py --quick
"""

from __future__ import annotations

import argparse
import json
import warnings

import numpy as np
import spglib

from matgen import Crystal
from matgen.crystal.oxidation import OxidationAssigner
from matgen.errors import OutsideRange
from matgen_datasets.mp_le20 import MpLe20
from matgen_materium.atoms import Atoms
from matgen_materium.bins import Bins
from matgen_materium.orderings import High

SYMPRECS = (0.01, 0.1)


def space_group(crystal: Crystal, symprec: float) -> int | None:
    """Return the international number, None where spglib finds nothing."""
    cell = (crystal.lattice, crystal.frac, crystal.numbers)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = spglib.get_symmetry_dataset(cell, symprec=symprec)
    return None if found is None else int(found.number)


def kept(atoms: Atoms, crystals: list[Crystal]) -> dict[str, float]:
    """Return the shares that keep their group at each symprec, and that fit the grid."""
    rng = np.random.default_rng(0)
    same: dict[float, list[bool]] = {symprec: [] for symprec in SYMPRECS}
    for crystal in crystals:
        try:
            back = atoms.decode(atoms.encode(crystal, High(), rng))
        except OutsideRange:
            continue
        for symprec in SYMPRECS:
            # The crystal's own group is the one found tightly: 0.1 loosens both.
            reference = space_group(crystal, SYMPRECS[0])
            same[symprec].append(reference == space_group(back, symprec))
    shares = {f"kept_at_{symprec}": round(float(np.mean(s)), 4) for symprec, s in same.items()}
    return {**shares, "inside_grid": round(len(same[SYMPRECS[0]]) / len(crystals), 4)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("-n", type=int, default=3000)
    parser.add_argument("--quick", action="store_true", help="under 50 s on two cores")
    options = parser.parse_args()
    n = 500 if options.quick else options.n
    every = list(MpLe20(rows="all").records("train"))
    assigner = OxidationAssigner()
    crystals = [record.crystal for record in every[:: len(every) // n]]
    crystals = [c.with_oxidation(assigner.assign(c).oxidation) for c in crystals]
    default = kept(Atoms(), crystals)
    paper = kept(Atoms(bins=Bins.paper()), crystals)
    print(
        json.dumps(
            {
                "kept_vs_paper": round(default["kept_at_0.01"] / paper["kept_at_0.01"], 3),
                "default": default,
                "paper": paper,
                "n": len(crystals),
            }
        )
    )


if __name__ == "__main__":
    main()
