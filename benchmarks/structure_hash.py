"""How often the structure hash is wrong, and what it costs.

Real crystals (mp_le20) and re-described, noised copies of them; one line of JSON, ratios first:

- false_merge_rate: of pairs of crystals of one reduced formula that pymatgen's StructureMatcher
  (its defaults) tells apart, how many have one hash;
- false_split_rate: of copies in another cell (a supercell, other axes), with another origin,
  another order of sites, and one coordinate moved by one bin (1/1152), how many have another hash;
- ..._every_coordinate: each coordinate moved by at most one bin; ..._lattice: each length by at
  most 0.02 Å and each angle by at most 0.06 degrees, one bin; ..._exact: no noise at all;
- matcher_equal_split_rate: of pairs that the matcher calls equal, how many have two hashes. It
  allows far more than noise: 20 % of a length, 5 degrees, and any change of volume.

    python benchmarks/structure_hash.py --quick
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from collections import defaultdict
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from pymatgen.core.lattice import Lattice

from matgen.catalog import Catalog
from matgen.crystal.structure_hash import structure_hash
from matgen.evaluation.matching import Candidate, OrderedMatcher, composition_key
from matgen.records import Crystal
from matgen.roles.dataset import DatasetSource

BIN = 1.0 / 1152.0
LENGTH_BIN_ANG = 0.02
ANGLE_BIN_DEG = 0.06
LARGEST_GROUP = 8
"""Crystals taken of one formula: SiO2 has hundreds, and would be most of the pairs."""


def redescribed(crystal: Crystal, rng: np.random.Generator) -> Crystal:
    """Return the crystal with other axes, doubled, shifted, and in another order."""
    change = np.eye(3, dtype=np.int64)
    for _ in range(4):
        i, j = rng.permutation(3)[:2]
        change[i] += rng.integers(-1, 2) * change[j]
    double = rng.permutation([1, 1, 2])
    frac = crystal.frac @ np.linalg.inv(change)
    cells = np.stack(np.meshgrid(*map(np.arange, double), indexing="ij"), axis=-1).reshape(-1, 3)
    spread = ((frac[None, :, :] + cells[:, None, :]) / double).reshape(-1, 3)
    order = rng.permutation(len(spread))
    return Crystal(
        np.diag(double) @ change @ crystal.lattice,
        (spread + rng.random(3))[order],
        np.tile(crystal.numbers, len(cells))[order],
    )


def one_coordinate(crystal: Crystal, rng: np.random.Generator) -> Crystal:
    frac = crystal.frac.copy()
    frac[rng.integers(len(frac)), rng.integers(3)] += BIN * rng.choice([-1, 1])
    return Crystal(crystal.lattice, frac, crystal.numbers)


def every_coordinate(crystal: Crystal, rng: np.random.Generator) -> Crystal:
    frac = crystal.frac + BIN * rng.integers(-1, 2, crystal.frac.shape)
    return Crystal(crystal.lattice, frac, crystal.numbers)


def lattice_bins(crystal: Crystal, rng: np.random.Generator) -> Crystal:
    steps = np.repeat([LENGTH_BIN_ANG, ANGLE_BIN_DEG], 3) * rng.integers(-1, 2, 6)
    lattice = Lattice.from_parameters(*(np.array(Lattice(crystal.lattice).parameters) + steps))
    return Crystal(np.array(lattice.matrix), crystal.frac, crystal.numbers)


def as_it_is(crystal: Crystal, rng: np.random.Generator) -> Crystal:
    del rng
    return crystal


NOISES: dict[str, Callable[[Crystal, np.random.Generator], Crystal]] = {
    "": one_coordinate,
    "_every_coordinate": every_coordinate,
    "_lattice": lattice_bins,
    "_exact": as_it_is,
}


def pairs_of(
    crystals: list[Crystal], rng: np.random.Generator, *, seconds: float
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return (P, 2) pairs of one formula and whether the matcher calls them equal."""
    groups = defaultdict(list)
    for row, crystal in enumerate(crystals):
        groups[composition_key(crystal)].append(row)
    shared = [rows for rows in groups.values() if len(rows) > 1]
    matcher = OrderedMatcher()
    end = time.perf_counter() + seconds
    pairs, equal = [], []
    for group in rng.permutation(len(shared)):
        if time.perf_counter() > end:
            break
        rows = rng.permutation(shared[group])[:LARGEST_GROUP]
        candidates = [Candidate(crystals[row]) for row in rows]
        for i in range(len(rows)):
            for j in range(i + 1, len(rows)):
                pairs.append((rows[i], rows[j]))
                equal.append(matcher.fit(candidates[i], candidates[j]))
    return np.array(pairs), np.array(equal)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="under 50 s on one core")
    options = parser.parse_args()
    rng = np.random.default_rng(options.seed)
    dataset = Catalog.load().build("dataset", "mp_le20", {"rows": "all"})
    assert isinstance(dataset, DatasetSource)
    crystals = [record.crystal for record in dataset.records("train")]
    pairs, equal = pairs_of(crystals, rng, seconds=12.0 if options.quick else 600.0)
    rows = np.unique(pairs)
    start = time.perf_counter()
    known = {row: structure_hash(crystals[row]) for row in rows.tolist()}
    microseconds = 1e6 * (time.perf_counter() - start) / len(rows)
    same = np.array([known[a] == known[b] for a, b in pairs.tolist()])
    chosen = rng.permutation(rows)[: 1000 if options.quick else 20000].tolist()
    splits = {
        f"false_split_rate{name}": np.mean(
            [
                structure_hash(redescribed(noise(crystals[row], rng), rng)) != known[row]
                for row in chosen
            ]
        )
        for name, noise in NOISES.items()
    }
    print(
        json.dumps(
            {
                "false_merge_rate": round(float(same[~equal].mean()), 4),
                **{name: round(float(rate), 4) for name, rate in splits.items()},
                "matcher_equal_split_rate": round(float((~same[equal]).mean()), 4),
                "us_per_crystal": round(microseconds),
                "n_pairs_different": int((~equal).sum()),
                "n_pairs_equal": int(equal.sum()),
                "n_copies": len(chosen),
                "mean_sites": round(float(np.mean([crystals[row].n_sites for row in rows])), 1),
                "seed": options.seed,
                "processor": platform.processor() or platform.machine(),
            }
        )
    )


if __name__ == "__main__":
    main()
