"""Rewrite the bundled set with every crystal in its canonical cell.

    python tools/make_mp_le20.py SOURCE plugins/matgen_datasets/data/mp_le20.parquet

SOURCE is the set as it was put together (columns as in the bundled file, cells primitive and
Niggli-reduced, origins as the Materials Project has them). Canonical here, a row is tokenised
without looking for its symmetry again, and gets the tokens that the same crystal gets from a file.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from matgen.crystal.cell import canonical_cell
from matgen.io.crystal_table import CrystalTable


def main() -> None:
    """Read, put into canonical cells, write."""
    source, target = map(Path, sys.argv[1:3])
    table, crystals = pq.read_table(source), CrystalTable.read(source)
    numbers, lattices, fracs, n_sites = [], [], [], []
    n_smaller = 0
    for row in range(len(crystals)):
        given = crystals.crystal(row)
        crystal = canonical_cell(given)
        n_smaller += crystal.n_sites < given.n_sites
        # By element, then position: equal neighbours compress.
        crystal = crystal.take(np.lexsort((*crystal.frac.round(4).T[::-1], crystal.numbers)))
        n_sites.append(crystal.n_sites)
        numbers.append(crystal.numbers)
        lattices.append(crystal.lattice.ravel())
        fracs.append(crystal.frac.ravel())
    made = {
        "n_sites": n_sites,
        "numbers": numbers,
        "lattice": lattices,
        "frac_coords": fracs,
    }
    for name, values in made.items():
        column = pa.array(values, type=table.schema.field(name).type)
        table = table.set_column(table.schema.get_field_index(name), name, column)
    pq.write_table(table, target, compression="zstd", compression_level=19)
    print(f"{len(crystals)} crystals, {n_smaller} in smaller cells than given")  # noqa: T201


if __name__ == "__main__":
    main()
