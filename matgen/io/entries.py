"""Every supported file as a run of entries, in natural order; a bad entry is one that says why.

Nothing is extracted to disk and nothing is unpickled.
"""

from __future__ import annotations

import gzip
import io
import json
import re
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from matgen.crystal.checks import check_crystal
from matgen.elements import atomic_number
from matgen.errors import BadCrystal, BadFile, CrystalError
from matgen.records import Crystal

if TYPE_CHECKING:
    from matgen.io.cif_syntax import Block

MANIFEST: Final = "manifest.jsonl"
"""In a folder or zip of CIFs: one line per sample asked for."""
LARGEST_ARCHIVE_BYTES: Final = 8 * 2**30
LARGEST_EXPANSION: Final = 300
"""A zip that unpacks to more than this many times its size is refused."""

_POSCAR = re.compile(r"(^|[._-])(POSCAR|CONTCAR)($|[._-])|\.(vasp|poscar)$", re.IGNORECASE)
_XYZ = {".xyz", ".extxyz"}
_SINGLE = {".cif"}
_TABLES = {".jsonl", ".ndjson", ".parquet", ".csv"}


@dataclass(frozen=True, eq=False)
class Entry:
    """One crystal of a file, or what is wrong with it.

    Attributes:
        source: File and place in it, for messages.
        name: Its id where the file gives one, else the source.
        crystal: None where ``error`` says why.
        info: What else the file tells: numbers and texts by name.
        overlapping: The crystal, where nothing but sites too near each other is wrong with it. No
            data to learn from, but among generated crystals a result to be counted as invalid.
    """

    source: str
    name: str
    crystal: Crystal | None
    info: Mapping[str, Any] = field(default_factory=dict)  # JSON-like values
    error: str = ""
    overlapping: Crystal | None = None


def entries(path: Path) -> Iterator[Entry]:
    """Yield the entries of a file, a folder or a zip.

    Raises:
        BadFile: missing, empty of supported files, or unreadable as a whole.
    """
    if not path.exists():
        raise BadFile(f"{path} does not exist")
    if path.is_dir():
        files = [p for p in path.rglob("*") if p.is_file() and _is_supported(p.name)]
        if not files:
            raise BadFile(f"{path} holds no file of a supported format ({supported()})")
        for file in sorted(files, key=lambda p: natural(str(p.relative_to(path)))):
            yield from _kept_going(_file_entries(file), str(file))
        return
    if path.suffix.lower() == ".zip":
        yield from _zip_entries(path)
        return
    if not _is_supported(path.name):
        raise BadFile(f"{path} is of no supported format ({supported()})")
    yield from _file_entries(path)


def supported() -> str:
    """Return the supported formats, for messages."""
    return "CIF, extended XYZ, POSCAR, JSON lines, Parquet, csv with a cif column, zip, folder"


def natural(text: str) -> tuple[tuple[int, int | str], ...]:
    """Return a key that sorts gen_2 before gen_10."""
    parts = re.split(r"(\d+)", text)
    return tuple((0, int(part)) if part.isdecimal() else (1, part) for part in parts if part)


def manifest_of(path: Path) -> list[dict[str, Any]] | None:
    """Return the manifest of a folder or zip that we wrote, None where there is none."""
    text = None
    if path.is_dir() and (path / MANIFEST).exists():
        text = (path / MANIFEST).read_text(encoding="utf-8")
    elif path.suffix.lower() == ".zip" and path.exists():
        with _opened_zip(path) as archive:
            if MANIFEST in archive.namelist():
                text = archive.read(MANIFEST).decode()
    return None if text is None else [json.loads(line) for line in text.splitlines() if line]


def _is_supported(name: str) -> bool:
    if Path(name).name.startswith(".") or Path(name).name == MANIFEST:
        return False
    suffix = Path(name.removesuffix(".gz")).suffix.lower()
    return suffix in _XYZ | _SINGLE | _TABLES or bool(_POSCAR.search(Path(name).name))


def _file_entries(path: Path) -> Iterator[Entry]:
    suffix = Path(path.name.removesuffix(".gz")).suffix.lower()
    source = str(path)
    if suffix == ".parquet":
        yield from _parquet(path)
    elif suffix == ".csv":
        yield from _csv(path)
    else:
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise BadFile(f"cannot read {path}: {error}") from None
        yield from _text_entries(text, source, path.name)


def _kept_going(entries_of_file: Iterator[Entry], source: str) -> Iterator[Entry]:
    """Yield the entries of one file among others; broken as a whole, it is a bad entry."""
    try:
        yield from entries_of_file
    except BadFile as error:
        yield Entry(source, source, None, error=str(error))


def _text_entries(text: str, source: str, name: str) -> Iterator[Entry]:
    suffix = Path(name).suffix.lower()
    if suffix == ".cif":
        yield from _cif(text, source, Path(name).stem)
    elif suffix in _XYZ:
        yield from _xyz(text, source)
    elif suffix in {".jsonl", ".ndjson"}:
        yield from _json_lines(text, source)
    else:
        yield _guarded(source, Path(name).name, lambda: _poscar(text, source))


def _zip_entries(path: Path) -> Iterator[Entry]:
    with _opened_zip(path) as archive:
        members = [info for info in archive.infolist() if not info.is_dir()]
        members = [info for info in members if _is_supported(info.filename)]
        if not members:
            raise BadFile(f"{path} holds no file of a supported format ({supported()})")
        for info in sorted(members, key=lambda member: natural(member.filename)):
            source = f"{path}:{info.filename}"
            if info.filename.startswith("/") or ".." in Path(info.filename).parts:
                yield Entry(source, info.filename, None, error="its name leads out of the archive")
                continue
            try:
                text = archive.read(info).decode("utf-8")
            except (zipfile.BadZipFile, OSError, UnicodeDecodeError, RuntimeError) as error:
                yield Entry(source, info.filename, None, error=f"unreadable: {error}")
                continue
            yield from _kept_going(_text_entries(text, source, info.filename), source)


def _opened_zip(path: Path) -> zipfile.ZipFile:
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError) as error:
        raise BadFile(f"{path} is no readable zip: {error}") from None
    unpacked = sum(info.file_size for info in archive.infolist())
    packed = max(path.stat().st_size, 1)
    if unpacked > LARGEST_ARCHIVE_BYTES or unpacked / packed > LARGEST_EXPANSION:
        archive.close()
        raise BadFile(
            f"{path} would unpack from {packed} to {unpacked} bytes, which no archive of crystals "
            "does; unpack it yourself if you trust it"
        )
    return archive


def _guarded(
    source: str,
    name: str,
    make: Callable[[], Crystal],
    info: Mapping[str, Any] | None = None,  # JSON-like values
) -> Entry:
    """Return the entry of a crystal, or of what the library or our checks say against it."""
    crystal = None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            crystal = make()
        check_crystal(crystal)
    except CrystalError as error:
        overlapping = _if_only_overlapping(crystal)
        return Entry(source, name, None, info or {}, str(error), overlapping)
    except BadFile:
        raise
    except Exception as error:  # noqa: BLE001 - fence: libraries raise anything on a bad file
        told = " ".join(str(error).split())[:300] or type(error).__name__
        return Entry(source, name, None, info or {}, error=f"cannot be read: {told}")
    return Entry(source, name, crystal, info or {})


def _if_only_overlapping(crystal: Crystal | None) -> Crystal | None:
    """Return a crystal that was refused if the distances of its sites are all that is wrong."""
    if crystal is None:
        return None
    try:
        check_crystal(crystal, min_distance=0.0)
    except CrystalError:
        return None
    return crystal


def _cif(text: str, source: str, name: str) -> Iterator[Entry]:
    from matgen.io.cif import crystal_of, site_blocks

    with _naming(source):
        blocks = site_blocks(text)
    for number, block in enumerate(blocks):
        mark = "" if len(blocks) == 1 else f"#{number}"

        def make(block: Block = block) -> Crystal:
            return crystal_of(block)

        yield _guarded(source + mark, name + mark, make)


def _poscar(text: str, source: str) -> Crystal:
    from matgen.io.poscar import read_poscar

    with _naming(source):
        return read_poscar(text)


@contextmanager
def _naming(source: str) -> Iterator[None]:
    """Put the name of the file before what a parser of its text says against it."""
    try:
        yield
    except BadFile as error:
        raise BadFile(f"{source}: {error}") from None


def _xyz(text: str, source: str) -> Iterator[Entry]:
    """Cut the text into frames first, so that one bad frame does not hide the others."""
    from matgen.io.extxyz import frame_crystal, frame_info, split_frames

    with _naming(source):
        frames = split_frames(text)
    for number, frame in enumerate(frames):
        place = f"{source}#{number}"
        info, raw = frame_info(frame[1])
        if len(frame) == 2 and "asked" in info:
            # What write_samples leaves when every sample failed: a count and nothing to count.
            yield Entry(place, place, None, {"asked": info["asked"]})
            continue
        name = str(raw.get("id", raw.get("material_id", place)))

        def make(frame: list[str] = frame, raw: Mapping[str, str] = raw) -> Crystal:
            return frame_crystal(frame, raw)

        yield _guarded(place, name, make, info)


def _json_lines(text: str, source: str) -> Iterator[Entry]:
    # Not splitlines, which also cuts at characters that a JSON text may hold as they are.
    lines = text.split("\n")
    for number, line in enumerate(lines):
        if not line.strip():
            continue
        place = f"{source}#{number}"
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            if number == len(lines) - 1:
                raise BadFile(f"{source} ends within line {number + 1}; it is truncated") from None
            yield Entry(place, place, None, error=f"no JSON: {error}")
            continue
        if not isinstance(row, dict):
            yield Entry(place, place, None, error="no JSON object")
            continue
        yield _json_entry(row, place)


def _json_entry(row: dict[str, Any], place: str) -> Entry:  # JSON values
    name = str(row.get("id", row.get("material_id", place)))
    structure = row if "sites" in row else row.get("structure")
    if structure is not None:
        beside = {k: v for k, v in row.items() if structure is not row and k != "structure"}
        return _guarded(place, name, lambda: _of_structure(structure), beside)
    info = {k: v for k, v in row.items() if k != "crystal"}
    held = row.get("crystal", row)
    if held is None:
        return Entry(place, name, None, info, error=str(row.get("error") or "no crystal"))

    def plain() -> Crystal:
        missing = [key for key in ("lattice", "frac", "numbers") if key not in held]
        if missing:
            raise BadCrystal(f"lacks {', '.join(missing)}")
        oxidation = held.get("oxidation")
        return Crystal(
            np.array(held["lattice"], dtype=np.float64),
            np.array(held["frac"], dtype=np.float64).reshape(-1, 3),
            np.array(held["numbers"], dtype=np.int64),
            None if oxidation is None else np.array(oxidation, dtype=np.int64),
        )

    return _guarded(place, name, plain, info)


def _of_structure(structure: dict[str, Any]) -> Crystal:  # JSON values
    """Return the crystal of a pymatgen structure as a dict."""
    from pymatgen.core.structure import Structure

    for site in structure["sites"]:
        for species in site["species"]:
            # Looked up before pymatgen sees it, which takes D and T for H.
            atomic_number(species["element"])
    return Crystal.from_structure(Structure.from_dict(structure))


def _parquet(path: Path) -> Iterator[Entry]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    needed = ("lattice", "frac_coords", "numbers")
    try:
        file = pq.ParquetFile(path)
        lacking = [column for column in needed if column not in file.schema_arrow.names]
        if lacking:
            raise BadFile(f"{path} lacks the columns {', '.join(lacking)}")
        row_number = 0
        for batch in file.iter_batches(4096):
            for row in batch.to_pylist():
                yield _parquet_entry(row, f"{path}#{row_number}")
                row_number += 1
    except (OSError, pa.ArrowException) as error:
        raise BadFile(f"{path} is no readable Parquet file: {error}") from None


def _parquet_entry(row: dict[str, Any], place: str) -> Entry:  # a column may hold anything
    def make() -> Crystal:
        return Crystal(
            np.array(row["lattice"], dtype=np.float64).reshape(3, 3),
            np.array(row["frac_coords"], dtype=np.float64).reshape(-1, 3),
            np.array(row["numbers"], dtype=np.int64),
        )

    info = {k: v for k, v in row.items() if isinstance(v, int | float | str)}
    return _guarded(place, str(row.get("material_id", place)), make, info)


def _csv(path: Path) -> Iterator[Entry]:
    import pyarrow as pa
    from pyarrow import csv

    try:
        content = path.read_bytes()
        if path.name.endswith(".gz"):
            content = gzip.decompress(content)
        if content.count(b'"') % 2:
            # Arrow takes the end of the file for the closing quote.
            raise BadFile(f"{path} ends within a quoted value; it is truncated")
        table = csv.read_csv(
            io.BytesIO(content), parse_options=csv.ParseOptions(newlines_in_values=True)
        )
    except (OSError, EOFError, zlib.error, pa.ArrowException) as error:
        raise BadFile(f"{path} is no readable csv: {error}") from None
    if "cif" not in table.column_names:
        raise BadFile(f"{path} has no column 'cif' (it has {', '.join(table.column_names)})")
    for number, row in enumerate(table.to_pylist()):
        place = f"{path}#{number}"
        name = str(row.get("material_id") or place)
        info = {k: v for k, v in row.items() if k and isinstance(v, int | float)}
        for entry in _kept_going(_cif(str(row["cif"]), place, name), place):
            yield Entry(entry.source, name, entry.crystal, info, entry.error, entry.overlapping)
