"""One piece of an import, done by a worker: entries become a part file and its problems.

A part file is whole or absent, so that it is done once whatever happens. Beside the columns of the
dataset it says where each row is from, and in its metadata what was counted.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, get_args

from matgen.atomic import replacing, write_text
from matgen.crystal.cell import canonical_cell
from matgen.data.held_out import is_held_out
from matgen.data.import_plan import ImportSettings
from matgen.data.imported_folder import SOURCE_SUFFIX, CrystalsWriter
from matgen.data.labels import is_about_labels, labels_of
from matgen.data.own_properties import COMPUTED_BY, OWN_PROPERTIES
from matgen.errors import BadCrystal
from matgen.io.crystal_table import ID_COLUMNS
from matgen.io.entries import Entry
from matgen.io.pieces import Piece
from matgen.records import Crystal, PropertyValue
from matgen.roles.dataset import Split

REST_LOST: Final = "rest_lost"
"""Kind of the problem that stands for an unknown number of entries."""
ORIGIN: Final = "__from__"
"""Column of a part file: file and place of each row, for messages."""
COUNTED: Final = b"matgen"
"""Key of the metadata of a part file."""
_SPLITS: Final[dict[str, Split]] = {
    **{split: split for split in get_args(Split)},
    "valid": "val",
    "validation": "val",
    "dev": "val",
}


@dataclass(frozen=True)
class PieceTask:
    """A piece and what to do with it.

    Attributes:
        number: Place among all pieces of the import.
        label_names: Property to the name of the source of its labels, unless an entry says another.
        units: Property to unit of the columns that are read.
        all_units: Those and the computed ones: the columns of the part.
        prefix: Put before the ids of entries that have none of their own.
    """

    number: int
    piece: Piece
    label_names: Mapping[str, str]
    units: Mapping[str, str]
    all_units: Mapping[str, str]
    prefix: str
    settings: ImportSettings
    folder: Path


@dataclass
class Counted:
    """What was counted in a piece, or in several.

    Attributes:
        n_crystals: Rows of the part.
        kinds: Kind of problem to entries left out.
        columns: Column without a stated unit to entries that have it.
        labels: Property to label source to values.
        undefined: Computed property to crystals that have none.
        splits: ``given`` by the source or ``drawn``, to crystals.
    """

    n_crystals: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    columns: Counter[str] = field(default_factory=Counter)
    labels: dict[str, Counter[str]] = field(default_factory=dict)
    undefined: Counter[str] = field(default_factory=Counter)
    splits: Counter[str] = field(default_factory=Counter)

    def add(self, other: Counted) -> None:
        """Count what another piece counted, too."""
        self.n_crystals += other.n_crystals
        for name in ("kinds", "columns", "undefined", "splits"):
            getattr(self, name).update(getattr(other, name))
        for title, sources in other.labels.items():
            self.labels.setdefault(title, Counter()).update(sources)

    @property
    def n_problems(self) -> int:
        """Entries left out."""
        return self.kinds.total()

    def to_json(self) -> bytes:
        """Return this as the metadata of a part."""
        return json.dumps(self.__dict__).encode()

    @classmethod
    def from_json(cls, data: bytes) -> Counted:
        """Return what ``to_json`` wrote."""
        held = json.loads(data)
        counted = cls(held["n_crystals"])
        for name in ("kinds", "columns", "undefined", "splits"):
            getattr(counted, name).update(held[name])
        counted.labels = {title: Counter(found) for title, found in held["labels"].items()}
        return counted


@dataclass(frozen=True)
class _Made:
    """A row to write."""

    crystal: Crystal
    split: str
    properties: dict[str, PropertyValue]
    sources: dict[str, str]


class _LeftOut(Exception):
    def __init__(self, kind: str, reason: str) -> None:
        super().__init__(reason)
        self.kind = kind


def part_path(folder: Path, number: int) -> Path:
    """Return where the part of a piece is, once it is done."""
    return folder / f"part-{number:06d}.parquet"


def problems_path(folder: Path, number: int) -> Path:
    """Return where the problems of a piece are; there is no file where there are none."""
    return folder / f"part-{number:06d}.jsonl"


def problem_line(source: str, name: str, kind: str, reason: str) -> str:
    """Return a line of ``problems.jsonl``."""
    row = {"source": source, "id": name, "kind": kind, "reason": " ".join(reason.split())}
    return json.dumps(row, ensure_ascii=False) + "\n"


def do_piece(task: PieceTask) -> tuple[int, Counted]:
    """Write the part of a piece; return its size in the source and what was counted."""
    counted = Counted()
    problems: list[str] = []
    part = part_path(task.folder, task.number)
    with replacing(part) as temporary:
        with CrystalsWriter(temporary, task.all_units, tuple(task.all_units), (ORIGIN,)) as writer:
            for entry in task.piece.entries(max_sites=task.settings.max_sites):
                if entry.crystal is None and not entry.error:
                    continue  # tells how many samples were asked for, and is none itself
                name = entry.name if entry.has_id else task.prefix + entry.name
                try:
                    made = _made(entry, task, counted)
                except _LeftOut as left_out:
                    counted.kinds[left_out.kind] += 1
                    line = problem_line(entry.source, name, left_out.kind, str(left_out))
                    problems.append(line)
                    continue
                row = (name, made.crystal, made.split, made.properties, made.sources)
                writer.add(*row, extra=(entry.source,))
                counted.n_crystals += 1
            writer.tell(COUNTED, counted.to_json())
        # Before the part is there: a part is done with its problems, or not at all.
        if problems:
            write_text(problems_path(task.folder, task.number), "".join(problems))
        else:
            problems_path(task.folder, task.number).unlink(missing_ok=True)
    return task.piece.n_bytes, counted


def _made(entry: Entry, task: PieceTask, counted: Counted) -> _Made:
    """Return the row of an entry, counted."""
    if entry.crystal is None:
        raise _LeftOut(entry.kind, entry.error)
    settings = task.settings
    try:
        properties = labels_of(entry.info, task.units)
    except BadCrystal as error:
        raise _LeftOut("bad_label", str(error)) from None
    split, how = _split(entry, settings)
    crystal = entry.crystal
    if settings.cell == "canonical":
        try:
            crystal = canonical_cell(crystal)
        except BadCrystal as error:
            raise _LeftOut("not_reduced", str(error)) from None
    sources = {
        title: str(entry.info.get(title + SOURCE_SUFFIX) or task.label_names[title])
        for title in properties
    }
    counted.splits[how] += 1
    counted.columns.update(_without_unit(entry.info, task.all_units))
    for title in settings.computed:
        value = OWN_PROPERTIES[title].of(crystal)
        if value is None:
            counted.undefined[title] += 1
        else:
            properties[title] = value
            sources[title] = COMPUTED_BY
    for title, source in sources.items():
        counted.labels.setdefault(title, Counter())[source] += 1
    return _Made(crystal, split, properties, sources)


def _without_unit(info: Mapping[str, Any], units: Mapping[str, str]) -> Iterator[str]:
    """Yield the columns that hold a value which is left out."""
    for column, value in info.items():
        if (
            isinstance(value, int | float | str)
            and column not in units
            and column not in ID_COLUMNS
            and column != "split"
            and not is_about_labels(column, units)
        ):
            yield column


def _split(entry: Entry, settings: ImportSettings) -> tuple[str, str]:
    """Return the split of an entry, and whether it was given or drawn."""
    given = entry.info.get("split")
    if not isinstance(given, str) or not given.strip():
        assert entry.crystal is not None
        held_out = is_held_out(entry.crystal, settings.val_fraction)
        return ("val" if held_out else "train"), "drawn"
    known = _SPLITS.get(given.strip().lower())
    if known is None:
        raise _LeftOut("bad_split", f"its split is {given!r}; expected train, val or test")
    return known, "given"
