"""The check of samplers, on a decoder that needs no network.

Axes: B rows, n tokens appended at once, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import numpy as np
import torch
from torch import Tensor

from matgen.generation.decoder import Decoder, Request
from matgen.generation.grammar import TableGrammar
from matgen.generation.streams import Streams
from matgen.records import Draft, Tokens
from matgen.roles.representation import Vocabulary
from matgen.testing.contract import broken
from matgen.testing.language import accepts

if TYPE_CHECKING:
    from matgen.nn.value_head import ValueDistribution
    from matgen.roles.sampler import Sampler

_N_WORDS: Final = 6
"""Words of the language of the check, which come in pairs."""
_MAX_TOKENS: Final = 14


def check_sampler(sampler: Sampler) -> None:
    """Check a sampler on a small language, a made-up model and requests with different prompts.

    Every request gets exactly one draft that starts with its prompt; finished drafts are sentences
    and the others say why they are not; nothing is longer than ``max_tokens``; a sample is the same
    alone, in a batch and every time; ``log_prob`` is the undistorted model's and ``log_mass`` its
    mass on what was allowed.

    Raises:
        ContractBroken: a law does not hold.
    """
    grammar, vocabulary = _language()
    requests = [
        Request(index, Tokens(np.array([0, 2 + index % 2][: 1 + index % 3], dtype=np.int64)))
        for index in (3, 0, 11, 7, 4, 25, 16, 8, 9)
    ]
    drafts = _drawn(sampler, grammar, requests)
    for draft, accepted in zip(
        drafts, accepts(grammar, vocabulary, [draft.tokens for draft in drafts]), strict=True
    ):
        _check_draft(sampler, grammar, draft)
        if accepted != draft.finished:
            raise broken(
                sampler, "finished drafts, and no others, are sentences", draft.tokens.ids.tolist()
            )
    for request, draft in zip(requests, drafts, strict=True):
        if not np.array_equal(draft.tokens.ids[: len(request.prompt)], request.prompt.ids):
            raise broken(sampler, "a draft starts with its prompt", draft.tokens.ids.tolist())
        (alone,) = _drawn(sampler, grammar, [request])
        _check_same(sampler, "a sample is the same alone and in a batch", alone, draft)
    for one, other in zip(_drawn(sampler, grammar, requests[::-1])[::-1], drafts, strict=True):
        _check_same(sampler, "a sample does not depend on the order of requests", one, other)
    if _drawn(sampler, grammar, []):
        raise broken(sampler, "no requests give no drafts")
    for draft in _drawn(sampler, grammar, requests, max_tokens=3):
        if len(draft.tokens) > 3:
            raise broken(sampler, "no draft is longer than max_tokens", len(draft.tokens))
        if draft.finished or not draft.reason:
            raise broken(sampler, "a draft cut by max_tokens is unfinished and says why")
    for draft in _drawn(
        sampler, _dead_end(), [replace(r, prompt=requests[1].prompt) for r in requests]
    ):
        if draft.finished or not draft.reason:
            raise broken(sampler, "a draft that ran into a dead end is unfinished and says why")


class MadeUpDecoder(Decoder):
    """A decoder without a network: its logits are a fixed function of a row's tokens."""

    def __init__(self, n_tokens: int) -> None:
        """Take the size of the vocabulary."""
        self._n_tokens = n_tokens

    @property
    def rows(self) -> int:
        """B, the number of rows."""
        return len(self._rows)

    @property
    def lengths(self) -> Tensor:
        """(B,) int64 tokens in each row."""
        return torch.tensor([len(row) for row in self._rows], dtype=torch.int64)

    @property
    def device(self) -> str:
        """The CPU."""
        return "cpu"

    def begin(self, requests: Sequence[Request]) -> None:
        """Start afresh with one row per request."""
        self._rows = [request.prompt.ids.tolist() for request in requests]

    def replace(self, rows: Tensor, requests: Sequence[Request]) -> None:
        """Start other requests in these rows."""
        for row, request in zip(rows.tolist(), requests, strict=True):
            self._rows[row] = request.prompt.ids.tolist()

    def logits(self) -> Tensor:
        """Return (B, V) float32, spread by about 2."""
        return torch.stack([self.logits_of(row) for row in self._rows])

    def logits_of(self, ids: Sequence[int]) -> Tensor:
        """Return (V,) float32 logits after these tokens."""
        draws = torch.arange(self._n_tokens)
        key = torch.tensor([sum((31**k) % 1009 * (token + 1) for k, token in enumerate(ids))])
        return (6 * Streams(5).uniform(key.expand(self._n_tokens), draws) - 3).float()

    def value_distribution(self, ids: Tensor) -> ValueDistribution:
        """Refuse: this model has no continuous tokens."""
        raise AssertionError(f"no token of {ids.tolist()} carries a value")

    def append(
        self, ids: Tensor, values: Tensor | None = None, counts: Tensor | None = None
    ) -> None:
        """Add tokens to every row."""
        del values
        taken = [ids.shape[1]] * self.rows if counts is None else counts.tolist()
        for row, n in enumerate(taken):
            self._rows[row] = [*self._rows[row], *ids[row, :n].tolist()]

    def take(self, rows: Tensor) -> None:
        """Keep only these rows, in this order."""
        self._rows = [self._rows[row] for row in rows.tolist()]

    def fork(self, rows: Tensor, n: int) -> None:
        """Become ``n`` copies of each of these rows."""
        self.take(rows.repeat_interleave(n))

    def rewind(self, lengths: Tensor) -> None:
        """Cut each row back."""
        cuts = lengths.clamp(min=1).tolist()
        self._rows = [row[:length] for row, length in zip(self._rows, cuts, strict=True)]


def _language() -> tuple[TableGrammar, Vocabulary]:
    """Return the language: start, up to six pairs of equal-parity words, end."""
    n_tokens = 2 + _N_WORDS
    n_pairs = (_MAX_TOKENS - 2) // 2
    done = 1 + 3 * n_pairs + 1
    following = torch.full((done + 1, n_tokens), -1, dtype=torch.int64)
    following[0, 0] = 1
    for pair in range(n_pairs):
        here = 1 + 3 * pair
        for word in range(2, n_tokens):
            following[here, word] = here + 1 + word % 2
            following[here + 1 + word % 2, word] = here + 3
        if pair:
            following[here, 1] = done
    following[1 + 3 * n_pairs, 1] = done
    grammar = TableGrammar(
        following,
        finished=torch.arange(done + 1) == done,
        kinds=torch.zeros(done + 1, dtype=torch.int64),
        kind_names=("word",),
    )
    names = ("<start>", "<end>", *(f"w{k}" for k in range(_N_WORDS)))
    return grammar, Vocabulary(names, ("word",) * n_tokens, start=0, end=1)


def _dead_end() -> TableGrammar:
    """Return a language without sentences: start, three words, nothing."""
    following = torch.full((5, 2 + _N_WORDS), -1, dtype=torch.int64)
    following[0, 0] = 1
    for place in range(1, 4):
        following[place, 2:] = place + 1
    nothing = torch.zeros(5, dtype=torch.int64)
    return TableGrammar(following, finished=nothing > 0, kinds=nothing, kind_names=("word",))


def _drawn(
    sampler: Sampler,
    grammar: TableGrammar,
    requests: Sequence[Request],
    *,
    max_tokens: int = _MAX_TOKENS,
) -> list[Draft]:
    """Return the drafts of the requests, in their order."""
    drafts = list(
        sampler.draw(
            MadeUpDecoder(2 + _N_WORDS),
            grammar,
            requests,
            max_tokens=max_tokens,
            streams=Streams(17),
            score=lambda given: [float(len(draft.tokens)) for draft in given],
        )
    )
    found = {draft.index: draft for draft in drafts}
    wanted = [request.index for request in requests]
    if len(drafts) != len(requests) or set(found) != set(wanted):
        raise broken(
            sampler,
            "every request gets exactly one draft",
            f"{sorted(draft.index for draft in drafts)} for {sorted(wanted)}",
        )
    return [found[index] for index in wanted]


def _check_draft(sampler: Sampler, grammar: TableGrammar, draft: Draft) -> None:
    """Recompute both log-probabilities of a finished draft without prompt, token by token."""
    if not draft.finished:
        if not draft.reason:
            raise broken(sampler, "an unfinished draft says why")
        return
    n_prompt = min(1 + draft.index % 3, 2)
    model, state = MadeUpDecoder(2 + _N_WORDS), grammar.begin(1, "cpu")
    log_prob = log_mass = 0.0
    ids = draft.tokens.ids.tolist()
    for at, token in enumerate(ids):
        if at >= n_prompt:
            raw = model.logits_of(ids[:at]).double().log_softmax(0)
            log_prob += float(raw[token])
            log_mass += float(raw[grammar.allowed(state)[0]].logsumexp(0))
        state = grammar.advance(state, torch.tensor([token]))
    for name, given, right in (
        ("log_prob", draft.log_prob, log_prob),
        ("log_mass", draft.log_mass, log_mass),
    ):
        if not abs(given - right) < 1e-3:
            raise broken(
                sampler, f"{name} is that of the undistorted model", f"{given:g} for {right:g}"
            )


def _check_same(sampler: Sampler, law: str, one: Draft, other: Draft) -> None:
    if not np.array_equal(one.tokens.ids, other.tokens.ids):
        raise broken(sampler, law, f"{one.tokens.ids.tolist()} and {other.tokens.ids.tolist()}")
