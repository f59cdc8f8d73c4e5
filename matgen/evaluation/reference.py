"""Known crystals, to tell what is new."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from matgen.evaluation.matching import CompositionKey, comparable, composition_key

if TYPE_CHECKING:
    from matgen.records import Crystal, Record, Skipped
    from matgen.roles.dataset import DatasetSource


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
        self._buckets: dict[CompositionKey, list[Crystal]] = defaultdict(list)
        for crystal in crystals:
            if comparable(crystal):
                self._buckets[composition_key(crystal)].append(crystal)
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

    def known(self, key: CompositionKey) -> Sequence[Crystal]:
        """Return the known crystals of one reduced formula, none if there are none."""
        return self._buckets.get(key, ())

    def __iter__(self) -> Iterator[Crystal]:
        """Yield the known crystals, those of one reduced formula after each other."""
        for bucket in self._buckets.values():
            yield from bucket

    def __len__(self) -> int:
        return sum(len(bucket) for bucket in self._buckets.values())
