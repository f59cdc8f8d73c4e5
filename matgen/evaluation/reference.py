"""Known crystals, to tell what is new."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

from matgen.atomic import read_json, replacing_folder, write_json
from matgen.errors import BadFile, UserError
from matgen.evaluation.matching import (
    REDUCTION_REVISION,
    Candidate,
    CompositionKey,
    comparable,
    composition_key,
)
from matgen.evaluation.packed_crystals import PackedCrystals

if TYPE_CHECKING:
    from matgen.records import Crystal, Skipped
    from matgen.roles.dataset import DatasetSource

log = logging.getLogger(__name__)

_FORMAT: Final = 1
_ABOUT: Final = "reference.json"


@dataclass(frozen=True)
class KnownCrystals:
    """The known crystals of one reduced formula; small enough to send to a worker.

    Attributes:
        rows: Their rows in the reference, ascending.
        crystals: As the source has them, where the reference is in memory.
        folder: Where they are packed, otherwise.
        places: Where in the folder.
    """

    rows: Sequence[int]
    crystals: Sequence[Crystal] = ()
    folder: Path | None = None
    places: Sequence[int] = ()

    def candidates(self) -> list[tuple[int, Candidate]]:
        """Return row and crystal, to compare with."""
        if self.folder is None:
            return [
                (row, Candidate(crystal))
                for row, crystal in zip(self.rows, self.crystals, strict=True)
            ]
        packed = _mapped(self.folder)
        return [
            (row, Candidate(packed.crystal(place), packed.reduced(place)))
            for row, place in zip(self.rows, self.places, strict=True)
        ]

    def keep(self, candidates: Sequence[tuple[int, Candidate]]) -> None:
        """Write down the reduced cells that comparing found, for the next time."""
        if self.folder is None:
            return
        packed = _mapped(self.folder)
        for place, (_, candidate) in zip(self.places, candidates, strict=True):
            if candidate.found is not None:
                packed.keep_reduced(place, candidate.found)


class Reference:
    """Known crystals in buckets by reduced formula.

    They stay arrays: only those that share a formula with a sample are ever turned into a
    structure, and that in the worker that compares them.

    Attributes:
        description: Where they came from, for the report.
        n_skipped: Entries of the source that are no crystals we can compare.
    """

    def __init__(
        self,
        crystals: Iterable[Crystal] | PackedCrystals,
        *,
        description: str = "given crystals",
        ids: Sequence[str] | None = None,
        n_skipped: int = 0,
        folder: Path | None = None,
    ) -> None:
        """Keep crystals.

        Args:
            crystals: Known ones; those that cannot be compared are left out and counted. Packed
                ones are taken as they are.
            description: Where they came from, for the report.
            ids: One each; their positions if not given.
            n_skipped: Entries that were left out before.
            folder: Where packed crystals are mapped from.
        """
        self.description = description
        self.n_skipped = n_skipped
        self._folder = folder
        if isinstance(crystals, PackedCrystals):
            self._packed = crystals
            return
        kept = []
        for row, crystal in enumerate(crystals):
            if comparable(crystal):
                kept.append((row, str(row) if ids is None else ids[row], crystal))
            else:
                self.n_skipped += 1
        self._packed = PackedCrystals.of(kept)

    @classmethod
    def from_dataset(cls, source: DatasetSource, *, cache: Path | None = None) -> Reference:
        """Return the training split of a dataset; entries that are no crystals are counted.

        Args:
            source: Where known crystals come from.
            cache: A folder for references: they are built once for each fingerprint of a dataset
                and version of the reduction, mapped into memory by all processes, and gather
                reduced cells as crystals are compared. None keeps the crystals in memory.
        """
        fingerprint = source.fingerprint()
        folder = None
        if cache is not None:
            folder = cache / f"{_plain(fingerprint)}-{reduction_version()}"
            with suppress(FileNotFoundError):
                return cls.opened(folder)
        skipped: list[Skipped] = []
        ids: list[str] = []

        def crystals() -> Iterator[Crystal]:
            for record in source.records("train", on_skip=skipped.append):
                ids.append(record.id)
                yield record.crystal

        reference = cls(
            crystals(), description=f"{source.name}, train split ({fingerprint})", ids=ids
        )
        reference.n_skipped += len(skipped)
        return reference if folder is None else reference.saved(folder)

    @classmethod
    def opened(cls, folder: Path) -> Reference:
        """Return a saved reference; its arrays are mapped, not read.

        Raises:
            FileNotFoundError: nothing whole is there; what is torn is removed first.
        """
        if not folder.exists():
            raise FileNotFoundError(folder)
        try:
            about = read_json(folder / _ABOUT)
            if about.get("format") != _FORMAT:
                raise BadFile(f"{folder} has format {about.get('format')}; expected {_FORMAT}")
            return cls(
                _mapped(folder),
                description=str(about["description"]),
                n_skipped=int(str(about["n_skipped"])),
                folder=folder,
            )
        except (BadFile, KeyError, ValueError) as error:
            # A cache: what cannot be read is made again.
            log.warning("building a reference again: %s", error)
            shutil.rmtree(folder, ignore_errors=True)
            raise FileNotFoundError(folder) from None

    def saved(self, folder: Path) -> Reference:
        """Write the reference to a folder and return it mapped from there.

        Two processes may do it at once: each writes a folder beside it, the first rename stays.
        """
        try:
            with replacing_folder(folder) as temporary:
                self._packed.save(temporary)
                about = {
                    "format": _FORMAT,
                    "description": self.description,
                    "n_skipped": self.n_skipped,
                    "reduction": reduction_version(),
                }
                write_json(temporary / _ABOUT, about)
        except OSError as error:
            # Another process was first; with nothing there, the disk is full or the like.
            if not folder.exists():
                raise UserError(f"cannot write the reference {folder}: {error}") from None
        return Reference.opened(folder)

    def known(self, key: CompositionKey) -> KnownCrystals | None:
        """Return the known crystals of one reduced formula, None if there are none."""
        # Two formulas might share a digest.
        places = [
            place
            for place in self._packed.bucket(key)
            if composition_key(self._packed.crystal(place)) == key
        ]
        if not places:
            return None
        rows = self._packed.arrays["rows"][places].tolist()
        if self._folder is not None:
            return KnownCrystals(rows, folder=self._folder, places=places)
        return KnownCrystals(rows, [self._packed.crystal(place) for place in places])

    def identifier(self, row: int) -> str:
        """Return the id of the crystal of a row."""
        return self._packed.identifier(self._places[row])

    @cached_property
    def _places(self) -> dict[int, int]:
        rows = self._packed.arrays["rows"].tolist()
        return {row: place for place, row in enumerate(rows)}

    def chemical_systems(self) -> set[frozenset[int]]:
        """Return the sets of elements of the known crystals."""
        firsts = self._packed.arrays["bucket_starts"][:-1].tolist()
        return {frozenset(self._packed.crystal(place).numbers.tolist()) for place in firsts}

    def __iter__(self) -> Iterator[Crystal]:
        """Yield the known crystals, those of one reduced formula after each other."""
        for place in range(len(self)):
            yield self._packed.crystal(place)

    def __len__(self) -> int:
        return len(self._packed)


def reduction_version() -> str:
    """Return what reduced cells depend on."""
    from importlib.metadata import version

    return f"pymatgen-core-{version('pymatgen-core')}-{REDUCTION_REVISION}"


@lru_cache(maxsize=8)
def _mapped(folder: Path) -> PackedCrystals:
    """Open a folder once per process."""
    return PackedCrystals.opened(folder)


def _plain(text: str) -> str:
    """Return a text as the name of a folder."""
    return "".join(letter if letter.isalnum() or letter in "-_." else "_" for letter in text)
