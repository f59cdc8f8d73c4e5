"""Which of many crystals repeat another, or are known: buckets by formula, each compared once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Literal, TypeAlias

from matgen.evaluation.matching.candidate import Candidate
from matgen.evaluation.matching.comparing import PAIR_SECONDS, Comparisons
from matgen.evaluation.matching.keys import CompositionKey, comparable, composition_key
from matgen.evaluation.matching.matchers import Matcher, OrderedMatcher
from matgen.records import Crystal

if TYPE_CHECKING:
    from matgen.evaluation.reference import KnownCrystals, Reference
    from matgen.roles.executor import Pool

Keep: TypeAlias = Literal["first", "last"]
"""Which of a group of equal crystals counts as unique."""


@dataclass(frozen=True)
class Matches:
    """What was found for each crystal, in their order.

    Attributes:
        mask: Whether it is unique, or novel; None where there is no crystal, or none that can be
            compared.
        partners: The first one that it matched: position among the crystals, or row of the
            reference; None where there is none.
        n_timed_out: Pairs that ran out of time; they count as different.
        n_failed: Pairs with a cell that pymatgen cannot reduce; they count as different.
    """

    mask: list[bool | None]
    partners: list[int | None]
    n_timed_out: int = 0
    n_failed: int = 0


@dataclass(frozen=True)
class ReferenceMatches:
    """Matches between crystals and a reference.

    Attributes:
        matched: Whether a crystal has a match; None where it cannot be compared.
        rows: Rows of the reference that any crystal matches.
        n_timed_out: As in ``Matches``.
        n_failed: As in ``Matches``.
    """

    matched: list[bool | None]
    rows: frozenset[int]
    n_timed_out: int = 0
    n_failed: int = 0


def unique_mask(
    crystals: Sequence[Crystal | None],
    pool: Pool,
    matcher: Matcher | None = None,
    *,
    keep: Keep = "first",
    pair_seconds: float = PAIR_SECONDS,
) -> Matches:
    """Return for each crystal whether it repeats none.

    Args:
        crystals: In their order; None where a sample failed.
        pool: Where buckets are worked through.
        matcher: ``OrderedMatcher()`` if not given.
        keep: ``first``: greedy, as MatterGen counts: the first of a group of equal crystals is
            unique, the others are compared with the unique ones before them only. ``last``: as
            LeMat-GenBench counts: unique is what no later crystal matches.
        pair_seconds: Time limit for one pair, 0 for none; see ``time_limit``.
    """
    buckets, mask = _buckets(crystals)
    shared = [members for members in buckets.values() if len(members) > 1]
    tasks = [[_present(crystals[index]) for index in members] for members in shared]
    task = partial(
        _unique_in_bucket, matcher=matcher or OrderedMatcher(), keep=keep, seconds=pair_seconds
    )
    partners: list[int | None] = [None] * len(crystals)
    n_timed_out = n_failed = 0
    for members, (found, timed_out, failed) in zip(shared, pool.map(task, tasks), strict=True):
        n_timed_out, n_failed = n_timed_out + timed_out, n_failed + failed
        for index, partner in zip(members, found, strict=True):
            mask[index] = partner is None
            partners[index] = None if partner is None else members[partner]
    return Matches(mask, partners, n_timed_out, n_failed)


def novel_mask(
    crystals: Sequence[Crystal | None],
    reference: Reference,
    pool: Pool,
    matcher: Matcher | None = None,
    *,
    pair_seconds: float = PAIR_SECONDS,
) -> Matches:
    """Return for each crystal whether no reference crystal matches it.

    Args:
        crystals: In their order; None where a sample failed.
        reference: Known crystals; partners are its rows.
        pool: Where buckets are worked through.
        matcher: ``OrderedMatcher()`` if not given.
        pair_seconds: Time limit for one pair, 0 for none; see ``time_limit``.
    """
    mask, members, tasks = _with_known(crystals, reference)
    task = partial(_known_in_bucket, matcher=matcher or OrderedMatcher(), seconds=pair_seconds)
    partners: list[int | None] = [None] * len(crystals)
    n_timed_out = n_failed = 0
    for indices, (found, timed_out, failed) in zip(members, pool.map(task, tasks), strict=True):
        n_timed_out, n_failed = n_timed_out + timed_out, n_failed + failed
        for index, row in zip(indices, found, strict=True):
            mask[index] = row is None
            partners[index] = row
    return Matches(mask, partners, n_timed_out, n_failed)


def reference_matches(
    crystals: Sequence[Crystal | None],
    reference: Reference,
    pool: Pool,
    matcher: Matcher | None = None,
    *,
    pair_seconds: float = PAIR_SECONDS,
) -> ReferenceMatches:
    """Return which crystals the reference knows, and which of its rows the crystals found.

    Args:
        crystals: In their order; None where a sample failed.
        reference: Known crystals.
        pool: Where buckets are worked through.
        matcher: ``OrderedMatcher()`` if not given.
        pair_seconds: Time limit for one pair, 0 for none; see ``time_limit``.
    """
    mask, members, tasks = _with_known(crystals, reference)
    task = partial(_covered_in_bucket, matcher=matcher or OrderedMatcher(), seconds=pair_seconds)
    matched: list[bool | None] = [None if value is None else False for value in mask]
    rows: set[int] = set()
    n_timed_out = n_failed = 0
    found = pool.map(task, tasks)
    for indices, (hits, covered, timed_out, failed) in zip(members, found, strict=True):
        n_timed_out, n_failed = n_timed_out + timed_out, n_failed + failed
        rows.update(covered)
        for index, hit in zip(indices, hits, strict=True):
            matched[index] = hit
    return ReferenceMatches(matched, frozenset(rows), n_timed_out, n_failed)


_Bucket: TypeAlias = "tuple[list[Crystal], KnownCrystals]"


def _buckets(
    crystals: Sequence[Crystal | None],
) -> tuple[dict[CompositionKey, list[int]], list[bool | None]]:
    """Return positions by formula, and a mask that is true where a crystal can be compared."""
    buckets: dict[CompositionKey, list[int]] = defaultdict(list)
    mask: list[bool | None] = [None] * len(crystals)
    for index, crystal in enumerate(crystals):
        if crystal is not None and comparable(crystal):
            buckets[composition_key(crystal)].append(index)
            mask[index] = True
    return buckets, mask


def _with_known(
    crystals: Sequence[Crystal | None], reference: Reference
) -> tuple[list[bool | None], list[list[int]], list[_Bucket]]:
    buckets, mask = _buckets(crystals)
    members, tasks = [], []
    for key, indices in buckets.items():
        known = reference.known(key)
        if known is not None:
            members.append(indices)
            tasks.append(([_present(crystals[index]) for index in indices], known))
    return mask, members, tasks


def _unique_in_bucket(
    bucket: Sequence[Crystal], matcher: Matcher, keep: Keep, seconds: float
) -> tuple[list[int | None], int, int]:
    """Return the position of each crystal's partner in the bucket, and pairs without an answer."""
    comparisons = Comparisons(matcher, seconds)
    candidates = list(enumerate(map(Candidate, bucket)))
    partners: list[int | None] = []
    unique: list[tuple[int, Candidate]] = []
    for position, candidate in candidates:
        others: Iterable[tuple[int, Candidate]] = unique
        if keep == "last":
            others = candidates[position + 1 :]
        partners.append(comparisons.first_match(candidate, others))
        if partners[-1] is None:
            unique.append((position, candidate))
    return partners, comparisons.n_timed_out, comparisons.n_failed


def _known_in_bucket(
    task: _Bucket, matcher: Matcher, seconds: float
) -> tuple[list[int | None], int, int]:
    """Return the row of the reference that each crystal matches first."""
    crystals, known = task
    comparisons = Comparisons(matcher, seconds)
    references = known.candidates()
    found = [comparisons.first_match(Candidate(crystal), references) for crystal in crystals]
    known.keep(references)
    return found, comparisons.n_timed_out, comparisons.n_failed


def _covered_in_bucket(
    task: _Bucket, matcher: Matcher, seconds: float
) -> tuple[list[bool], list[int], int, int]:
    """Return which crystals match any row, and the rows that any crystal matches."""
    crystals, known = task
    comparisons = Comparisons(matcher, seconds)
    references = known.candidates()
    hits, covered = [], set()
    for crystal in crystals:
        candidate, hit = Candidate(crystal), False
        for row, other in references:
            # A pair that could add nothing is not compared.
            if not (hit and row in covered) and comparisons.same(candidate, other):
                hit = True
                covered.add(row)
        hits.append(hit)
    known.keep(references)
    return hits, sorted(covered), comparisons.n_timed_out, comparisons.n_failed


def _present(crystal: Crystal | None) -> Crystal:
    assert crystal is not None
    return crystal
