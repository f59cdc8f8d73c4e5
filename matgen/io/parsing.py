"""The texts of files as entries, format by format; a bad entry is one that says why."""

from __future__ import annotations

import csv as python_csv
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from matgen.elements import atomic_number
from matgen.errors import BadCrystal, BadFile
from matgen.io.crystal_table import ID_COLUMNS
from matgen.io.entries import Entry, Place, bad, check_size, guarded
from matgen.io.formats import Format
from matgen.records import Crystal

if TYPE_CHECKING:
    from matgen.io.cif_syntax import Block

_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")
_MISSING = frozenset({"", "nan", "NaN", "NA", "N/A", "#N/A", "null", "NULL", "None", "none"})
"""Values of a csv that say that there is none."""


CUT: Final = "the file ends without a line end; it may be truncated (add one if it is whole)"


def parse(kind: Format, data: bytes, place: Place, max_sites: int) -> Iterator[Entry]:
    """Yield the entries of the bytes of a file, or of a part of it that ends where an entry does.

    Raises:
        BadFile: no file of this format, or cut short; entries before the damage are yielded.
    """
    if not data.strip():
        raise BadFile(f"{place.source} is empty")
    yield from _PARSERS[kind](data, place, max_sites)


def _text(data: bytes, source: str) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadFile(
            f"{source} is no UTF-8 text: byte {data[error.start]:#04x} at {error.start}; convert it"
        ) from None


def _cif(data: bytes, place: Place, max_sites: int) -> Iterator[Entry]:
    from matgen.io.cif import crystal_of, site_blocks

    # Whatever is no UTF-8 in a CIF is an author's name: symbols and numbers are ASCII.
    text = data.decode("utf-8-sig", errors="replace")
    try:
        blocks = site_blocks(text)
    except BadFile as error:
        raise BadFile(f"{place.source}: {error}") from None
    for number, block in enumerate(blocks):
        at = place if len(blocks) == 1 else place.at(number)

        def make(block: Block = block) -> Crystal:
            return crystal_of(block, max_sites=max_sites)

        yield guarded(at, make, max_sites=max_sites)


def _poscar(data: bytes, place: Place, max_sites: int) -> Iterator[Entry]:
    from matgen.io.poscar import read_poscar

    text = _text(data, place.source)
    if _is_cut(data, place):
        raise BadFile(f"{place.source}: {CUT}")

    def make() -> Crystal:
        return read_poscar(text, max_sites=max_sites)

    try:
        yield guarded(place, make, max_sites=max_sites)
    except BadFile as error:
        raise BadFile(f"{place.source}: {error}") from None


def _xyz(data: bytes, place: Place, max_sites: int) -> Iterator[Entry]:
    """Cut the text into frames first, so that one bad frame does not hide the others."""
    from matgen.io.extxyz import frame_crystal, frame_info, split_frames

    try:
        # Bytes that are no UTF-8 are found frame by frame, or one of them would hide all frames.
        frames = split_frames(data.decode("utf-8-sig", errors="surrogateescape"), first=place.first)
    except BadFile as error:
        raise BadFile(f"{place.source}: {error}") from None
    for number, frame in enumerate(frames):
        at = place.at(number)
        try:
            _text("\n".join(frame).encode(errors="surrogateescape"), at.source)
        except BadFile as error:
            yield bad(at, str(error))
            continue
        info, raw = frame_info(frame[1])
        if len(frame) == 2 and "asked" in info:
            # What write_samples leaves when every sample failed: a count and nothing to count.
            yield Entry(at.source, at.name, None, {"asked": info["asked"]})
            continue

        def make(frame: list[str] = frame, raw: Mapping[str, str] = raw) -> Crystal:
            return frame_crystal(frame, raw)

        at = place.at(number, _id_in(raw))
        if number == len(frames) - 1 and _is_cut(data, place):
            yield bad(at, CUT, info=info)
            continue
        yield guarded(at, make, info, n_sites=len(frame) - 2, max_sites=max_sites)


def _json_lines(data: bytes, place: Place, max_sites: int) -> Iterator[Entry]:
    # Not splitlines, which also cuts at characters that a JSON text may hold as they are.
    lines = data.split(b"\n")
    for number, line in enumerate(lines):
        if not line.strip():
            continue
        at = place.at(number)
        try:
            row = json.loads(line)
        except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
            if place.is_last and number == len(lines) - 1:
                raise BadFile(f"{at.source} is no whole line; the file is truncated") from None
            yield bad(at, f"no JSON: {error}")
            continue
        if not isinstance(row, dict):
            yield bad(at, "no JSON object")
            continue
        yield _json_entry(row, place.at(number, _id_in(row)), max_sites)


def _json_entry(row: dict[str, Any], place: Place, max_sites: int) -> Entry:  # JSON values
    structure = row if "sites" in row else row.get("structure")
    if isinstance(structure, dict):
        beside = {k: v for k, v in row.items() if structure is not row and k != "structure"}
        n_sites = len(structure.get("sites", ()))
        return guarded(
            place, lambda: _of_structure(structure), beside, n_sites=n_sites, max_sites=max_sites
        )
    info = {k: v for k, v in row.items() if k != "crystal"}
    held = row.get("crystal", row)
    if held is None:
        return bad(place, str(row.get("error") or "no crystal"), info=info)

    def plain() -> Crystal:
        missing = [key for key in ("lattice", "frac", "numbers") if key not in held]
        if missing:
            raise BadCrystal(f"lacks {', '.join(missing)}")
        check_size(len(held["numbers"]), max_sites)
        oxidation = held.get("oxidation")
        return Crystal(
            np.array(held["lattice"], dtype=np.float64),
            np.array(held["frac"], dtype=np.float64).reshape(-1, 3),
            np.array(held["numbers"], dtype=np.int64),
            None if oxidation is None else np.array(oxidation, dtype=np.int64),
        )

    return guarded(place, plain, info, max_sites=max_sites)


def _of_structure(structure: dict[str, Any]) -> Crystal:  # JSON values
    """Return the crystal of a pymatgen structure as a dict."""
    from pymatgen.core.structure import Structure

    for site in structure["sites"]:
        for species in site["species"]:
            # Looked up before pymatgen sees it, which takes D and T for H.
            atomic_number(species["element"])
    return Crystal.from_structure(Structure.from_dict(structure))


def _csv(data: bytes, place: Place, max_sites: int) -> Iterator[Entry]:
    import pyarrow as pa
    from pyarrow import csv

    header = _text(data.partition(b"\n")[0], place.source)
    columns = next(python_csv.reader([header]))
    if "cif" not in columns:
        told = f"{place.source} has no column 'cif' (it has {', '.join(columns)})"
        raise BadFile(told + _hint(columns))
    if data.count(b'"') % 2:
        # Arrow takes the end of the file for the closing quote.
        raise BadFile(f"{place.source} ends within a quoted value; it is truncated")
    try:
        # Bytes of any encoding: an id of digits stays as it is, and so does every value.
        table = csv.read_csv(
            pa.BufferReader(data),
            read_options=csv.ReadOptions(use_threads=False, block_size=len(data) + 1),
            parse_options=csv.ParseOptions(newlines_in_values=True),
            convert_options=csv.ConvertOptions(column_types=dict.fromkeys(columns, pa.binary())),
        )
    except pa.ArrowException as error:
        raise BadFile(f"{place.source} is no readable csv: {error}") from None
    others = [name for name in columns if name not in ("cif", "")]
    for number, row in enumerate(table.to_pylist()):
        at = place.at(number)
        try:
            texts = {name: _text(row[name] or b"", at.source) for name in others}
        except BadFile as error:
            yield bad(at, str(error))
            continue
        if number == table.num_rows - 1 and _is_cut(data, place):
            yield bad(at, CUT)
            continue
        info = {n: _number_or_text(text) for n, text in texts.items() if text not in _MISSING}
        yield _csv_entry(row["cif"] or b"", place.at(number, _id_in(texts)), info, max_sites)


def _hint(columns: Sequence[str]) -> str:
    """Return what may be meant by a header without the column, for messages."""
    for mark, name in ((";", "semicolons"), ("\t", "tabs"), ("|", "bars")):
        if any(mark in column for column in columns):
            return f"; its values seem to be separated by {name}: write commas"
    near = next((column for column in columns if column.strip().lower() == "cif"), None)
    return "" if near is None else f"; call the column 'cif' instead of {near!r}"


def _csv_entry(cif: bytes, place: Place, info: Mapping[str, Any], max_sites: int) -> Entry:
    """Return the entry of a row; of several blocks in its CIF, none says which one is meant."""
    try:
        found = list(_cif(cif, place, max_sites))
    except BadFile as error:
        return bad(place, str(error), info=info)
    if len(found) > 1:
        return bad(place, f"its CIF has {len(found)} blocks with sites; expected one", info=info)
    return replace(found[0], source=place.source, info=info)


def _is_cut(data: bytes, place: Place) -> bool:
    """Whether a file may end within its last number: a shorter number is a number, too."""
    return place.is_last and not data.endswith(b"\n")


def _number_or_text(text: str) -> float | str:
    return float(text) if _NUMBER.fullmatch(text) else text


def _id_in(row: Mapping[str, Any]) -> str:  # JSON-like values
    """Return the id that a row gives itself; empty if it gives none."""
    found = next((row[name] for name in ID_COLUMNS if row.get(name) not in (None, "")), "")
    return str(found)


_PARSERS: Final[dict[Format, Callable[[bytes, Place, int], Iterator[Entry]]]] = {
    "cif": _cif,
    "poscar": _poscar,
    "xyz": _xyz,
    "jsonl": _json_lines,
    "csv": _csv,
}
