"""Best of n, and samples that are begun again."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch

from matgen import Draft
from matgen.errors import BadOptions
from matgen.generation.decoder import Request
from matgen.generation.grammar import TableGrammar
from matgen.generation.model_decoder import ModelDecoder
from matgen.generation.streams import Streams
from matgen.records import Tokens
from matgen.testing import MadeUpDecoder, check_sampler
from matgen_samplers.ancestral import Ancestral
from matgen_samplers.best_of import BestOf
from tests.unit.generation.toy_model import MAX_TOKENS, REPRESENTATION, toy_model, toy_requests

MODEL = toy_model()


def drawn(sampler: Ancestral | BestOf, score: object = None) -> list[Draft]:
    drafts = sampler.draw(
        ModelDecoder(MODEL, max_tokens=MAX_TOKENS),
        REPRESENTATION.grammar(),
        [Request(i, toy_requests()[0].prompt) for i in range(12)],
        max_tokens=MAX_TOKENS,
        streams=Streams(2),
        score=score,  # type: ignore[arg-type]  # a test's own
    )
    return sorted(drafts, key=lambda draft: draft.index)


@pytest.mark.parametrize("n", [1, 3])
def test_the_contract_holds(n: int) -> None:
    check_sampler(BestOf(n=n))


def test_best_of_one_is_the_sampler_itself() -> None:
    ids = [[d.tokens.ids.tolist() for d in drawn(s)] for s in (Ancestral(), BestOf(n=1))]
    assert ids[0] == ids[1]


def test_the_best_of_n_are_the_best_of_those_drawn_alone() -> None:
    n = 4
    requests = [Request(i, toy_requests()[0].prompt) for i in range(12 * n)]
    alone = Ancestral().draw(
        ModelDecoder(MODEL, max_tokens=MAX_TOKENS),
        REPRESENTATION.grammar(),
        requests,
        max_tokens=MAX_TOKENS,
        streams=Streams(2),
    )
    by_index = {draft.index: draft.log_prob for draft in alone}
    for i, draft in enumerate(drawn(BestOf(n=n))):
        assert draft.index == i
        best = max(by_index[i * n + j] for j in range(n))
        assert draft.log_prob == pytest.approx(best, abs=1e-3)
        assert draft.attempts == n


def test_a_score_of_the_caller_decides_where_it_is_asked_for() -> None:
    def shortest(drafts: Sequence[Draft]) -> list[float]:
        return [-float(len(draft.tokens)) for draft in drafts]

    lengths = [np.mean([len(d.tokens) for d in drawn(BestOf(n=6, by="score"), shortest)])]
    lengths.append(np.mean([len(d.tokens) for d in drawn(Ancestral())]))
    assert lengths[0] < lengths[1]
    with pytest.raises(BadOptions, match="rank by log_prob or structure"):
        drawn(BestOf(by="score"))


def test_log_prob_of_kinds_adds_up() -> None:
    for draft in drawn(Ancestral()):
        assert set(draft.log_prob_of_kind) == set(REPRESENTATION.grammar().kind_names)
        # Values of continuous tokens count with the kind of their position.
        assert sum(draft.log_prob_of_kind.values()) == pytest.approx(draft.log_prob)


def with_a_dead_end() -> TableGrammar:
    """Start, then 2 or 3; 3 leads nowhere, 2 to the end."""
    following = torch.full((4, 4), -1, dtype=torch.int64)
    following[0, 0], following[1, 2], following[2, 1] = 1, 2, 3
    following[1, 3] = 1
    following = torch.cat([following, torch.full((1, 4), -1)])
    following[1, 3] = 4
    return TableGrammar(
        following,
        finished=torch.arange(5) == 3,
        kinds=torch.zeros(5, dtype=torch.int64),
        kind_names=("word",),
    )


@pytest.mark.parametrize("batch_size", [3, 40])
def test_a_sample_in_a_dead_end_begins_again_and_says_how_often(batch_size: int) -> None:
    requests = [Request(i, Tokens(np.array([0]))) for i in range(40)]

    def run(sampler: Ancestral) -> list[Draft]:
        drafts = sampler.draw(
            MadeUpDecoder(4), with_a_dead_end(), requests, max_tokens=4, streams=Streams(9)
        )
        return sorted(drafts, key=lambda draft: draft.index)

    none = run(Ancestral(retries=0, batch_size=batch_size))
    many = run(Ancestral(retries=50, batch_size=batch_size))
    assert [draft.index for draft in many] == list(range(40))
    assert 0 < sum(draft.finished for draft in none) < 40
    assert all(draft.finished for draft in many)
    for first, last in zip(none, many, strict=True):
        assert first.attempts == 1
        assert (last.attempts == 1) == first.finished
    one = run(Ancestral(retries=50, batch_size=1))
    assert [d.attempts for d in one] == [d.attempts for d in many]


def test_a_rule_that_cannot_be_met_ends_after_the_tries() -> None:
    grammar = with_a_dead_end()
    following = torch.full((5, 4), -1, dtype=torch.int64)
    following[0, 0], following[1, 3] = 1, 4
    grammar = TableGrammar(
        following,
        finished=torch.zeros(5, dtype=torch.bool),
        kinds=torch.zeros(5, dtype=torch.int64),
        kind_names=("word",),
    )
    drafts = Ancestral(retries=3).draw(
        MadeUpDecoder(4),
        grammar,
        [Request(i, Tokens(np.array([0]))) for i in range(5)],
        max_tokens=4,
        streams=Streams(9),
    )
    told = [(draft.finished, draft.attempts, draft.reason) for draft in drafts]
    assert told == [(False, 4, "no token was allowed: the constraints cannot be met from here")] * 5
