"""Known crystals, to tell what is new."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from matgen.evaluation.matching import Candidate, CompositionKey, comparable, composition_key

if TYPE_CHECKING:
    from matgen.records import Crystal, Record, Skipped
    from matgen.roles.dataset import DatasetSource


@dataclass(frozen=True)
class KnownCrystals:
    """The known crystals of one reduced formula; small enough to send to a worker.

    Attributes:
        rows: Their rows in the reference.
        crystals: As the source has them.
    """

    rows: Sequence[int]
    crystals: Sequence[Crystal]

    def candidates(self) -> list[tuple[int, Candidate]]:
        """Return row and crystal, to compare with."""
        return [
            (row, Candidate(crystal)) for row, crystal in zip(self.rows, self.crystals, strict=True)
        ]

    def keep(self, candidates: Sequence[tuple[int, Candidate]]) -> None:
        """Take back what comparing found out about them."""


class Reference:
    """Known crystals in buckets by reduced formula.

    They stay arrays: only those that share a formula with a sample are ever turned into a
    structure, and that in the worker that compares them.

    Attributes:
        description: Where they came from, for the report.
        n_skipped: Entries of the source that are no crystals we can compare.
    """

    def __init__(self, crystals: Iterable[Crystal], *, description: str = "given crystals") -> None:
        self.description = description
        self.n_skipped = 0
        self._buckets: dict[CompositionKey, list[tuple[int, Crystal]]] = defaultdict(list)
        for row, crystal in enumerate(crystals):
            if comparable(crystal):
                self._buckets[composition_key(crystal)].append((row, crystal))
            else:
                self.n_skipped += 1

    @classmethod
    def from_dataset(cls, source: DatasetSource) -> Reference:
        """Return the training split of a dataset; entries that are no crystals are counted."""
        skipped: list[Skipped] = []
        records: Iterator[Record] = source.records("train", on_skip=skipped.append)
        reference = cls(
            (record.crystal for record in records),
            description=f"{source.name}, train split ({source.fingerprint()})",
        )
        reference.n_skipped += len(skipped)
        return reference

    def known(self, key: CompositionKey) -> KnownCrystals | None:
        """Return the known crystals of one reduced formula, None if there are none."""
        bucket = self._buckets.get(key)
        return None if bucket is None else KnownCrystals(*zip(*bucket, strict=True))

    def __len__(self) -> int:
        return sum(len(bucket) for bucket in self._buckets.values())
