"""The crystals that samples are to predict or to imitate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from matgen.errors import BadOptions

if TYPE_CHECKING:
    from matgen.records import Record, Skipped
    from matgen.roles.dataset import DatasetSource, Split


@dataclass(frozen=True)
class Truth:
    """Where the true crystals are.

    Attributes:
        source: A dataset.
        splits: Those of its splits that are meant, in this order.
        name: For the label of the report: ``mp_20:test``, or the name of a file.
        predicted: Whether samples are predictions of them in order.
        per_truth: Predictions for each; 0 takes what divides the samples evenly.
    """

    source: DatasetSource
    splits: tuple[Split, ...]
    name: str
    predicted: bool = False
    per_truth: int = 0

    def records(self) -> tuple[Record, ...]:
        """Return the true crystals in the order of the dataset.

        Raises:
            BadFile, BadCrystal: the dataset cannot be read, or an entry of it: leaving one out
                would shift every prediction after it.
            BadOptions: there are none.
        """
        skipped: list[Skipped] = []
        # Predictions are matched by position, so there an unreadable entry must raise.
        on_skip = None if self.predicted else skipped.append
        found = tuple(
            record
            for split in self.splits
            for record in self.source.records(split, on_skip=on_skip)
        )
        if not found:
            raise BadOptions(f"--truth {self.name} holds no crystal")
        return found

    def samples_each(self, truths: Sequence[Record], asked: int) -> int:
        """Return how many predictions there are for each true crystal.

        Args:
            asked: Samples asked for.

        Raises:
            BadOptions: the samples cannot be so many predictions for each.
        """
        if not self.predicted:
            return 1
        each = self.per_truth or max(1, asked // len(truths))
        if each * len(truths) != asked:
            raise BadOptions(
                f"{asked} samples are not {each} predictions for each of the {len(truths)} "
                f"crystals of {self.name}; give --per-truth K and K samples for each, in its order"
            )
        return each
