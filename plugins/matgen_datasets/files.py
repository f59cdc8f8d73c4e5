"""The user's own crystals, from any file or folder that matgen reads."""

from __future__ import annotations

import hashlib
import logging
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from pydantic import Field, PrivateAttr

from matgen import DatasetSource, Record
from matgen.data.held_out import is_held_out
from matgen.data.labels import usable_labels_of
from matgen.errors import BadCrystal, BadFile
from matgen.io.entries import MAX_SITES
from matgen.io.sources import datasets_within, entries
from matgen.records import Skipped
from matgen.roles.dataset import Split

log = logging.getLogger(__name__)


class Files(DatasetSource):
    """Crystals of a CIF, extended XYZ, POSCAR, JSON lines, Parquet or csv file, a zip or a folder.

    A crystal is held out for validation by its reduced formula, so that one formula is never on
    both sides and a crystal stays on its side when others are added.
    """

    name = "files"

    path: str
    """File or folder; a relative one starts from where the command runs."""
    val_fraction: float = Field(default=0.1, ge=0.0, lt=1.0)
    """Share of the reduced formulas that is held out."""
    column_units: dict[str, str] = Field(default_factory=dict)
    """Unit of each column of properties to read; others are left out. ``band_gap = "eV"``."""
    max_sites: int = Field(default=MAX_SITES, ge=1)
    """Cells with more sites are skipped."""

    _told: set[str] = PrivateAttr(default_factory=set)

    @property
    def units(self) -> Mapping[str, str]:
        """The units that the user states."""
        return self.column_units

    def records(
        self, split: Split, *, on_skip: Callable[[Skipped], None] | None = None
    ) -> Iterator[Record]:
        """Yield the records of a split in natural order of the files; see the role.

        A value that is no finite number in the stated unit is missing, and its crystal stays; one
        line for each property is logged once the files are read, the first time that they are.
        """
        if within := datasets_within(Path(self.path)):
            self._tell(
                f"{self.path}: the imported datasets in it are not read: {', '.join(within)}"
            )
        names: set[str] = set()
        unused = _Unused()
        for entry in entries(Path(self.path), max_sites=self.max_sites):
            if entry.crystal is None:
                # One without an error tells how many samples were asked for, and is none itself.
                if entry.error:
                    _refuse(Skipped(entry.source, entry.error), on_skip)
                continue
            if entry.name in names:
                reason = f"the id {entry.name!r} is used twice in {self.path}; ids must differ"
                _refuse(Skipped(entry.source, reason, "same id", entry.name), on_skip)
                continue
            names.add(entry.name)
            if is_held_out(entry.crystal, self.val_fraction) == (split == "val"):
                properties, refused = usable_labels_of(entry.info, self.column_units)
                unused.add(refused, entry.source)
                yield Record(entry.name, entry.crystal, properties)
        for line in unused.lines(split):
            self._tell(line)

    def _tell(self, line: str) -> None:
        """Log a line, the first time."""
        if line not in self._told:
            self._told.add(line)
            log.warning("%s", line)

    def fingerprint(self) -> str:
        """Return a digest of the settings and of every byte of the files.

        Raises:
            BadFile: there is no such file.
        """
        root = Path(self.path)
        if not root.exists():
            raise BadFile(f"{root} does not exist")
        settings = (self.val_fraction, sorted(self.column_units.items()), self.max_sites)
        digest = hashlib.sha256(repr(settings).encode())
        files = [root] if root.is_file() else sorted(p for p in root.rglob("*") if p.is_file())
        for file in files:
            digest.update(f"\0{file.relative_to(root)}\0{file.stat().st_size}\0".encode())
            with file.open("rb") as opened:
                while block := opened.read(2**20):
                    digest.update(block)
        return f"files-{digest.hexdigest()[:16]}"


class _Unused:
    """Values that are there and cannot be used: how many, and the first of each property."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._first: dict[str, str] = {}

    def add(self, refused: Mapping[str, str], source: str) -> None:
        """Count the values of an entry, property to what is wrong with it."""
        self._counts.update(refused.keys())
        for title, reason in refused.items():
            self._first.setdefault(title, f"{source}: {reason}")

    def lines(self, split: Split) -> Iterator[str]:
        """Yield one line for each property."""
        for title, count in self._counts.items():
            yield (
                f"{count:,} values of {title} in {split} cannot be used and count as missing; the "
                f"first, {self._first[title]}"
            )


def _refuse(skipped: Skipped, on_skip: Callable[[Skipped], None] | None) -> None:
    if on_skip is None:
        raise BadCrystal(f"{skipped.source}: {skipped.reason}")
    on_skip(skipped)
