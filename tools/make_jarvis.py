"""Make the bundled JARVIS file: ``python tools/make_jarvis.py SOURCE.parquet``.

Not shipped. Adds the space group of each row at two tolerances to a table of JARVIS-DFT structures,
so that the split of the dataset needs no symmetry search at run time.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import spglib

TARGET = (
    Path(__file__).parent.parent
    / "plugins"
    / "matgen_datasets"
    / "data"
    / "jarvis_magnetic.parquet"
)
TIGHT, LOOSE = 0.01, 0.1
"""symprec in Å; the bundled Materials Project set is at the tight one."""


def space_group(lattice: list[float], frac: list[float], numbers: list[int], symprec: float) -> int:
    """Return the number of the space group, 0 where spglib finds none."""
    cell = (np.reshape(lattice, (3, 3)), np.reshape(frac, (-1, 3)), numbers)
    found = spglib.get_symmetry_dataset(cell, symprec=symprec)
    return 0 if found is None else int(found.number)


def main() -> None:
    """Read, add two columns, write."""
    table = pq.read_table(sys.argv[1]).replace_schema_metadata(None)
    cells = [table[name].to_pylist() for name in ("lattice", "frac_coords", "numbers")]
    for name, symprec in (("space_group", TIGHT), ("space_group_loose", LOOSE)):
        groups = [space_group(*cell, symprec) for cell in zip(*cells, strict=True)]
        table = table.append_column(name, pa.array(groups, type=pa.uint8()))
    pq.write_table(table, TARGET, compression="zstd")


main()
