"""Which rows are the same material: equal reduced formula and equal space group."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from matgen.elements import HEAVIEST
from matgen.io.crystal_table import CrystalTable

DATA = Path(__file__).parent / "data"


def material_keys(table: CrystalTable, space_groups: NDArray[np.float64]) -> list[bytes]:
    """Return (R,) keys, equal where the reduced formula and the space group are.

    Args:
        space_groups: (R,) numbers of the space groups.
    """
    n_rows = len(table)
    composition = np.zeros((n_rows, HEAVIEST + 1), dtype=np.int32)
    rows = np.repeat(np.arange(n_rows), np.diff(table.ends))
    np.add.at(composition, (rows, table.numbers), 1)
    composition //= np.gcd.reduce(composition, axis=1, keepdims=True)
    # No element has number 0, so that column is free.
    composition[:, 0] = space_groups
    return [row.tobytes() for row in composition]


def numbers_column(table: CrystalTable, name: str) -> NDArray[np.float64]:
    """Return a column of numbers of one of the bundled files."""
    column = table.properties[name]
    assert isinstance(column, np.ndarray), name
    return column


def texts_column(table: CrystalTable, name: str) -> list[str | None]:
    """Return a column of texts of one of the bundled files."""
    column = table.properties[name]
    assert isinstance(column, list), name
    return column


def file_digest(*paths: Path) -> str:
    """Return 16 hex digits of the contents of files."""
    digest = hashlib.sha256()
    for path in paths:
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]
