"""Entries that a dataset leaves out, each told once.

A dataset that reads its files anew for every split tells of a bad entry each time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from matgen.records import SkippedKind

if TYPE_CHECKING:
    from matgen.records import Skipped

MEANINGS: Final[dict[SkippedKind, str]] = {
    "unreadable": "no crystal",
    "same id": "an id that was used before",
    "held out elsewhere": "the material of a row that another part holds out",
}
"""What an entry of each kind is."""


class ToldOnce:
    """Hands on each entry once, though every split may tell of it.

    Two entries that one split tells of with the same words are two.
    """

    def __init__(self, hear: Callable[[Skipped], None]) -> None:
        self._hear = hear
        self._told: Counter[int] = Counter()

    def split(self) -> Callable[[Skipped], None]:
        """Return the ``on_skip`` for the records of one split."""
        here: Counter[int] = Counter()

        def skip(skipped: Skipped) -> None:
            entry = hash((skipped.source, skipped.reason))
            here[entry] += 1
            if here[entry] > self._told[entry]:
                self._told[entry] = here[entry]
                self._hear(skipped)

        return skip
