"""Entries that a dataset leaves out: each told once, and of which sort it is.

A dataset that reads its files anew for every split tells of a bad entry each time. ``Skipped`` has
a reason in words and nothing else; the words that mean more than "no crystal" are kept here.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

if TYPE_CHECKING:
    from matgen.records import Skipped

LeftOut: TypeAlias = Literal["unreadable", "same id", "held out elsewhere"]

MEANINGS: Final[dict[LeftOut, str]] = {
    "unreadable": "no crystal",
    "same id": "an id that was used before",
    "held out elsewhere": "the material of a row that another part holds out",
}
"""What an entry of each sort is."""
_SAME_ID: Final = re.compile(r"\bthe (?:\w+_)?id (?P<name>'.*?'|\".*?\") is used twice")
_HELD_OUT: Final = "shares reduced formula and space group with a"


def held_out_reason(split: str, part: str) -> str:
    """Return why a row of a mixture is left out: a row of another part's split is its material."""
    return f"{_HELD_OUT} {split} row of {part}"


def kind_of(skipped: Skipped) -> LeftOut:
    """Return of which sort an entry is that was left out."""
    if _HELD_OUT in skipped.reason:
        return "held out elsewhere"
    return "same id" if repeated_id(skipped) else "unreadable"


def repeated_id(skipped: Skipped) -> str:
    """Return the id that an entry shares with an earlier one; empty where it shares none."""
    found = _SAME_ID.search(skipped.reason)
    return found["name"][1:-1] if found else ""


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
