"""Records of a dataset as pieces, so that they are imported like the entries of files."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from matgen.data.imported_folder import SOURCE_SUFFIX
from matgen.errors import BadFile
from matgen.io.entries import MAX_SITES, Entry, Place, guarded, unreadable
from matgen.io.pieces import Piece
from matgen.records import Crystal, Record, Skipped
from matgen.roles.dataset import DatasetSource, Split

RECORDS_AT_ONCE = 1000


@dataclass(frozen=True, eq=False)
class RecordsPiece(Piece):
    """Records of one split, and what the dataset skipped among them."""

    records: tuple[Record, ...]
    split: Split
    skipped: tuple[Skipped, ...]

    def entries(self, *, max_sites: int = MAX_SITES) -> Iterator[Entry]:
        """Yield an entry for each record, with its split and the sources of its labels."""
        for skipped in self.skipped:
            yield unreadable(Place(skipped.source, skipped.source), BadFile(skipped.reason))
        for record in self.records:
            sources = {title + SOURCE_SUFFIX: name for title, name in record.sources.items()}
            info = {**record.properties, **sources, "split": self.split}

            def make(record: Record = record) -> Crystal:
                return record.crystal

            place = Place(f"{self.source}:{record.id}", record.id, has_id=True)
            n_sites = record.crystal.n_sites
            yield guarded(place, make, info, n_sites=n_sites, max_sites=max_sites)


def dataset_pieces(dataset: DatasetSource, given: str) -> Iterator[RecordsPiece]:
    """Yield the records of all splits, some at a time.

    Args:
        given: What the dataset is called in messages.
    """
    for split in dataset.splits:
        skipped: list[Skipped] = []
        records = dataset.records(split, on_skip=skipped.append)
        while True:
            some = tuple(islice(records, RECORDS_AT_ONCE))
            if some or skipped:
                yield RecordsPiece(given, 0, some, split, tuple(skipped))
                skipped.clear()
            if len(some) < RECORDS_AT_ONCE:
                break
