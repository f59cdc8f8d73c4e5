"""Tables of crystals as published with CDVAE and MatterGen: a csv with one CIF text a row."""

from __future__ import annotations

import csv
import io
import math
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from typing import IO

from matgen import Record
from matgen.errors import BadCrystal, BadFile, CrystalError
from matgen.io.cif import crystal_of, site_blocks
from matgen.records import Crystal, PropertyValue, Skipped, SkippedKind

CIF_COLUMN = "cif"
ID_COLUMN = "material_id"
MAX_SITES = 1000
"""Of a row; the published sets have at most 52."""
READING_ERRORS = (
    OSError,
    EOFError,
    UnicodeDecodeError,
    csv.Error,
    zipfile.BadZipFile,
    zlib.error,
)
"""What a damaged csv, plain or in a zip, raises when it is read."""


def csv_rows(file: IO[bytes], *, damaged: Callable[[str], BadFile]) -> Iterator[dict[str, str]]:
    """Yield the rows of a csv as texts by column, a few at a time in memory.

    Args:
        damaged: Makes the error to raise from what is wrong.

    Raises:
        BadFile: no csv with identifiers and CIFs, or cut short.
    """
    last = "\n"

    def lines() -> Iterator[str]:
        nonlocal last
        for line in io.TextIOWrapper(file, encoding="utf-8", newline=""):
            last = line
            yield line

    # Not pyarrow, which takes the end of a truncated file for the closing quote.
    reader = csv.reader(lines(), strict=True)
    try:
        header = next(reader, [])
        missing = [name for name in (ID_COLUMN, CIF_COLUMN) if name not in header]
        if missing:
            raise damaged(f"it has no column {' and no column '.join(missing)}")
        for number, row in enumerate(reader, start=1):
            if len(row) != len(header):
                raise damaged(f"row {number} has {len(row)} values for {len(header)} columns")
            yield dict(zip(header, row, strict=True))
    except READING_ERRORS as error:
        raise damaged(f"it cannot be read to its end ({error})") from None
    if not last.endswith("\n"):
        raise damaged("it ends within a line")


def records_of(
    rows: Iterator[dict[str, str]],
    columns: Mapping[str, str],
    *,
    source: str,
    on_skip: Callable[[Skipped], None] | None,
    read_value: Callable[[str, str], PropertyValue | None] | None = None,
) -> Iterator[Record]:
    """Yield the records of the rows of a csv.

    Args:
        columns: Column of the csv to property; others are left out.
        source: Name of the file, for messages.
        on_skip: Called for a row that is no record; without it such a row raises.
        read_value: Makes a property's value of its column and text; a number where not given.

    Raises:
        BadCrystal: a row is no record, and nobody asked to skip it.
    """
    seen: set[str] = set()
    read = read_value or number_of
    for number, row in enumerate(rows):
        name = row[ID_COLUMN].strip()
        place = f"{source}#{number}"
        kind: SkippedKind = "same id" if name in seen else "unreadable"
        try:
            if not name or name in seen:
                raise BadCrystal(f"the {ID_COLUMN} {name!r} is used twice" if name else "no id")
            crystal = _crystal(row[CIF_COLUMN])
            values = {title: read(column, row.get(column, "")) for column, title in columns.items()}
        except CrystalError as error:
            if on_skip is None:
                raise BadCrystal(f"{place} ({name}): {error}") from None
            on_skip(Skipped(place, f"{name}: {error}", kind, name))
            continue
        seen.add(name)
        yield Record(name, crystal, {k: v for k, v in values.items() if v is not None})


def number_of(column: str, text: str) -> float | None:
    """Return a number, None for an empty or missing value.

    Raises:
        BadCrystal: text that is no number.
    """
    if not text.strip():
        return None
    try:
        value = float(text)
    except ValueError:
        raise BadCrystal(f"{column} is {text[:40]!r}; expected a number") from None
    return value if math.isfinite(value) else None


def _crystal(text: str) -> Crystal:
    try:
        blocks = site_blocks(text)
    except BadFile as error:
        raise BadCrystal(str(error)) from None
    if len(blocks) > 1:
        raise BadCrystal(f"its CIF has {len(blocks)} crystals; expected one")
    return crystal_of(blocks[0], max_sites=MAX_SITES)
