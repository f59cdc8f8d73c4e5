"""A file, folder or archive cut into pieces that can be read at the same time.

The entries of the pieces, one piece after the other, are the entries of the whole. Cutting looks at
as little as it can.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from matgen.errors import BadFile
from matgen.io.cutting import runs
from matgen.io.entries import MAX_SITES, Entry, Kind, Place
from matgen.io.formats import (
    DATASET_FILES,
    TABLES,
    Format,
    format_of,
    is_archive,
    is_tar,
    is_zip,
    natural,
    relative_name,
    supported,
)
from matgen.io.pieces import (
    FilesPiece,
    HeldPiece,
    MembersPiece,
    Piece,
    RowsPiece,
    RunPiece,
    UnreadablePiece,
)
from matgen.io.unpacking import open_zip, opened, tar_members

FILES_AT_ONCE: Final = 256
"""Files of a piece: a fraction of a second of work for one process."""
BYTES_AT_ONCE: Final = 2**22
"""A piece is closed when its files reach this size."""
_SLICES: Final = 16
"""Pieces of one row group of a Parquet file at most: each has to skip those before it."""
_ROWS_AT_ONCE: Final = 4096


def pieces(path: Path, *, slices: int = _SLICES) -> Iterator[Piece]:
    """Yield the pieces of a file, folder or archive, always the same for the same files.

    Args:
        path: What to read.
        slices: Into how many pieces to cut a row group of a Parquet file at most.

    Raises:
        BadFile: missing, or nothing in it is of a supported format.
    """
    if not path.exists():
        raise BadFile(f"{path} does not exist")
    if path.is_dir():
        yield from _folder(path, slices)
    elif is_zip(path.name):
        yield from _zip(path)
    elif is_tar(path.name):
        yield from _tar(path)
    elif format_of(path.name) is None:
        raise BadFile(f"{path} is of no supported format ({supported()})")
    else:
        yield from _file(path, path.name, slices)


def entries(path: Path, *, max_sites: int = MAX_SITES) -> Iterator[Entry]:
    """Yield the entries of a file, a folder or an archive.

    Args:
        path: A file that is broken as a whole raises; among others it is a bad entry.
        max_sites: Cells with more sites are bad entries, before any work on them.

    Raises:
        BadFile: missing, empty of supported files, or unreadable as a whole.
    """
    alone = path.is_file() and not is_archive(path.name)
    # One reader needs no slices, and would skip the rows before each again and again.
    for piece in pieces(path, slices=1):
        for entry in piece.entries(max_sites=max_sites):
            if alone and entry.kind in ("unreadable", "rest_lost"):
                raise BadFile(f"{path}: {entry.error}")
            yield entry


def listing(path: Path) -> list[tuple[str, int, int]]:
    """Return name, size in bytes and time of change in ns of the files that ``pieces`` would read.

    Files of an imported dataset below a folder are not among them: they are no crystals of their
    own, but copies of others and a list of problems.

    Raises:
        BadFile: there is no such file, or a folder that may not be looked into.
    """
    if not path.is_dir():
        return [(path.name, *_size_and_time(path))]
    found = []
    for folder, names in _folders(path):
        if folder != path and _is_dataset(names):
            continue
        for name in names:
            file = folder / name
            if format_of(name) is not None and _may_be_read(file):
                found.append((relative_name(file, path), *_size_and_time(file)))
    return sorted(found, key=lambda row: natural(row[0]))


def datasets_within(path: Path) -> list[str]:
    """Return the imported datasets below a folder, which ``listing`` leaves out, in natural order.

    Raises:
        BadFile: a folder that may not be looked into.
    """
    if not path.is_dir():
        return []
    found = [
        relative_name(folder, path)
        for folder, names in _folders(path)
        if folder != path and _is_dataset(names)
    ]
    return sorted(found, key=natural)


def _folders(path: Path) -> Iterator[tuple[Path, list[str]]]:
    """Yield a folder and those below it that are not hidden, with the names of their files."""
    for folder, subfolders, names in os.walk(path, onerror=_raise):
        subfolders[:] = [name for name in subfolders if not name.startswith(".")]
        yield Path(folder), names


def _is_dataset(names: Iterable[str]) -> bool:
    return set(DATASET_FILES) <= set(names)


def _raise(error: OSError) -> None:
    raise BadFile(f"cannot read the folder {error.filename}: {error.strerror}") from None


def _may_be_read(file: Path) -> bool:
    """Whether it is a file, or a link that leads nowhere: that one is to be reported."""
    try:
        return stat.S_ISREG(file.stat().st_mode)
    except OSError:
        return True


def _size_and_time(file: Path) -> tuple[int, int]:
    try:
        told = file.stat()
    except OSError:
        return 0, 0
    return told.st_size, told.st_mtime_ns


def _folder(root: Path, slices: int) -> Iterator[Piece]:
    files = listing(root)
    if not files:
        raise BadFile(f"{root} holds no file of a supported format ({supported()})")
    small: list[tuple[str, int]] = []
    for name, n_bytes, _ in files:
        if format_of(name) in TABLES:
            yield from _files(root, small)
            small = []
            yield from _file(root / name, name, slices)
            continue
        small.append((name, n_bytes))
        if _is_full(small):
            yield from _files(root, small)
            small = []
    yield from _files(root, small)


def _files(root: Path, named: Iterable[tuple[str, int]]) -> Iterator[Piece]:
    """Yield the piece of some files, unless there are none."""
    listed = list(named)
    if listed:
        n_bytes = sum(size for _, size in listed)
        yield FilesPiece(str(root), n_bytes, root, tuple(name for name, _ in listed))


def _is_full(named: list[tuple[str, int]]) -> bool:
    return len(named) >= FILES_AT_ONCE or sum(size for _, size in named) >= BYTES_AT_ONCE


def _file(path: Path, name: str, slices: int) -> Iterator[Piece]:
    """Yield the pieces of one file, called ``name`` below what is read."""
    kind = format_of(name)
    n_pieces = 0
    try:
        n_bytes = path.stat().st_size
        if kind == "parquet":
            yield from _parquet(path, name, slices)
        elif kind in TABLES:
            assert kind is not None
            for piece in _runs(path, name, kind):
                n_pieces += 1
                yield piece
        else:
            yield FilesPiece(str(path), n_bytes, *_split(path, name))
    except OSError as error:
        yield UnreadablePiece(str(path), 0, name, f"cannot read {path}: {error.strerror or error}")
    except BadFile as error:
        what: Kind = "rest_lost" if n_pieces else "unreadable"
        yield UnreadablePiece(str(path), 0, name, str(error), what)


def _runs(path: Path, name: str, kind: Format) -> Iterator[Piece]:
    with opened(path) as (stream, packed):
        before = 0
        for run in runs(stream, kind):
            place = Place(str(path), name, run.first, run.is_last)
            position = packed.tell()
            yield RunPiece(str(path), position - before, kind, run.data, place)
            before = position


def _parquet(path: Path, name: str, slices: int) -> Iterator[Piece]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            groups = [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)]
    except (OSError, pa.ArrowException) as error:
        raise BadFile(f"cannot read {path} as Parquet: {error}") from None
    n_bytes, n_rows = path.stat().st_size, max(sum(groups), 1)
    first = 0
    for group, size in enumerate(groups):
        step = max(_ROWS_AT_ONCE, -(-size // slices))
        for start in range(0, size, step):
            stop = min(start + step, size)
            share = n_bytes * (stop - start) // n_rows
            yield RowsPiece(str(path), share, path, name, group, start, stop, first + start)
        first += size
    if not first:
        raise BadFile(f"{path} has no rows")


def _zip(path: Path) -> Iterator[Piece]:
    with open_zip(path) as archive:
        members = [
            (info.filename, info.compress_size)
            for info in archive.infolist()
            if not info.is_dir() and format_of(info.filename) is not None
        ]
    if not members:
        raise BadFile(f"{path} holds no file of a supported format ({supported()})")
    members.sort(key=lambda member: natural(member[0]))
    some: list[tuple[str, int]] = []
    for place, member in enumerate(members):
        some.append(member)
        if _is_full(some) or place == len(members) - 1:
            n_bytes = sum(size for _, size in some)
            yield MembersPiece(str(path), n_bytes, path, tuple(name for name, _ in some))
            some = []


def _tar(path: Path) -> Iterator[Piece]:
    """Yield members in the order of the archive: a stream cannot be read in another one."""
    held: list[tuple[str, bytes, str]] = []
    before, is_empty, failed = 0, True, ""
    members = tar_members(path)
    while True:
        try:
            member = next(members, None)
        except BadFile as error:
            member, failed = None, str(error)
        if member is not None and format_of(member.name) is not None:
            held.append((member.name, member.data or b"", member.problem))
        full = sum(len(data) for _, data, _ in held) >= BYTES_AT_ONCE
        if held and (member is None or full or len(held) >= FILES_AT_ONCE):
            position = path.stat().st_size if member is None else member.position
            yield HeldPiece(str(path), position - before, tuple(held))
            before, held, is_empty = position, [], False
        if member is None:
            break
    if failed and is_empty:
        raise BadFile(failed)
    if failed:
        yield UnreadablePiece(str(path), 0, path.name, failed, "rest_lost")
    elif is_empty:
        raise BadFile(f"{path} holds no file of a supported format ({supported()})")


def _split(path: Path, name: str) -> tuple[Path, tuple[str, ...]]:
    """Return the folder that ``name`` is below, and the names in it."""
    return path.parents[name.count("/")], (name,)
