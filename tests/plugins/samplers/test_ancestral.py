"""Ancestral sampling."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from matgen import Draft
from matgen.errors import BadOptions
from matgen.generation.decoder import Request
from matgen.generation.generate import SamplePlan, generate
from matgen.generation.grammar import TableGrammar
from matgen.generation.model_decoder import ModelDecoder
from matgen.generation.streams import Streams
from matgen.records import Tokens
from matgen.testing import MadeUpDecoder, check_sampler
from matgen_samplers.ancestral import Ancestral
from matgen_samplers.shaping import pick, probabilities
from matgen_toy.plain import Plain
from tests.unit.generation.toy_model import MAX_TOKENS, REPRESENTATION, toy_model, toy_requests

MODEL = toy_model()


def drawn(sampler: Ancestral | Plain, n: int = 24) -> list[Draft]:
    requests = [
        Request(i, toy_requests()[i % 3].prompt, toy_requests()[i % 3].conditions) for i in range(n)
    ]
    drafts = sampler.draw(
        ModelDecoder(MODEL, max_tokens=MAX_TOKENS),
        REPRESENTATION.grammar(),
        requests,
        max_tokens=MAX_TOKENS,
        streams=Streams(2),
    )
    return sorted(drafts, key=lambda draft: draft.index)


@pytest.mark.parametrize(
    "sampler",
    [
        Ancestral(),
        Ancestral(batch_size=1),
        Ancestral(batch_size=4),
        Ancestral(temperature=0.5, top_k=3),
        Ancestral(top_p=0.6, min_p=0.1, batch_size=3),
    ],
    ids=str,
)
def test_the_contract_holds_for_any_settings(sampler: Ancestral) -> None:
    check_sampler(sampler)


@pytest.mark.parametrize("batch_size", [1, 3, 24])
def test_batched_and_one_at_a_time_give_the_same_drafts(batch_size: int) -> None:
    """``Plain`` shares no code with it."""
    for one, other in zip(drawn(Ancestral(batch_size=batch_size)), drawn(Plain()), strict=True):
        assert one.tokens.ids.tolist() == other.tokens.ids.tolist()
        np.testing.assert_allclose(one.tokens.values, other.tokens.values, rtol=1e-4)
        assert one.log_prob == pytest.approx(other.log_prob, abs=1e-2)
        assert one.log_mass == pytest.approx(other.log_mass, abs=1e-2)


def test_settings_change_what_is_drawn_and_not_how_it_is_scored() -> None:
    """Log-probabilities are at temperature 1 without a mask, whatever was drawn from."""
    cold = drawn(Ancestral(temperature=0.3))
    warm = drawn(Ancestral())
    assert np.mean([d.log_prob for d in cold]) > np.mean([d.log_prob for d in warm])
    decoder = ModelDecoder(MODEL, max_tokens=MAX_TOKENS)
    decoder.begin([toy_requests()[0]])
    first = int(cold[0].tokens.ids[1])
    assert float(decoder.logits().log_softmax(1)[0, first]) > cold[0].log_prob


def test_top_k_of_one_takes_the_likeliest_allowed_token() -> None:
    (draft,) = drawn(Ancestral(top_k=1), n=1)
    decoder = ModelDecoder(MODEL, max_tokens=MAX_TOKENS)
    decoder.begin([toy_requests()[0]])
    grammar = REPRESENTATION.grammar()
    state = grammar.advance(grammar.begin(1, "cpu"), torch.tensor([0]))
    for token in draft.tokens.ids[1:5]:
        best = decoder.logits().masked_fill(~grammar.allowed(state), -torch.inf).argmax(1)
        assert int(best) == token
        decoder.append(best[:, None])
        state = grammar.advance(state, best)


def test_a_temperature_of_one_kind_leaves_the_others_alone() -> None:
    frozen = drawn(Ancestral(temperature_per_kind={"coordinate": 1e-6}), n=60)
    plain = drawn(Ancestral(), n=60)
    assert [d.tokens.ids[1:3].tolist() for d in frozen] == [
        d.tokens.ids[1:3].tolist() for d in plain
    ]
    assert [d.tokens.ids.tolist() for d in frozen] != [d.tokens.ids.tolist() for d in plain]


def test_an_unknown_kind_is_refused_with_the_known_ones() -> None:
    plan = SamplePlan(MODEL, Ancestral(temperature_per_kind={"lattice": 0.5}))
    with pytest.raises(BadOptions, match=r"lattice; .* structure, count, element, coordinate"):
        list(generate(plan))


@pytest.mark.parametrize("value", [0.0, -1.0, float("inf"), float("nan")])
def test_a_temperature_of_a_kind_is_a_positive_number(value: float) -> None:
    plan = SamplePlan(MODEL, Ancestral(temperature_per_kind={"count": value}))
    with pytest.raises(BadOptions, match="above 0"):
        list(generate(plan))


@pytest.mark.parametrize(
    "wrong", [{"temperature": 0}, {"top_p": 0}, {"top_p": 1.1}, {"min_p": 2}, {"top_k": -1}]
)
def test_settings_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        Ancestral.model_validate(wrong)


def test_values_stay_in_the_bounds_of_the_grammar() -> None:
    for draft in drawn(Ancestral(), n=200):
        assert draft.finished
        assert draft.tokens.values is not None
        assert 2.0 <= draft.tokens.values[-2] <= 30.0


def test_a_prompt_outside_the_grammar_is_an_unfinished_draft() -> None:
    requests = [Request(0, Tokens(np.array([1]))), *toy_requests()[1:]]
    drafts = list(
        Ancestral().draw(
            ModelDecoder(MODEL, max_tokens=MAX_TOKENS),
            REPRESENTATION.grammar(),
            requests,
            max_tokens=MAX_TOKENS,
            streams=Streams(0),
        )
    )
    found = {draft.index: draft for draft in drafts}
    assert (found[0].finished, found[0].reason) == (False, "the grammar does not allow the prompt")
    assert found[1].finished
    assert found[2].finished


def test_single_tokens_follow_the_models_probabilities() -> None:
    """Start, one word, end: the share of each word against the softmax of the made-up model."""
    following = torch.full((4, 5), -1, dtype=torch.int64)
    following[0, 0], following[1, 2:], following[2, 1] = 1, 2, 3
    kinds = torch.zeros(4, dtype=torch.int64)
    grammar = TableGrammar(
        following, finished=torch.arange(4) == 3, kinds=kinds, kind_names=("word",)
    )
    n = 3000
    requests = [Request(i, Tokens(np.array([0]))) for i in range(n)]
    drafts = Ancestral(batch_size=500).draw(
        MadeUpDecoder(5), grammar, requests, max_tokens=4, streams=Streams(9)
    )
    shares = np.bincount([d.tokens.ids[1] for d in drafts], minlength=5)[2:] / n
    expected = MadeUpDecoder(5).logits_of([0])[2:].softmax(0).numpy()
    # Four standard errors of each share.
    assert (np.abs(shares - expected) < 4 * np.sqrt(expected * (1 - expected) / n)).all()


PLAIN = {"top_k": 0, "top_p": 1.0, "min_p": 0.0}


def shaped(logits: list[float], allowed: list[bool] | None = None, **cuts: float) -> list[float]:
    row = torch.tensor([logits])
    mask = torch.ones_like(row, dtype=torch.bool) if allowed is None else torch.tensor([allowed])
    temperature = torch.ones(1, dtype=torch.float64)
    settings = {**PLAIN, **cuts}
    found = probabilities(
        row,
        mask,
        temperature=temperature,
        top_k=int(settings["top_k"]),
        top_p=settings["top_p"],
        min_p=settings["min_p"],
    )
    return [round(float(p), 4) for p in found[0]]


LOGS = [float(np.log(p)) for p in (0.4, 0.3, 0.2, 0.1)]


def test_cuts_keep_what_their_names_say() -> None:
    assert shaped(LOGS) == [0.4, 0.3, 0.2, 0.1]
    assert shaped(LOGS, top_k=2) == [0.5714, 0.4286, 0, 0]
    assert shaped(LOGS, top_p=0.65) == [0.5714, 0.4286, 0, 0]
    assert shaped(LOGS, top_p=0.71) == [0.4444, 0.3333, 0.2222, 0]
    assert shaped(LOGS, min_p=0.45) == [0.4444, 0.3333, 0.2222, 0]
    assert shaped(LOGS, [False, True, True, False], top_p=0.5) == [0, 1, 0, 0]


@settings(max_examples=60, deadline=None)
@given(
    logits=st.lists(st.floats(-30, 30), min_size=2, max_size=12),
    uniform=st.floats(0, 1, exclude_min=True),
    data=st.data(),
)
def test_only_allowed_tokens_are_ever_picked(
    logits: list[float], uniform: float, data: st.DataObject
) -> None:
    allowed = data.draw(
        st.lists(st.booleans(), min_size=len(logits), max_size=len(logits)).filter(any)
    )
    chances = probabilities(
        torch.tensor([logits]),
        torch.tensor([allowed]),
        temperature=torch.tensor([0.7], dtype=torch.float64),
        top_k=3,
        top_p=0.9,
        min_p=0.01,
    )
    token = int(pick(chances, torch.tensor([uniform], dtype=torch.float64)))
    assert allowed[token]
    assert chances[0, token] > 0
