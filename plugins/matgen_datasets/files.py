"""The user's own crystals, from any file or folder that matgen reads."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from pydantic import Field

from matgen import DatasetSource, Record
from matgen.data.held_out import is_held_out
from matgen.errors import BadCrystal, BadFile
from matgen.io.entries import MAX_SITES
from matgen.io.reading import read_crystals
from matgen.records import Skipped
from matgen.roles.dataset import Split


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

    @property
    def units(self) -> Mapping[str, str]:
        """The units that the user states."""
        return self.column_units

    def records(
        self, split: Split, *, on_skip: Callable[[Skipped], None] | None = None
    ) -> Iterator[Record]:
        """Yield the records of a split in natural order of the files; see the role."""
        names: set[str] = set()
        read = read_crystals(Path(self.path), on_skip=on_skip, max_sites=self.max_sites)
        for record in read:
            if record.id in names:
                _refuse(f"the id {record.id!r} is used twice in {self.path}", record.id, on_skip)
                continue
            names.add(record.id)
            if is_held_out(record.crystal, self.val_fraction) == (split == "val"):
                properties = {k: v for k, v in record.properties.items() if k in self.column_units}
                yield Record(record.id, record.crystal, properties)

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


def _refuse(reason: str, source: str, on_skip: Callable[[Skipped], None] | None) -> None:
    if on_skip is None:
        raise BadCrystal(f"{reason}; ids must differ")
    on_skip(Skipped(source, reason))
