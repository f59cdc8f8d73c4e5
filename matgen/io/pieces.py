"""Pieces of a file, folder or archive, each readable in any process and at any time.

A piece tells where its entries are; what was cut off a stream travels inside it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from matgen.errors import BadFile
from matgen.io.crystal_table import CrystalTable
from matgen.io.entries import MAX_SITES, Entry, Kind, Place, table_entries, unreadable
from matgen.io.formats import TABLES, Format, format_of, stem_of
from matgen.io.parsing import parse
from matgen.io.unpacking import open_zip, read_member, read_whole, unpacked


@dataclass(frozen=True)
class Piece(ABC):
    """Some entries of a source.

    Attributes:
        source: What the entries are from, for messages.
        n_bytes: Size on disk of what is read, to measure progress by.
    """

    source: str
    n_bytes: int

    @abstractmethod
    def entries(self, *, max_sites: int = MAX_SITES) -> Iterator[Entry]:
        """Yield the entries; what is unreadable is one that says so."""


@dataclass(frozen=True)
class FilesPiece(Piece):
    """Files of a folder that hold one text each, by their names below it."""

    root: Path
    names: tuple[str, ...]

    def entries(self, *, max_sites: int = MAX_SITES) -> Iterator[Entry]:
        """Yield the entries of each file."""
        for name in self.names:
            path = self.root / name
            place = _place(str(path), name)
            try:
                data = read_whole(path)
            except BadFile as error:
                yield unreadable(place, error)
                continue
            yield from _parsed(name, data, place, max_sites)


@dataclass(frozen=True)
class MembersPiece(Piece):
    """Files of a zip, by their names in it."""

    path: Path
    names: tuple[str, ...]

    def entries(self, *, max_sites: int = MAX_SITES) -> Iterator[Entry]:
        """Yield the entries of each file."""
        with open_zip(self.path) as archive:
            for name in self.names:
                place = _place(f"{self.path}:{name}", name)
                try:
                    packed = read_member(archive, archive.getinfo(name))
                    data = unpacked(name, packed, place.source)
                except BadFile as error:
                    yield unreadable(place, error)
                    continue
                yield from _parsed(name, data, place, max_sites)


@dataclass(frozen=True)
class HeldPiece(Piece):
    """Files that were cut off a stream: name, bytes, and what is wrong where there are none."""

    held: tuple[tuple[str, bytes, str], ...]

    def entries(self, *, max_sites: int = MAX_SITES) -> Iterator[Entry]:
        """Yield the entries of each file."""
        for name, packed, problem in self.held:
            place = _place(f"{self.source}:{name}", name)
            try:
                if problem:
                    raise BadFile(problem)
                data = unpacked(name, packed, place.source)
            except BadFile as error:
                yield unreadable(place, error)
                continue
            yield from _parsed(name, data, place, max_sites)


@dataclass(frozen=True)
class RunPiece(Piece):
    """Entries of a text table after each other."""

    kind: Format
    data: bytes
    place: Place

    def entries(self, *, max_sites: int = MAX_SITES) -> Iterator[Entry]:
        """Yield the entries of the run."""
        yield from _kept_going(parse(self.kind, self.data, self.place, max_sites), self.place)


@dataclass(frozen=True)
class RowsPiece(Piece):
    """Rows of a row group of a Parquet file."""

    path: Path
    name: str
    group: int
    start: int
    stop: int
    first: int
    """Number of the first row in the file."""

    def entries(self, *, max_sites: int = MAX_SITES) -> Iterator[Entry]:
        """Yield the rows, read batch by batch."""
        place = Place(self.source, self.name, self.first)

        def rows() -> Iterator[Entry]:
            first = self.first
            tables = CrystalTable.batches(
                self.path, group=self.group, start=self.start, stop=self.stop
            )
            for table in tables:
                yield from table_entries(table, replace(place, first=first), max_sites)
                first += len(table)

        yield from _kept_going(rows(), place)


@dataclass(frozen=True)
class UnreadablePiece(Piece):
    """A file that cannot be read, or the rest of one."""

    name: str
    reason: str
    kind: Kind = "unreadable"

    def entries(self, *, max_sites: int = MAX_SITES) -> Iterator[Entry]:
        """Yield the one entry that says why."""
        del max_sites
        yield unreadable(Place(self.source, self.name), BadFile(self.reason), self.kind)


def _place(source: str, name: str) -> Place:
    """Return the place of a file; one crystal in it is called like the file."""
    return Place(source, name if format_of(name) in TABLES else stem_of(name))


def _parsed(name: str, data: bytes, place: Place, max_sites: int) -> Iterator[Entry]:
    """Yield the entries of a whole file in memory."""
    kind = format_of(name)
    assert kind is not None, name
    if kind == "parquet":
        reason = f"{place.source} is a Parquet file inside an archive; unpack it"
        yield unreadable(place, BadFile(reason))
        return
    yield from _kept_going(parse(kind, data, place, max_sites), place)


def _kept_going(found: Iterator[Entry], place: Place) -> Iterator[Entry]:
    """Yield entries; where their file turns out to be broken, a bad entry ends them."""
    try:
        yield from found
    except BadFile as error:
        yield unreadable(place, error)
