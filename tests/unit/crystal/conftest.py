from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from matgen.records import Crystal

FILE = Path(__file__).parents[3] / "plugins" / "matgen_datasets" / "data" / "mp_le20.parquet"


@pytest.fixture(scope="session")
def mp_le20() -> list[Crystal]:
    """All 72,096 crystals of the bundled set."""
    table = pq.read_table(FILE, columns=["numbers", "lattice", "frac_coords"]).combine_chunks()
    numbers = table["numbers"].chunk(0)
    ends = numbers.offsets.to_numpy()
    z = numbers.values.to_numpy().astype(np.int64)
    frac = table["frac_coords"].chunk(0).values.to_numpy().reshape(-1, 3).astype(np.float64)
    lattices = table["lattice"].chunk(0).values.to_numpy().reshape(-1, 3, 3).astype(np.float64)
    return [
        Crystal(lattices[i], frac[ends[i] : ends[i + 1]], z[ends[i] : ends[i + 1]])
        for i in range(len(table))
    ]
