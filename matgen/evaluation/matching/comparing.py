"""One comparison after the other, each with its time limit, and what became of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from matgen.errors import BadCrystal
from matgen.evaluation.matching.candidate import Candidate
from matgen.evaluation.matching.matchers import Matcher
from matgen.evaluation.matching.time_limit import OutOfTime, time_limit

PAIR_SECONDS: Final = 10.0
"""Seconds for one pair; pairs of real crystals take milliseconds."""


@dataclass
class Comparisons:
    """Compares pairs and counts those without an answer, which count as different.

    Attributes:
        matcher: What compares them.
        pair_seconds: Time limit for one pair, 0 for none.
        n_timed_out: Pairs whose time was over.
        n_failed: Pairs with a cell that pymatgen cannot reduce.
    """

    matcher: Matcher
    pair_seconds: float = PAIR_SECONDS
    n_timed_out: int = 0
    n_failed: int = 0

    def same(self, first: Candidate, second: Candidate) -> bool:
        """Return whether two crystals are the same."""
        try:
            with time_limit(self.pair_seconds):
                return self.matcher.fit(first, second)
        except OutOfTime:
            self.n_timed_out += 1
        except BadCrystal:
            self.n_failed += 1
        return False

    def first_match(
        self, candidate: Candidate, others: Iterable[tuple[int, Candidate]]
    ) -> int | None:
        """Return the number of the first one that a crystal matches, None if it matches none."""
        for number, other in others:
            if self.same(candidate, other):
                return number
        return None
