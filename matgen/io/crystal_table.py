"""Crystals in a Parquet file, kept as flat arrays so that a hundred thousand rows take a second.

Columns: ``numbers`` (atomic numbers), ``lattice`` (9 numbers, rows after each other, Å),
``frac_coords`` (3 per site), ``material_id`` or ``id`` if there is one; every other column of
numbers or text is a property. ``oxidation`` (states of the sites, or missing) may be there.

Axis letters: R rows, T sites of all rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from matgen.errors import BadCrystal, BadFile
from matgen.records import Crystal, PropertyValue

ID_COLUMNS = ("material_id", "id")
GEOMETRY_COLUMNS = ("numbers", "lattice", "frac_coords")
OXIDATION_COLUMN = "oxidation"
ROWS_AT_ONCE = 4096
"""Rows of a batch: large enough that a batch costs nothing, 5 MB of crystals of 20 sites."""


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
        oxidation: (T,) int64 oxidation states; None where the file has none at all.
        has_oxidation: (R,) whether the states of a row are known.
    """

    ids: Sequence[str]
    ends: NDArray[np.int64]
    numbers: NDArray[np.int64]
    frac: NDArray[np.float64]
    lattices: NDArray[np.float64]
    misfits: Mapping[int, str]
    properties: Mapping[str, NDArray[np.float64] | list[str | None]]
    oxidation: NDArray[np.int64] | None = None
    has_oxidation: NDArray[np.bool_] | None = None

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
        states = None
        if self.oxidation is not None and self.has_oxidation is not None:
            states = self.oxidation[sites] if self.has_oxidation[row] else None
        return Crystal(self.lattices[row], self.frac[sites], self.numbers[sites], states)

    def all_properties(self) -> list[dict[str, PropertyValue]]:
        """Return the properties of every row, as ``properties_of`` does for one."""
        rows: list[dict[str, PropertyValue]] = [{} for _ in range(len(self))]
        for name, column in self.properties.items():
            if isinstance(column, list):
                for row, text in zip(rows, column, strict=True):
                    if text is not None:
                        row[name] = text
                continue
            known = np.flatnonzero(~np.isnan(column))
            for place, value in zip(known.tolist(), column[known].tolist(), strict=True):
                rows[place][name] = value
        return rows

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
        return cls._of_arrow(table, path)

    @classmethod
    def batches(
        cls, path: Path, *, group: int | None = None, start: int = 0, stop: int | None = None
    ) -> Iterator[CrystalTable]:
        """Yield the rows of a Parquet file, some thousand at a time.

        Args:
            path: Read batch by batch; memory does not grow with the file.
            group: A row group to which the rows are limited.
            start: First row, counted from the beginning of the file, or of the row group.
            stop: Past the last row; None reads to the end.

        Raises:
            BadFile: missing, truncated, no Parquet, or without a column that it takes.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            with pq.ParquetFile(path) as file:
                _require_geometry(file.schema_arrow, path)
                first = 0
                for batch in file.iter_batches(
                    ROWS_AT_ONCE,
                    row_groups=None if group is None else [group],
                    columns=_columns(file.schema_arrow),
                    use_threads=False,
                ):
                    last = first + batch.num_rows
                    low, high = max(start, first), last if stop is None else min(stop, last)
                    if high > low:
                        chosen = batch.slice(low - first, high - low)
                        yield cls._of_arrow(pa.Table.from_batches([chosen]), path)
                    first = last
                    if stop is not None and first >= stop:
                        return
        except (OSError, pa.ArrowException) as error:
            raise BadFile(f"cannot read {path} as Parquet: {error}") from None

    @classmethod
    def _of_arrow(cls, table: Any, path: Path) -> CrystalTable:  # an arrow table
        import pyarrow as pa

        _require_geometry(table.schema, path)
        columns = {name: table[name].combine_chunks() for name in GEOMETRY_COLUMNS}
        id_column = next((name for name in ID_COLUMNS if name in table.column_names), None)
        try:
            flat = {name: _flat(column) for name, column in columns.items()}
        except (pa.ArrowException, AttributeError, TypeError, ValueError):
            raise BadFile(
                f"{path}: {', '.join(GEOMETRY_COLUMNS)} must be lists of numbers"
            ) from None
        geometry = _aligned(flat)
        return cls(
            ids=[] if id_column is None else _texts(table[id_column]),
            properties={
                name: _property(table[name])
                for name in table.column_names
                if name not in (*GEOMETRY_COLUMNS, id_column) and _is_scalar(table.schema, name)
            },
            **geometry,
            **_oxidation(table, geometry["ends"]),
        )


def _require_geometry(schema: Any, path: Path) -> None:  # an arrow schema
    missing = [name for name in GEOMETRY_COLUMNS if name not in schema.names]
    if missing:
        raise BadFile(
            f"{path} has no column {', '.join(missing)}; expected {', '.join(GEOMETRY_COLUMNS)}"
        )


def _columns(schema: Any) -> list[str]:  # an arrow schema
    """Return the columns that are read: not other lists, which may be large."""
    return [
        name
        for name in schema.names
        if name in (*GEOMETRY_COLUMNS, OXIDATION_COLUMN) or _is_scalar(schema, name)
    ]


def _texts(column: Any) -> list[str]:  # an arrow chunked array
    """Return ids as texts, empty where missing."""
    return ["" if name is None else str(name) for name in column.to_pylist()]


def _oxidation(table: Any, ends: NDArray[np.int64]) -> dict[str, Any]:  # an arrow table
    """Return the oxidation states of the rows that have one for each site."""
    import pyarrow as pa

    if OXIDATION_COLUMN not in table.column_names:
        return {}
    try:
        lengths, flat = _flat(table[OXIDATION_COLUMN].combine_chunks())
    except (pa.ArrowException, AttributeError, TypeError, ValueError):
        return {}  # a property of that name, no list of states
    n_sites = np.diff(ends)
    known = (lengths == n_sites) & (n_sites > 0)
    states = np.zeros(int(ends[-1]), dtype=np.int64)
    given = flat[np.repeat(known, lengths)]
    states[np.repeat(known, n_sites)] = np.where(np.isfinite(given), given, 0.0)
    broken = np.zeros(len(states), dtype=np.bool_)
    broken[np.repeat(known, n_sites)] = given != np.round(given)
    known[np.repeat(np.arange(len(known)), n_sites)[broken]] = False
    return {"oxidation": states, "has_oxidation": known}


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
    return np.asarray(column.cast(pa.float64(), safe=False).to_numpy(), dtype=np.float64)
