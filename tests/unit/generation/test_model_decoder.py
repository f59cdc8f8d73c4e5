"""The cached decoder, its slow reference, and guidance."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from matgen.generation.decoder import Decoder
from matgen.generation.guidance import GuidedDecoder
from matgen.generation.model_decoder import (
    ModelDecoder,
    UncachedDecoder,
    ready_to_sample,
)
from matgen.nn.value_head import ValueScale
from matgen.testing import check_decoder
from matgen_toy.cubic import CELL
from tests.unit.generation import toy_model as toy

MODEL = toy.toy_model()
REQUESTS = toy.toy_requests()
N_TOKENS = len(MODEL.vocabulary)
MAKERS: dict[str, Callable[[], Decoder]] = {
    "cached": lambda: ModelDecoder(MODEL, max_tokens=toy.MAX_TOKENS),
    "uncached": lambda: UncachedDecoder(MODEL),
    "guided": lambda: GuidedDecoder(ModelDecoder(MODEL, max_tokens=toy.MAX_TOKENS), 2.5),
}


def same(one: Decoder, other: Decoder) -> None:
    assert one.lengths.tolist() == other.lengths.tolist()
    # float32 through one block: sums in another order differ in the last digits of numbers near 10.
    torch.testing.assert_close(one.logits(), other.logits(), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", MAKERS)
def test_a_decoder_keeps_its_books(name: str) -> None:
    check_decoder(MAKERS[name], REQUESTS, max_tokens=toy.MAX_TOKENS)


STEP = st.sampled_from(["append", "fork", "take", "replace", "rewind"])


@settings(max_examples=25, deadline=None)
@given(steps=st.lists(STEP, min_size=1, max_size=7), seed=st.integers(0, 2**16))
def test_cached_and_uncached_agree_after_any_operations(steps: list[str], seed: int) -> None:
    rng = np.random.default_rng(seed)
    both = [MAKERS["cached"](), MAKERS["uncached"]()]
    for decoder in both:
        decoder.begin(REQUESTS)
    for step in steps:
        b = both[0].rows
        if step == "append" and int(both[0].lengths.max()) + 3 <= toy.MAX_TOKENS:
            ids = torch.from_numpy(rng.integers(0, N_TOKENS, (b, 3)))
            values = torch.from_numpy(rng.uniform(2, 9, (b, 3)).astype(np.float32))
            counts = torch.from_numpy(rng.integers(0, 4, b))
            for decoder in both:
                decoder.append(ids, values, counts)
        elif step == "fork" and b <= 4:
            rows = torch.from_numpy(rng.integers(0, b, 2))
            for decoder in both:
                decoder.fork(rows, 2)
        elif step == "take":
            rows = torch.from_numpy(rng.integers(0, b, max(1, b - 1)))
            for decoder in both:
                decoder.take(rows)
        elif step == "replace":
            rows = torch.from_numpy(rng.permutation(b)[:1])
            for decoder in both:
                decoder.replace(rows, REQUESTS[1:2])
        elif step == "rewind":
            lengths = torch.from_numpy(rng.integers(0, 9, b)).minimum(both[0].lengths)
            for decoder in both:
                decoder.rewind(lengths)
        same(*both)


def test_values_are_distributed_alike_with_and_without_cache() -> None:
    ids = torch.full((3,), CELL)
    at = torch.tensor([3.0, 5.0, 8.0])
    log_probs = []
    for name in ("cached", "uncached"):
        decoder = MAKERS[name]()
        decoder.begin(REQUESTS)
        log_probs.append(decoder.value_distribution(ids).log_prob(at))
    torch.testing.assert_close(*log_probs, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("weight", [0.0, 1.0])
def test_guidance_of_weight_one_is_conditional_and_of_zero_free(weight: float) -> None:
    guided = GuidedDecoder(MAKERS["cached"](), weight)
    plain = MAKERS["cached"]()
    guided.begin(REQUESTS)
    plain.begin(REQUESTS if weight else [dataclasses.replace(r, conditions={}) for r in REQUESTS])
    ids = torch.tensor([[5, 6], [7, 8], [9, 10]])
    for decoder in (guided, plain):
        decoder.append(ids, torch.zeros(3, 2), torch.tensor([2, 1, 0]))
    same(guided, plain)
    at, cell = torch.tensor([3.0, 5.0, 8.0]), torch.full((3,), CELL)
    torch.testing.assert_close(
        guided.value_distribution(cell).log_prob(at), plain.value_distribution(cell).log_prob(at)
    )


def test_a_model_for_sampling_in_bf16_keeps_its_own_weights_and_exact_scales() -> None:
    model = toy.toy_model()
    for scale in (m for m in model.modules() if isinstance(m, ValueScale)):
        scale.centre_C.fill_(4.123456)
    copied = ready_to_sample(model, device="cpu", precision="bfloat16")
    assert {w.dtype for w in model.parameters()} == {torch.float32}
    assert {w.dtype for w in copied.parameters()} == {torch.bfloat16}
    scales = [m for m in copied.modules() if isinstance(m, ValueScale)]
    assert all(float(s.centre_C[0]) == pytest.approx(4.123456, abs=1e-6) for s in scales)
    assert ready_to_sample(model, device="cpu", precision="float32") is model


def test_bf16_logits_are_those_of_float32_to_three_digits() -> None:
    exact = MAKERS["cached"]()
    rough = ModelDecoder(MODEL, max_tokens=toy.MAX_TOKENS, precision="bfloat16")
    for decoder in (exact, rough):
        decoder.begin(REQUESTS)
    assert rough.logits().dtype == torch.float32
    # bf16 keeps 8 bits; through one block the error of logits of spread s is a few percent of s.
    off = (rough.logits() - exact.logits()).std() / exact.logits().std()
    assert float(off) < 0.05


def test_a_tree_search_forks_looks_ahead_and_comes_back() -> None:
    """Two lines of three tokens from each row are tried and undone; only one is then kept."""
    searched, straight = MAKERS["cached"](), MAKERS["uncached"]()
    searched.begin(REQUESTS)
    before = searched.logits()
    searched.fork(torch.arange(3), 2)
    lines = torch.tensor([[5, 60, 114], [6, 70, 115]]).repeat(3, 1)
    lengths = searched.lengths
    searched.append(lines, torch.zeros(6, 3))
    scores = searched.logits().logsumexp(1).view(3, 2)
    searched.rewind(lengths)
    torch.testing.assert_close(searched.logits(), before.repeat_interleave(2, 0))
    best = scores.argmax(1)
    searched.take(2 * torch.arange(3) + best)
    kept = lines[best]
    searched.append(kept, torch.zeros(3, 3))
    straight.begin(REQUESTS)
    for at in range(3):
        straight.append(kept[:, at : at + 1])
    same(searched, straight)


def test_weights_per_condition_are_the_conditional_model_where_all_are_one() -> None:
    labels = [label for request in REQUESTS for label in request.conditions]
    assert labels
    plain = MAKERS["cached"]()
    # A weight of its own that equals the rest joins its group; 1 + 1e-9 makes a group more.
    for weights, copies in (({labels[0]: 1.0}, 2), ({"": 1.0, labels[0]: 1.0 + 1e-9}, 3)):
        guided = GuidedDecoder(MAKERS["cached"](), weights)
        assert guided.copies == copies
        for decoder in (guided, plain):
            decoder.begin(REQUESTS)
            decoder.append(torch.tensor([[5, 6], [7, 8], [9, 10]]), torch.zeros(3, 2))
            decoder.take(torch.tensor([2, 0]))
        same(guided, plain)


def test_a_condition_of_weight_zero_changes_nothing() -> None:
    label = next(label for request in REQUESTS for label in request.conditions)
    guided = GuidedDecoder(MAKERS["cached"](), {"": 1.0, label: 0.0})
    plain = MAKERS["cached"]()
    guided.begin(REQUESTS)
    without = [
        dataclasses.replace(r, conditions={k: v for k, v in r.conditions.items() if k != label})
        for r in REQUESTS
    ]
    plain.begin(without)
    same(guided, plain)
