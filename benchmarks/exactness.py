"""What tokens keep of real crystals, and whether every description of one gives the same tokens.

Round trip: every crystal of the shipped set is encoded and decoded, and the two matched by
pymatgen's StructureMatcher at its default tolerances; every crystal that does not match is listed
with its cause. Coordinates and lattice parameters are compared with half a bin, the space group at
two tolerances.

Descriptions: the same crystals under random unimodular changes of cell; as supercells in another
setting with another origin and order of sites; and with noise of 10⁻⁴ Å on every site. ``tokens``
is the share with equal tokens, ``description`` the share whose canonical cells are the same
description (each site of one within 0.005 Å of the other's): noise may push a number over the edge
of a bin, which no choice of cell can help. ``niggli`` is pymatgen's Niggli cell in our place.

    python benchmarks/exactness.py --quick
    python benchmarks/exactness.py -n 72096 --descriptions 5000
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from pymatgen.analysis.structure_matcher import StructureMatcher

from matgen import Crystal
from matgen.crystal.cell import canonical_cell
from matgen.crystal.oxidation import OxidationAssigner
from matgen.crystal.periodic import wrapped
from matgen.crystal.symmetry import space_group
from matgen.errors import OutsideRange
from matgen.io.crystal_table import CrystalTable
from matgen_datasets.mp_le20 import FILE
from matgen_executors.processes import ProcessExecutor
from matgen_materium.atoms import Atoms
from matgen_materium.cells import lattice_parameters
from matgen_materium.orderings import High

ATOMS, HIGH = Atoms(), High()
NOISE_ANG = 1e-4
NEAR_ANG = 0.005
SYMPRECS = (0.01, 0.1)
PIECE = 500


def tokens(crystal: Crystal) -> bytes | None:
    """Return what is written of a crystal; None of one that cannot be held."""
    try:
        return ATOMS.encode(crystal, HIGH, np.random.default_rng(0)).ids.tobytes()
    except OutsideRange:
        return None


def oxidised(crystal: Crystal) -> Crystal:
    """Return the crystal with the oxidation states that preparing would give it."""
    return crystal.with_oxidation(OxidationAssigner().assign(crystal).oxidation)


def round_trip(piece: list[tuple[str, Crystal]]) -> list[dict[str, Any]]:
    """Return what one pass through the tokens did to each crystal."""
    matcher = StructureMatcher()
    results = []
    for name, given in piece:
        crystal = oxidised(given)
        result: dict[str, Any] = {"id": name, "cause": ""}
        results.append(result)
        try:
            written = ATOMS.encode(crystal, HIGH, np.random.default_rng(0))
        except OutsideRange as error:
            result["outside"] = str(error).partition(" = ")[0]
            continue
        read = ATOMS.decode(written)
        items = ATOMS.items(crystal)
        order = HIGH.permutation(items, np.random.default_rng(0))
        off = abs(wrapped(read.frac - crystal.frac[order])).max() * ATOMS.bins.n_coordinate
        steps = np.array([grid.step for grid in ATOMS.bins.lattice])
        moved = lattice_parameters(read.lattice) - lattice_parameters(crystal.lattice)
        result["coordinate_bins"] = float(off)
        result["lattice_bins"] = float(abs(moved / steps).max())
        groups = [space_group(read, symprec=symprec) for symprec in SYMPRECS]
        own = space_group(crystal, symprec=SYMPRECS[0])
        result["kept"] = [own == group for group in groups]
        result["kept_unbinned"] = own == space_group(crystal, symprec=SYMPRECS[1])
        if not matcher.fit(crystal.to_structure(), read.to_structure()):
            result["cause"] = cause_of(matcher, crystal, read)
    return results


def cause_of(matcher: StructureMatcher, crystal: Crystal, read: Crystal) -> str:
    """Return why the matcher tells a crystal and its reading apart."""
    if not matcher.fit(crystal.to_structure(), crystal.to_structure()):
        return "the matcher does not match the crystal with itself"
    as_written = StructureMatcher(primitive_cell=False)
    if as_written.fit(crystal.to_structure(), read.to_structure()):
        return (
            "pymatgen finds other primitive cells for the two; in the cells as they are they match"
        )
    return "the sites moved too far"


def unimodular(crystal: Crystal, rng: np.random.Generator) -> Crystal:
    """Return the crystal under a random unimodular change of cell, sites in another order."""
    change = np.eye(3)
    for _ in range(4):
        a, b = rng.choice(3, 2, replace=False)
        change[a] += rng.choice([-1.0, 1.0]) * change[b]
    change *= rng.choice([-1.0, 1.0], size=(3, 1))
    frac = crystal.frac @ np.linalg.inv(change)
    moved = Crystal(change @ crystal.lattice, frac, crystal.numbers)
    return moved.take(rng.permutation(crystal.n_sites))


def other_setting(crystal: Crystal, rng: np.random.Generator) -> Crystal:
    """Return a doubled cell of another setting, with another origin and other lattice images."""
    crystal = unimodular(crystal, rng)
    along = np.eye(3)[rng.integers(3)]
    frac = np.concatenate([crystal.frac, crystal.frac + along]) / (1.0 + along) + rng.random(3)
    frac += rng.integers(-2, 3, size=frac.shape)
    return Crystal(crystal.lattice * (1.0 + along)[:, None], frac, np.tile(crystal.numbers, 2))


def noisy(crystal: Crystal, rng: np.random.Generator) -> Crystal:
    """Return the crystal with every site moved by 10⁻⁴ Å in a random direction."""
    steps = rng.normal(size=(crystal.n_sites, 3))
    steps *= NOISE_ANG / np.linalg.norm(steps, axis=1, keepdims=True)
    frac = crystal.frac + steps @ np.linalg.inv(crystal.lattice)
    return Crystal(crystal.lattice, frac, crystal.numbers)


def plain_niggli(crystal: Crystal) -> Crystal:
    """Return pymatgen's Niggli cell."""
    return Crystal.from_structure(crystal.to_structure().get_reduced_structure())


def same_description(one: Crystal, other: Crystal) -> bool:
    """Whether two crystals have the same lattice parameters and sites, in any order."""
    if one.n_sites != other.n_sites:
        return False
    a, b = lattice_parameters(one.lattice), lattice_parameters(other.lattice)
    if abs(a - b)[:3].max() > NEAR_ANG or abs(a - b)[3:].max() > 0.05:
        return False
    apart = wrapped(one.frac[:, None] - other.frac[None]) @ one.lattice
    near = np.linalg.norm(apart, axis=-1) < NEAR_ANG
    near &= one.numbers[:, None] == other.numbers[None]
    return bool(near.any(axis=0).all() and near.any(axis=1).all())


WAYS: dict[str, Callable[[Crystal, np.random.Generator], Crystal]] = {
    "unimodular": unimodular,
    "supercell_shifted": other_setting,
    "noise": noisy,
    "supercell_shifted_noise": lambda c, rng: noisy(other_setting(c, rng), rng),
}


def descriptions(piece: list[tuple[str, Crystal]]) -> list[dict[str, Any]]:
    """Return, per crystal, whether each way of describing it otherwise gives the same."""
    results = []
    for name, given in piece:
        rng = np.random.default_rng(list(name.encode()))
        canonical = canonical_cell(given)
        written = tokens(oxidised(canonical))
        result: dict[str, Any] = {"id": name}
        if written is None:
            continue  # off the grid
        for way, describe in WAYS.items():
            again = canonical_cell(describe(given, rng))
            result[f"{way}_tokens"] = tokens(oxidised(again)) == written
            result[f"{way}_description"] = same_description(canonical, again)
        niggli = plain_niggli(given)
        again = plain_niggli(unimodular(given, rng))
        result["niggli_unimodular_tokens"] = tokens(oxidised(again)) == tokens(oxidised(niggli))
        results.append(result)
    return results


def pieces(crystals: list[tuple[str, Crystal]]) -> Iterator[list[tuple[str, Crystal]]]:
    for first in range(0, len(crystals), PIECE):
        yield crystals[first : first + PIECE]


def share(values: list[bool]) -> float:
    return round(float(np.mean(values)), 4)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("-n", type=int, default=5000, help="crystals for the round trip")
    parser.add_argument("--descriptions", type=int, default=2000, help="crystals described anew")
    parser.add_argument("--quick", action="store_true", help="under 50 s on two cores")
    options = parser.parse_args()
    n, n_described = (1000, 400) if options.quick else (options.n, options.descriptions)
    table = CrystalTable.read(FILE)
    order = np.random.default_rng(0).permutation(len(table))
    chosen = [(table.ids[row], table.crystal(int(row))) for row in order[: max(n, n_described)]]
    with ProcessExecutor().open() as pool:
        trips = [r for part in pool.map(round_trip, pieces(chosen[:n])) for r in part]
        told = [r for part in pool.map(descriptions, pieces(chosen[:n_described])) for r in part]
    held = [r for r in trips if "outside" not in r]
    lost = [r for r in held if r["cause"]]
    print(f"outside the grid: {dict(Counter(r['outside'] for r in trips if 'outside' in r))}")
    for row in lost:
        print(f"{row['id']}: {row['cause']}")
    rates = {key: share([r[key] for r in told]) for key in told[0] if key != "id"}
    print(json.dumps(rates, indent=2))
    kept = {
        f"space_group_kept_{s}": share([r["kept"][i] for r in held]) for i, s in enumerate(SYMPRECS)
    }
    print(
        json.dumps(
            {
                "matched": share([not r["cause"] for r in held]),
                **kept,
                "space_group_kept_0.1_without_bins": share([r["kept_unbinned"] for r in held]),
                "worst_coordinate_bins": round(max(r["coordinate_bins"] for r in held), 6),
                "worst_lattice_bins": round(max(r["lattice_bins"] for r in held), 6),
                "same_tokens_unimodular": rates["unimodular_tokens"],
                "same_tokens_unimodular_niggli": rates["niggli_unimodular_tokens"],
                "same_tokens_supercell_shifted": rates["supercell_shifted_tokens"],
                "same_description_noise": rates["noise_description"],
                "same_tokens_noise": rates["noise_tokens"],
                "inside_grid": round(len(held) / len(trips), 4),
                "n": n,
                "n_descriptions": n_described,
            }
        )
    )


if __name__ == "__main__":
    main()
