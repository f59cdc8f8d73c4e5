"""The folder of an imported dataset: crystals in Parquet, a description beside them.

``dataset.json`` says what the columns are, ``crystals.parquet`` has a row for each crystal,
``problems.jsonl`` a line for each entry that was left out.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import numpy as np

from matgen.atomic import read_json, write_json
from matgen.errors import BadFile, NewerFormat
from matgen.io.crystal_table import GEOMETRY_COLUMNS, ID_COLUMNS, OXIDATION_COLUMN
from matgen.io.formats import DATASET_FILES
from matgen.records import Crystal, LabelSource, PropertyValue

FORMAT: Final = 1
DESCRIPTION: Final = DATASET_FILES[0]
CRYSTALS: Final = DATASET_FILES[1]
PROBLEMS: Final = "problems.jsonl"
SOURCE_SUFFIX: Final = "__source"
RESERVED_COLUMNS: Final = frozenset(
    {*ID_COLUMNS, *GEOMETRY_COLUMNS, OXIDATION_COLUMN, "split", "__from__"}
)
"""Names that no property may have: the rows have, or an import writes, columns of these names."""
TEXT_UNITS: Final = frozenset({"formula", "elements", "text"})
"""Units of properties that are texts; every other unit is one of numbers."""
ROWS_PER_GROUP: Final = 8192


@dataclass(frozen=True)
class Description:
    """What ``dataset.json`` says.

    Attributes:
        title: For people.
        units: Property to unit, in the order of the columns.
        label_sources: Property to where its values come from; of several, each row says which.
        splits: ``train`` and those others that the dataset has.
        split_by: How the split was made, for people.
        counts: Crystals by split, entries left out by kind.
        made_from: Sources and settings of the import.
        fingerprint: Changes with the rows, their order and their columns.
        reduced: Whether every crystal is in its canonical cell.
    """

    title: str
    units: Mapping[str, str]
    label_sources: Mapping[str, Sequence[LabelSource]]
    splits: Sequence[str]
    split_by: str
    counts: Mapping[str, Any] = field(default_factory=dict)  # JSON values
    made_from: Mapping[str, Any] = field(default_factory=dict)  # JSON values
    fingerprint: str = ""
    reduced: bool = False

    @classmethod
    def read(cls, folder: Path) -> Description:
        """Read the description of a folder.

        Raises:
            BadFile: missing, or not what it should be.
            NewerFormat: written by a newer matgen.
        """
        path = folder / DESCRIPTION
        held: dict[str, Any] = read_json(path)  # JSON values
        if held.get("format") != FORMAT:
            if isinstance(held.get("format"), int) and held["format"] > FORMAT:
                raise NewerFormat(
                    f"{path} has format {held['format']}, this matgen reads up to {FORMAT}; "
                    "update matgen or import again"
                )
            raise BadFile(f"{path} describes no imported dataset; import it again")
        try:
            return cls(
                title=str(held["title"]),
                units={str(name): str(unit) for name, unit in held["units"].items()},
                label_sources={
                    name: tuple(LabelSource(one["name"], one["functional"]) for one in several)
                    for name, several in held["label_sources"].items()
                },
                splits=tuple(str(split) for split in held["splits"]),
                split_by=str(held["split_by"]),
                counts=dict(held["counts"]),
                made_from=dict(held["made_from"]),
                fingerprint=str(held["fingerprint"]),
                reduced=bool(held.get("reduced", False)),
            )
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise BadFile(f"{path} is damaged: {error!r}; import it again") from None

    def write(self, folder: Path) -> str:
        """Write the description beside finished crystals; return the fingerprint it gives them.

        The last file to be written: a folder without it is no dataset.
        """
        sources = {
            name: [{"name": one.name, "functional": one.functional} for one in several]
            for name, several in self.label_sources.items()
        }
        digest = hashlib.sha256(json.dumps([dict(self.units), sources, self.reduced]).encode())
        with (folder / CRYSTALS).open("rb") as file:
            while block := file.read(2**20):
                digest.update(block)
        fingerprint = digest.hexdigest()[:16]
        written = {
            "format": FORMAT,
            "title": self.title,
            "units": dict(self.units),
            "label_sources": sources,
            "splits": list(self.splits),
            "split_by": self.split_by,
            "reduced": self.reduced,
            "counts": dict(self.counts),
            "made_from": dict(self.made_from),
            "fingerprint": fingerprint,
        }
        write_json(folder / DESCRIPTION, written)
        return fingerprint


def sourced_properties(description: Description) -> tuple[str, ...]:
    """Return the properties whose rows say which source their value is from."""
    return tuple(n for n, several in description.label_sources.items() if len(several) > 1)


def schema_of(
    units: Mapping[str, str], sourced: Sequence[str], extra: Sequence[str] = ()
) -> Any:  # an arrow schema
    """Return the columns of ``crystals.parquet``.

    Args:
        units: Property to unit.
        sourced: Properties with a column that says where the value is from.
        extra: Further columns of texts.
    """
    import pyarrow as pa

    columns = [
        pa.field("id", pa.string(), nullable=False),
        pa.field("numbers", pa.list_(pa.uint8()), nullable=False),
        pa.field("lattice", pa.list_(pa.float64(), 9), nullable=False),
        pa.field("frac_coords", pa.list_(pa.float64()), nullable=False),
        pa.field("oxidation", pa.list_(pa.int8())),
    ]
    for name, unit in units.items():
        columns.append(pa.field(name, pa.string() if unit in TEXT_UNITS else pa.float64()))
        if name in sourced:
            columns.append(pa.field(name + SOURCE_SUFFIX, pa.string()))
    columns.append(pa.field("split", pa.string(), nullable=False))
    return pa.schema([*columns, *(pa.field(name, pa.string()) for name in extra)])


class Rows:
    """Crystals gathered to become rows of ``crystals.parquet``."""

    def __init__(
        self, units: Mapping[str, str], sourced: Sequence[str], extra: Sequence[str] = ()
    ) -> None:
        self.schema = schema_of(units, sourced, extra)
        self._units = units
        self._sourced = sourced
        self._extra = extra
        self.clear()

    def __len__(self) -> int:
        return len(self._crystals)

    def clear(self) -> None:
        """Begin again."""
        self._ids: list[str] = []
        self._splits: list[str] = []
        self._crystals: list[Crystal] = []
        self._values: dict[str, list[PropertyValue | None]] = {name: [] for name in self._units}
        self._sources: dict[str, list[str | None]] = {name: [] for name in self._sourced}
        self._texts: dict[str, list[str]] = {name: [] for name in self._extra}

    def add(
        self,
        name: str,
        crystal: Crystal,
        split: str,
        properties: Mapping[str, PropertyValue],
        sources: Mapping[str, str],
        extra: Sequence[str] = (),
    ) -> None:
        """Add a crystal; properties without a unit are left out.

        Args:
            name: Its id.
            crystal: As it is to be written.
            split: Where it belongs.
            properties: Values by name.
            sources: Property to the name of the source of its value.
            extra: Values of the further columns.
        """
        self._ids.append(name)
        self._splits.append(split)
        self._crystals.append(crystal)
        for title, column in self._values.items():
            column.append(properties.get(title))
        for title, origins in self._sources.items():
            origins.append(sources.get(title) if title in properties else None)
        for further, text in zip(self._texts.values(), extra, strict=True):
            further.append(text)

    def table(self) -> Any:  # an arrow table
        """Return the rows."""
        import pyarrow as pa

        crystals = self._crystals
        n_sites = np.array([crystal.n_sites for crystal in crystals], dtype=np.int64)
        ends = np.concatenate([[0], np.cumsum(n_sites)])
        numbers = _joined([c.numbers for c in crystals], np.uint8)
        frac = _joined([c.frac.reshape(-1) for c in crystals], np.float64)
        lattices = _joined([c.lattice.reshape(-1) for c in crystals], np.float64)
        columns: dict[str, Any] = {  # arrow arrays
            "id": pa.array(self._ids, pa.string()),
            "numbers": pa.ListArray.from_arrays(pa.array(ends, pa.int32()), pa.array(numbers)),
            "lattice": pa.FixedSizeListArray.from_arrays(pa.array(lattices), 9),
            "frac_coords": pa.ListArray.from_arrays(pa.array(3 * ends, pa.int32()), pa.array(frac)),
            "oxidation": pa.array(
                [None if c.oxidation is None else c.oxidation.tolist() for c in crystals],
                pa.list_(pa.int8()),
            ),
            "split": pa.array(self._splits, pa.string()),
        }
        for title, values in self._values.items():
            columns[title] = pa.array(values, self.schema.field(title).type)
        for title, origins in self._sources.items():
            columns[title + SOURCE_SUFFIX] = pa.array(origins, pa.string())
        for title, further in self._texts.items():
            columns[title] = pa.array(further, pa.string())
        return pa.table([columns[name] for name in self.schema.names], schema=self.schema)


class CrystalsWriter:
    """Writes ``crystals.parquet`` row group by row group, whole groups at a time."""

    def __init__(
        self,
        path: Path,
        units: Mapping[str, str],
        sourced: Sequence[str],
        extra: Sequence[str] = (),
    ) -> None:
        import pyarrow.parquet as pq

        self._rows = Rows(units, sourced, extra)
        self._writer = pq.ParquetWriter(path, self._rows.schema, compression="zstd")
        self._waiting: list[Any] = []  # arrow tables
        self._n_waiting = 0
        self.n_rows = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if kind is None:
                self._take_rows()
                self._flush(1)
        finally:
            self._writer.close()

    def add(
        self,
        name: str,
        crystal: Crystal,
        split: str,
        properties: Mapping[str, PropertyValue],
        sources: Mapping[str, str],
        extra: Sequence[str] = (),
    ) -> None:
        """Write a crystal; see ``Rows.add``."""
        self._rows.add(name, crystal, split, properties, sources, extra)
        if len(self._rows) >= ROWS_PER_GROUP:
            self._take_rows()

    def add_table(self, table: Any) -> None:  # an arrow table
        """Write rows of another file with at least the same columns."""
        self._waiting.append(table.select(self._rows.schema.names).cast(self._rows.schema))
        self._n_waiting += table.num_rows
        self._flush(ROWS_PER_GROUP)

    def tell(self, key: bytes, value: bytes) -> None:
        """Put a text into the metadata of the file."""
        self._writer.add_key_value_metadata({key: value})

    def _take_rows(self) -> None:
        if len(self._rows):
            table = self._rows.table()
            self._rows.clear()
            self.add_table(table)

    def _flush(self, n_rows: int) -> None:
        """Write groups as long as this many rows wait."""
        import pyarrow as pa

        if self._n_waiting < n_rows:
            return
        table = pa.concat_tables(self._waiting)
        while table.num_rows >= n_rows:
            # Groups of one size, so that the bytes do not depend on how the work was cut.
            self._writer.write_table(table.slice(0, ROWS_PER_GROUP), row_group_size=ROWS_PER_GROUP)
            self.n_rows += min(ROWS_PER_GROUP, table.num_rows)
            table = table.slice(ROWS_PER_GROUP)
        self._waiting = [table] if table.num_rows else []
        self._n_waiting = table.num_rows


def _joined(parts: Sequence[Any], kind: Any) -> Any:  # arrays, a dtype, an array
    return np.concatenate(parts).astype(kind) if parts else np.zeros(0, dtype=kind)
