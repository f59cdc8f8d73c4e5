"""Role: where crystals and their properties come from."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Literal, TypeAlias

from matgen.records import LabelSource
from matgen.roles.component import Component

if TYPE_CHECKING:
    from matgen.records import Record, Skipped

Split: TypeAlias = Literal["train", "val", "test"]


class DatasetSource(Component):
    """Crystals with properties, in a fixed order."""

    @property
    @abstractmethod
    def units(self) -> Mapping[str, str]:
        """Property name to unit, for every property that any record may carry."""

    @property
    def label_sources(self) -> Mapping[str, tuple[LabelSource, ...]]:
        """Property name to every source its values come from; one, the dataset, unless it mixes.

        A record of a dataset that mixes says in ``Record.sources`` which one its value is from, and
        a condition is trained only on the sources that it names.
        """
        return {name: (LabelSource(self.name),) for name in self.units}

    @property
    def splits(self) -> tuple[Split, ...]:
        """Splits that the dataset has; ``train`` always."""
        return ("train", "val")

    @property
    def reduced(self) -> bool:
        """Whether every crystal is already in its canonical cell (saves finding it)."""
        return False

    def for_conditions(self, labels: frozenset[str]) -> DatasetSource:
        """Return this dataset with the rows that suit conditions a person asked for by name.

        A dataset that leaves out rows by some property may bring them back when a model is to
        learn that property. Settings that were given explicitly stay.
        """
        del labels
        return self

    @abstractmethod
    def records(
        self, split: Split, *, on_skip: Callable[[Skipped], None] | None = None
    ) -> Iterator[Record]:
        """Yield the records of one split, always in the same order.

        Args:
            split: One of ``splits``; the same material is never in two of them.
            on_skip: Called for every entry that cannot become a record; without it such an entry
                raises.

        Raises:
            BadCrystal, BadFile: an entry or the source is unreadable.
        """

    @abstractmethod
    def fingerprint(self) -> str:
        """Return a short text that changes whenever the records or their order do."""
