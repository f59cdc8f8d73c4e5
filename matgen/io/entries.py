"""Entries: one crystal of a file, or what is wrong with it."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeAlias

from matgen.crystal.checks import check_crystal
from matgen.crystal.sound import sound_rows
from matgen.errors import BadFile, CrystalError, OutsideRange
from matgen.io.crystal_table import CrystalTable
from matgen.records import Crystal

MAX_SITES: Final = 1000
"""Sites of the largest cell that is read unless somebody asks for more; distances between all pairs
of 100,000 sites would take 80 GB."""
Kind: TypeAlias = Literal[
    "", "unreadable", "rest_lost", "bad_crystal", "overlapping_sites", "too_many_sites"
]
"""What is wrong with an entry; ``unreadable`` is a file, ``rest_lost`` the rest of an archive or a
compressed table: nobody knows how many entries that holds."""


@dataclass(frozen=True, eq=False)
class Entry:
    """One crystal of a file, or what is wrong with it.

    Attributes:
        source: File and place in it, for messages.
        name: Its id where the file gives one, else its place below the folder that is read.
        has_id: Whether ``name`` is an id that the file gives.
        crystal: None where ``error`` says why.
        info: What else the file tells: numbers and texts by name.
        kind: Sort of error.
        overlapping: The crystal, where nothing but sites too near each other is wrong with it. No
            data to learn from, but among generated crystals a result to be counted as invalid.
    """

    source: str
    name: str
    crystal: Crystal | None
    info: Mapping[str, Any] = field(default_factory=dict)  # JSON-like values
    error: str = ""
    kind: Kind = ""
    overlapping: Crystal | None = None
    has_id: bool = False


@dataclass(frozen=True)
class Place:
    """Where some text is from.

    Attributes:
        source: Path as messages give it.
        name: Path below the folder or archive that is read, or the id that an entry gives itself.
        has_id: Whether ``name`` is such an id.
        first: Number of the first entry, where the text is a part of a file.
        is_last: Whether the file ends with this text.
    """

    source: str
    name: str
    first: int = 0
    is_last: bool = True
    has_id: bool = False

    def at(self, number: int, name: str = "") -> Place:
        """Return the place of one entry, counted from the first of this text.

        Args:
            name: The id that the entry gives itself, if it does.
        """
        number += self.first
        where = f"{self.source}#{number}"
        return Place(where, name or f"{self.name}#{number}", has_id=bool(name))


def unreadable(place: Place, error: BadFile, kind: Kind = "unreadable") -> Entry:
    """Return the entry that stands for a file that is broken as a whole, or for its rest."""
    return bad(place, str(error), kind)


def table_entries(table: CrystalTable, place: Place, max_sites: int) -> Iterator[Entry]:
    """Yield the rows of a table of crystals."""
    sound = sound_rows(table.lattices, table.ends, table.numbers, table.frac, max_sites)
    sound[list(table.misfits)] = False
    infos = table.all_properties()
    for row, is_sound in enumerate(sound.tolist()):
        at = place.at(row, table.ids[row] if table.ids else "")
        if is_sound:
            yield Entry(at.source, at.name, table.crystal(row), infos[row], has_id=at.has_id)
            continue
        n_sites = int(table.ends[row + 1] - table.ends[row])

        def make(row: int = row) -> Crystal:
            return table.crystal(row)

        yield guarded(at, make, infos[row], n_sites=n_sites, max_sites=max_sites)


def guarded(
    place: Place,
    make: Callable[[], Crystal],
    info: Mapping[str, Any] | None = None,  # JSON-like values
    *,
    n_sites: int = 0,
    max_sites: int,
) -> Entry:
    """Return the entry of a crystal, or of what the library or our checks say against it.

    Args:
        n_sites: Known before the crystal is made; 0 where it is not.
    """
    crystal = None
    told = info or {}
    try:
        check_size(n_sites, max_sites)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            crystal = make()
        check_size(crystal.n_sites, max_sites)
        check_crystal(crystal)
    except OutsideRange as error:
        return bad(place, str(error), "too_many_sites", told)
    except CrystalError as error:
        overlapping = _if_only_overlapping(crystal)
        kind: Kind = "bad_crystal" if overlapping is None else "overlapping_sites"
        return bad(place, str(error), kind, told, overlapping)
    except BadFile:
        raise
    except Exception as error:  # noqa: BLE001 - fence: libraries raise anything on a bad file
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        return bad(place, f"cannot be read: {reason}", info=told)
    return Entry(place.source, place.name, crystal, told, has_id=place.has_id)


def bad(
    place: Place,
    reason: str,
    kind: Kind = "bad_crystal",
    info: Mapping[str, Any] | None = None,  # JSON-like values
    overlapping: Crystal | None = None,
) -> Entry:
    """Return the entry that says what is wrong at a place."""
    told = _without(place.source, reason)
    return Entry(place.source, place.name, None, info or {}, told, kind, overlapping, place.has_id)


def _without(source: str, reason: str) -> str:
    """Return a reason that does not begin with the source, which is told beside it."""
    for beginning, instead in (
        (f"{source}: ", ""),
        (f"{source} ", "it "),
        (f"{source}#", "#"),
        (f"cannot read {source}", "cannot be read"),
    ):
        if reason.startswith(beginning):
            return instead + reason.removeprefix(beginning)
    return reason


def check_size(n_sites: int, max_sites: int) -> None:
    """Raise if a cell has more sites than are worth any work on it.

    Raises:
        OutsideRange: says how many.
    """
    if n_sites > max_sites:
        raise OutsideRange(f"the cell has {n_sites} sites; at most {max_sites} are read")


def _if_only_overlapping(crystal: Crystal | None) -> Crystal | None:
    """Return a crystal that was refused if the distances of its sites are all that is wrong."""
    if crystal is None:
        return None
    try:
        check_crystal(crystal, min_distance=0.0)
    except CrystalError:
        return None
    return crystal
