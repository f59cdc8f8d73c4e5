"""Role: where crystals and their properties come from."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Literal, TypeAlias

from matgen.roles.component import Component

if TYPE_CHECKING:
    from matgen.records import Record, Skipped

Split: TypeAlias = Literal["train", "val"]


class DatasetSource(Component):
    """Crystals with properties, in a fixed order."""

    @property
    @abstractmethod
    def units(self) -> Mapping[str, str]:
        """Property name to unit, for every property that any record may carry."""

    @property
    def reduced(self) -> bool:
        """Whether every crystal is already its primitive Niggli cell (saves the reduction)."""
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
            split: ``train`` or ``val``; the same material is never in both.
            on_skip: Called for every entry that cannot become a record; without it such an entry
                raises.

        Raises:
            BadCrystal, BadFile: an entry or the source is unreadable.
        """

    @abstractmethod
    def fingerprint(self) -> str:
        """Return a short text that changes whenever the records or their order do."""
