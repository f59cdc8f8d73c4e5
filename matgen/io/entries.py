"""Every supported file as a run of entries, in natural order; a bad entry is one that says why.

Nothing is extracted to disk and nothing is unpickled.
"""

from __future__ import annotations

import io
import json
import re
import warnings
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np

from matgen.crystal.checks import check_crystal
from matgen.errors import BadCrystal, BadFile, CrystalError
from matgen.records import Crystal

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
    """

    source: str
    name: str
    crystal: Crystal | None
    info: Mapping[str, Any] = field(default_factory=dict)  # JSON-like values
    error: str = ""


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
            yield from _file_entries(file)
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
            yield Entry(source, path.stem, None, error=f"unreadable: {error}")
            return
        yield from _text_entries(text, source, path.name)


def _text_entries(text: str, source: str, name: str) -> Iterator[Entry]:
    suffix = Path(name).suffix.lower()
    if suffix == ".cif":
        yield from _cif(text, source, Path(name).stem)
    elif suffix in _XYZ:
        yield from _xyz(text, source)
    elif suffix in {".jsonl", ".ndjson"}:
        yield from _json_lines(text, source)
    else:
        yield _guarded(source, Path(name).name, lambda: _poscar(text))


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
            yield from _text_entries(text, source, info.filename)


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
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            crystal = make()
        check_crystal(crystal)
    except CrystalError as error:
        return Entry(source, name, None, info or {}, error=str(error))
    except Exception as error:  # noqa: BLE001 - fence: libraries raise anything on a bad file
        told = " ".join(str(error).split())[:300] or type(error).__name__
        return Entry(source, name, None, info or {}, error=f"cannot be read: {told}")
    return Entry(source, name, crystal, info or {})


def _cif(text: str, source: str, name: str) -> Iterator[Entry]:
    from pymatgen.io.cif import CifParser

    blocks = max(1, len(re.findall(r"(?m)^data_", text)))
    pieces = [text] if blocks == 1 else _cif_blocks(text)
    for number, piece in enumerate(pieces):

        def make(piece: str = piece) -> Crystal:
            unlabelled = re.search(r"(?im)^_atom_site_(type_symbol|label)", piece)
            if unlabelled is None:
                raise BadCrystal("the CIF lists no atom sites")
            # Merging sites closer than 1e-3 mends coordinates written with few digits.
            parser = CifParser.from_str(piece, site_tolerance=1e-3, occupancy_tolerance=1.0)
            [structure] = parser.parse_structures(primitive=False, on_error="raise")
            return Crystal.from_structure(structure)

        place = source if blocks == 1 else f"{source}#{number}"
        yield _guarded(place, name if blocks == 1 else f"{name}#{number}", make)


def _cif_blocks(text: str) -> list[str]:
    starts = [match.start() for match in re.finditer(r"(?m)^data_", text)]
    return [text[a:b] for a, b in zip(starts, [*starts[1:], len(text)], strict=True)]


def _poscar(text: str) -> Crystal:
    from pymatgen.io.vasp.inputs import Poscar

    return Crystal.from_structure(Poscar.from_str(text).structure)


def _xyz(text: str, source: str) -> Iterator[Entry]:
    """Cut the text into frames first, so that one bad frame does not hide the others."""
    lines = text.splitlines()
    start = number = 0
    while start < len(lines):
        if not lines[start].strip():
            start += 1
            continue
        place = f"{source}#{number}"
        try:
            n_sites = int(lines[start])
        except ValueError:
            yield Entry(place, place, None, error=f"expected a site count, found {lines[start]!r}")
            return
        frame = lines[start : start + n_sites + 2]
        if len(frame) < n_sites + 2:
            yield Entry(place, place, None, error="the file ends within this frame")
            return
        yield _frame("\n".join(frame) + "\n", place)
        start += n_sites + 2
        number += 1


def _frame(text: str, place: str) -> Entry:
    from ase import Atoms
    from ase.io import read

    info: dict[str, Any] = {}  # JSON-like values

    def make() -> Crystal:
        atoms = read(io.StringIO(text), format="extxyz")
        assert isinstance(atoms, Atoms)
        info.update({key: _plain(value) for key, value in atoms.info.items()})
        crystal = Crystal.from_atoms(atoms)
        if "oxidation" in atoms.arrays:
            return crystal.with_oxidation(atoms.arrays["oxidation"].astype(np.int64))
        return crystal

    made = _guarded(place, place, make, info)
    name = str(info.get("id", info.get("material_id", place)))
    return Entry(made.source, name, made.crystal, info, made.error)


def _json_lines(text: str, source: str) -> Iterator[Entry]:
    for number, line in enumerate(text.splitlines()):
        if not line.strip():
            continue
        place = f"{source}#{number}"
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            yield Entry(place, place, None, error=f"no JSON: {error}")
            continue
        if not isinstance(row, dict):
            yield Entry(place, place, None, error="no JSON object")
            continue
        yield _json_entry(row, place)


def _json_entry(row: dict[str, Any], place: str) -> Entry:  # JSON values
    name = str(row.get("id", row.get("material_id", place)))
    if "sites" in row:

        def make() -> Crystal:
            from pymatgen.core.structure import Structure

            return Crystal.from_structure(Structure.from_dict(row))

        return _guarded(place, name, make)
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
        table = csv.read_csv(path, parse_options=csv.ParseOptions(newlines_in_values=True))
    except (OSError, pa.ArrowException) as error:
        raise BadFile(f"{path} is no readable csv: {error}") from None
    if "cif" not in table.column_names:
        raise BadFile(f"{path} has no column 'cif' (it has {', '.join(table.column_names)})")
    for number, row in enumerate(table.to_pylist()):
        place = f"{path}#{number}"
        name = str(row.get("material_id") or place)
        info = {k: v for k, v in row.items() if k and isinstance(v, int | float)}
        for entry in _cif(str(row["cif"]), place, name):
            yield Entry(entry.source, name, entry.crystal, info, entry.error)


def _plain(value: object) -> object:
    """Return numpy scalars and arrays as plain numbers and lists."""
    return value.tolist() if isinstance(value, np.generic | np.ndarray) else value
