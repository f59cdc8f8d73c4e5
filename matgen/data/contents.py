"""What a dataset has: splits, properties, where labels are from, what is missing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from matgen.data.left_out import ToldOnce
from matgen.data.material_table import Observer
from matgen.roles.citing import references

if TYPE_CHECKING:
    from matgen.records import LabelSource, Skipped, SkippedKind
    from matgen.roles.dataset import DatasetSource

_TOLD_EVERY = 1000


@dataclass
class Contents:
    """One pass over every record.

    Attributes:
        counts: Records of each split.
        known: Records of each split that have a property, by split and property.
        by_source: Records by property and label source, for properties of several sources.
        left_out: Entries that never became records, by sort.
        first_left_out: The first of each sort, and why.
    """

    dataset: str
    fingerprint: str
    units: Mapping[str, str]
    label_sources: Mapping[str, Sequence[LabelSource]]
    cites: Sequence[str]
    licence: str
    counts: dict[str, int] = field(default_factory=dict)
    known: dict[str, Counter[str]] = field(default_factory=dict)
    by_source: dict[str, Counter[str]] = field(default_factory=dict)
    left_out: Counter[SkippedKind] = field(default_factory=Counter)
    first_left_out: dict[SkippedKind, str] = field(default_factory=dict)

    def missing(self, name: str, split: str) -> int:
        """Return how many records of a split lack a property."""
        return self.counts[split] - self.known[split][name]

    def missing_share(self, name: str, split: str) -> str:
        """Return the same as ``12 (0.1 %)``."""
        count, whole = self.missing(name, split), self.counts[split]
        return f"{count:,} ({100.0 * count / whole:.1f} %)" if whole and count else f"{count}"

    def to_json(self) -> dict[str, object]:
        """Return all of it as JSON values."""
        return {
            "dataset": self.dataset,
            "fingerprint": self.fingerprint,
            "splits": self.counts,
            "skipped": self.left_out.total(),
            "left_out": dict(self.left_out),
            "properties": {
                name: {
                    "unit": unit,
                    "sources": [
                        {"name": source.name, "functional": source.functional}
                        for source in self.label_sources[name]
                    ],
                    "known_by_source": dict(self.by_source.get(name, {})),
                    "missing": {split: self.missing(name, split) for split in self.counts},
                }
                for name, unit in self.units.items()
            },
            "cites": list(self.cites),
            "licence": self.licence,
        }


def contents(dataset: DatasetSource, observer: Observer) -> Contents:
    """Return what a dataset has."""
    found = Contents(
        dataset.name,
        dataset.fingerprint(),
        dataset.units,
        dataset.label_sources,
        references(dataset),
        dataset.licence,
    )

    def skip(skipped: Skipped) -> None:
        kind = skipped.kind
        found.left_out[kind] += 1
        found.first_left_out.setdefault(kind, f"{skipped.source}: {skipped.reason}")

    told = ToldOnce(skip)
    for split in dataset.splits:
        found.counts[split] = 0
        known = found.known[split] = Counter()
        for record in dataset.records(split, on_skip=told.split()):
            found.counts[split] += 1
            known.update(record.properties.keys())
            for name, source in record.sources.items():
                found.by_source.setdefault(name, Counter())[source] += 1
            if found.counts[split] % _TOLD_EVERY == 0:
                observer(split, found.counts[split], None)
        observer(split, found.counts[split], found.counts[split])
    return found
