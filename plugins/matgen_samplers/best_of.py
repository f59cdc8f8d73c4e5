"""Best of n: several drafts for each sample, the best of which is kept."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Literal, overload

from pydantic import Field

from matgen import Draft, Sampler
from matgen.errors import BadOptions
from matgen_samplers.ancestral import Ancestral

if TYPE_CHECKING:
    from matgen import Grammar
    from matgen.generation.decoder import Decoder, Request
    from matgen.generation.streams import Streams
    from matgen.roles.sampler import Score


class BestOf(Sampler):
    """Draws n drafts for each sample with another sampler and keeps the one of highest score.

    Draft j of sample i has the random numbers of sample i · n + j. What was not finished loses to
    whatever was. ``log_prob`` stays that of the draft that is kept.
    """

    name = "best_of"

    n: int = Field(default=8, ge=1, le=4096)
    """Drafts for each sample; the cost grows with it."""
    by: Literal["log_prob", "structure", "score"] = "log_prob"
    """What ranks: ``log_prob``; ``structure``, the part of it that coordinates and lattice have,
    which compares drafts of any composition; ``score``, what the caller scores (an evaluator)."""
    sampler: Sampler = Ancestral()
    """Draws the drafts."""

    def draw(
        self,
        decoder: Decoder,
        grammar: Grammar,
        requests: Sequence[Request],
        *,
        max_tokens: int,
        streams: Streams,
        score: Score | None = None,
    ) -> Iterator[Draft]:
        """Yield the best draft of each sample as soon as its n are there.

        Raises:
            BadOptions: ranked by a score, and none given; or a language without structure.
        """
        if self.by == "score" and score is None:
            raise BadOptions(
                "best_of ranks by a score, but nobody gave one: name an evaluator's column "
                "(--rank-by EVALUATOR.COLUMN), or rank by log_prob or structure"
            )
        if self.by == "structure" and not _structure(grammar.kind_names):
            raise BadOptions(
                "this representation has no coordinate or lattice tokens to rank by; use "
                "--rank-by log_prob"
            )
        drafts = self.sampler.draw(
            decoder,
            grammar,
            _Repeated(requests, self.n),
            max_tokens=max_tokens,
            streams=streams,
            score=score,
        )
        return self._best(drafts, score)

    def _best(self, drafts: Iterator[Draft], score: Score | None) -> Iterator[Draft]:
        waiting: dict[int, list[Draft]] = {}
        for draft in drafts:
            tried = waiting.setdefault(draft.index // self.n, [])
            tried.append(draft)
            if len(tried) == self.n:
                index = draft.index // self.n
                best = self._chosen(waiting.pop(index), score)
                attempts = sum(one.attempts for one in tried)
                yield replace(best, index=index, attempts=attempts)

    def _chosen(self, drafts: Sequence[Draft], score: Score | None) -> Draft:
        finished = sorted((d for d in drafts if d.finished), key=lambda draft: draft.index)
        index = drafts[0].index // self.n
        if not finished:
            return min(drafts, key=lambda draft: draft.index)
        if self.by == "score":
            assert score is not None
            scores = list(score([replace(draft, index=index) for draft in finished]))
        elif self.by == "structure":
            scores = [_structure_log_prob(draft) for draft in finished]
        else:
            scores = [draft.log_prob for draft in finished]
        return finished[max(range(len(finished)), key=lambda place: scores[place])]


class _Repeated(Sequence["Request"]):
    """Each request n times in a row, under indices of their own."""

    def __init__(self, requests: Sequence[Request], n: int) -> None:
        self._requests = requests
        self._n = n

    def __len__(self) -> int:
        return len(self._requests) * self._n

    @overload
    def __getitem__(self, at: int) -> Request: ...
    @overload
    def __getitem__(self, at: slice) -> list[Request]: ...
    def __getitem__(self, at: int | slice) -> Request | list[Request]:
        if isinstance(at, slice):
            return [self[i] for i in range(*at.indices(len(self)))]
        place, j = divmod(at % len(self), self._n)
        request = self._requests[place]
        return replace(request, index=request.index * self._n + j)


def _structure(kinds: Sequence[str]) -> list[str]:
    return [kind for kind in kinds if kind in {"coordinate", "lattice"}]


def _structure_log_prob(draft: Draft) -> float:
    kinds = draft.log_prob_of_kind
    return sum(kinds[kind] for kind in _structure(list(kinds)))
