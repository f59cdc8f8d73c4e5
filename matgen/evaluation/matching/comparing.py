"""One comparison after the other, each with its time limit, and what became of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final, TypeVar

from matgen.errors import BadCrystal
from matgen.evaluation.matching.candidate import Candidate
from matgen.evaluation.matching.matchers import Matcher, OrderedMatcher
from matgen.evaluation.matching.pairing import Pairing
from matgen.evaluation.time_limit import OutOfTime, time_limit

R = TypeVar("R")

PAIR_SECONDS: Final = 10.0
"""Processor seconds for one pair; pairs of real crystals take milliseconds."""


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
        return self._answer(self.matcher.fit, first, second) or False

    def closest(self, first: Candidate, second: Candidate) -> Pairing | None:
        """Return how the sites of two crystals pair up; of an ordered matcher only."""
        assert isinstance(self.matcher, OrderedMatcher)
        return self._answer(self.matcher.closest, first, second)

    def first_match(
        self, candidate: Candidate, others: Iterable[tuple[int, Candidate]]
    ) -> int | None:
        """Return the number of the first one that a crystal matches, None if it matches none."""
        for number, other in others:
            if self.same(candidate, other):
                return number
        return None

    def _answer(
        self, compare: Callable[[Candidate, Candidate], R], first: Candidate, second: Candidate
    ) -> R | None:
        try:
            with time_limit(self.pair_seconds):
                return compare(first, second)
        except OutOfTime:
            self.n_timed_out += 1
        except BadCrystal:
            self.n_failed += 1
        return None
