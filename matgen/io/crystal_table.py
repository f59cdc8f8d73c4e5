"""Crystals in a Parquet file, kept as flat arrays so that a hundred thousand rows take a second.

Columns: ``numbers`` (atomic numbers), ``lattice`` (9 numbers, rows after each other, Å),
``frac_coords`` (3 per site), ``material_id`` or ``id`` if there is one; every other column of
numbers or text is a property.

Axis letters: R rows, T sites of all rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from matgen.errors import BadCrystal, BadFile
from matgen.records import Crystal, PropertyValue

ID_COLUMNS = ("material_id", "id")
GEOMETRY_COLUMNS = ("numbers", "lattice", "frac_coords")


@dataclass(frozen=True, eq=False)
class CrystalTable:
    """The rows of a file.

    Attributes:
        ids: (R,) names of the rows; empty where the file has none.
        ends: (R + 1,) where the sites of each row begin, and the end.
        numbers: (T,) int64 atomic numbers.
        frac: (T, 3) float64 fractional coordinates.
        lattices: (R, 3, 3) float64, Å.
        misfits: Row to what is wrong with the shape of its columns.
        properties: Column to (R,) float64, NaN where missing, or a list of texts and None.
    """

    ids: Sequence[str]
    ends: NDArray[np.int64]
    numbers: NDArray[np.int64]
    frac: NDArray[np.float64]
    lattices: NDArray[np.float64]
    misfits: Mapping[int, str]
    properties: Mapping[str, NDArray[np.float64] | list[str | None]]

    def __len__(self) -> int:
        return len(self.lattices)

    def crystal(self, row: int) -> Crystal:
        """Return the crystal of a row, as views of the table's arrays.

        Raises:
            BadCrystal: its columns do not fit each other.
        """
        if row in self.misfits:
            raise BadCrystal(self.misfits[row])
        sites = slice(self.ends[row], self.ends[row + 1])
        return Crystal(self.lattices[row], self.frac[sites], self.numbers[sites])

    def properties_of(self, row: int) -> dict[str, PropertyValue]:
        """Return the properties that the row has."""
        values: dict[str, PropertyValue] = {}
        for name, column in self.properties.items():
            value = column[row]
            if isinstance(value, str):
                values[name] = value
            elif value is not None and not np.isnan(value):
                values[name] = float(value)
        return values

    @classmethod
    def read(cls, path: Path) -> CrystalTable:
        """Read a Parquet file.

        Raises:
            BadFile: missing, truncated, no Parquet, or without a column that it takes.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            table = pq.read_table(path)
        except (OSError, pa.ArrowException) as error:
            raise BadFile(f"cannot read {path} as Parquet: {error}") from None
        missing = [name for name in GEOMETRY_COLUMNS if name not in table.column_names]
        if missing:
            raise BadFile(
                f"{path} has no column {', '.join(missing)}; expected {', '.join(GEOMETRY_COLUMNS)}"
            )
        columns = {name: table[name].combine_chunks() for name in GEOMETRY_COLUMNS}
        id_column = next((name for name in ID_COLUMNS if name in table.column_names), None)
        try:
            flat = {name: _flat(column) for name, column in columns.items()}
        except (pa.ArrowException, AttributeError, TypeError, ValueError):
            raise BadFile(
                f"{path}: {', '.join(GEOMETRY_COLUMNS)} must be lists of numbers"
            ) from None
        return cls(
            ids=[] if id_column is None else [str(name) for name in table[id_column].to_pylist()],
            properties={
                name: _property(table[name])
                for name in table.column_names
                if name not in (*GEOMETRY_COLUMNS, id_column) and _is_scalar(table.schema, name)
            },
            **_aligned(flat),
        )


def _flat(column: Any) -> tuple[NDArray[np.int64], NDArray[np.float64]]:  # an arrow list array
    """Return (R,) lengths, 0 for a missing list, and all values."""
    import pyarrow.compute as pc

    lengths = pc.fill_null(pc.list_value_length(column), 0)
    values = column.flatten().to_numpy(zero_copy_only=False)
    return np.asarray(lengths, dtype=np.int64), np.asarray(values, dtype=np.float64)


def _aligned(
    flat: Mapping[str, tuple[NDArray[np.int64], NDArray[np.float64]]],
) -> dict[str, Any]:  # arguments of CrystalTable
    """Return the geometry, rows whose columns do not fit replaced by empty ones."""
    (n_sites, numbers), (n_lattice, lattice), (n_frac, frac) = (
        flat[name] for name in GEOMETRY_COLUMNS
    )
    fits = (n_sites > 0) & (n_lattice == 9) & (n_frac == 3 * n_sites)
    misfits = {
        int(row): (
            f"{n_sites[row]} atomic numbers, {n_lattice[row]} lattice components and "
            f"{n_frac[row]} coordinates do not fit; expected N, 9 and 3N"
        )
        for row in np.flatnonzero(~fits)
    }
    lattices = np.full((len(fits), 9), np.nan)
    lattices[fits] = lattice[np.repeat(fits, n_lattice)].reshape(-1, 9)
    kept = numbers[np.repeat(fits, n_sites)]
    # A missing or fractional number must stay no element.
    whole = np.where(np.isfinite(kept) & (kept == np.round(kept)), kept, 0.0)
    return {
        "ends": np.concatenate([[0], np.cumsum(np.where(fits, n_sites, 0))]).astype(np.int64),
        "numbers": whole.astype(np.int64),
        "frac": frac[np.repeat(fits, n_frac)].reshape(-1, 3),
        "lattices": lattices.reshape(-1, 3, 3),
        "misfits": misfits,
    }


def _is_scalar(schema: Any, name: str) -> bool:  # an arrow schema
    import pyarrow.types as pt

    kind = schema.field(name).type
    return bool(
        pt.is_integer(kind)
        or pt.is_floating(kind)
        or pt.is_boolean(kind)
        or pt.is_string(kind)
        or pt.is_large_string(kind)
    )


def _property(column: Any) -> NDArray[np.float64] | list[str | None]:  # an arrow chunked array
    import pyarrow as pa
    import pyarrow.types as pt

    if pt.is_string(column.type) or pt.is_large_string(column.type):
        texts: list[str | None] = column.to_pylist()
        return [text or None for text in texts]
    if pt.is_boolean(column.type):
        column = column.cast(pa.int8())
    return np.asarray(column.cast(pa.float64()).to_numpy(), dtype=np.float64)
