"""From a plan to samples in order."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from matgen import Draft, Tokens
from matgen.errors import BadOptions
from matgen.generation.decoder import Request
from matgen.generation.generate import Progress, SamplePlan, generate
from matgen_samplers.ancestral import Ancestral
from matgen_toy.asking import Only
from matgen_toy.plain import Plain
from tests.unit.generation.toy_model import toy_model

MODEL = toy_model()
PLAN = SamplePlan(MODEL, Ancestral(batch_size=7), n=10, seed=5)
GRID = ({}, {"n_sites": 2.0, "spacing": 3.0}, {"spacing": 2.5})


class Backwards(Plain):
    def draw(self, *arguments: Any, **named: Any) -> Iterator[Draft]:
        return reversed(list(super().draw(*arguments, **named)))


def lengths(samples: Any) -> list[float]:
    return [round(float(s.crystal.lattice[0, 0]), 4) for s in samples]


def test_samples_come_by_index_whatever_order_they_finish_in() -> None:
    for sampler in (PLAN.sampler, Backwards()):
        plan = dataclasses.replace(PLAN, sampler=sampler, grid=GRID, first_index=100)
        samples = list(generate(plan))
        assert [sample.index for sample in samples] == list(range(100, 130))
        assert [sample.requested for sample in samples] == [g for g in GRID for _ in range(10)]


def test_a_sample_depends_on_seed_and_index_and_not_on_how_many_are_drawn() -> None:
    many = list(generate(PLAN))
    later = list(generate(dataclasses.replace(PLAN, n=4, first_index=6)))
    assert lengths(many[6:]) == lengths(later)
    assert lengths(many) == lengths(generate(dataclasses.replace(PLAN, sampler=Plain())))
    assert lengths(many) != lengths(generate(dataclasses.replace(PLAN, seed=6)))


def test_achieved_values_are_those_of_the_crystal_for_every_condition() -> None:
    plan = dataclasses.replace(PLAN, grid=({"n_sites": 3.0},))
    for sample in generate(plan):
        assert sample.crystal is not None
        assert sample.achieved["n_sites"] == sample.crystal.n_sites == 3
        assert set(sample.achieved) == {"n_sites", "spacing"}


def test_an_unknown_condition_is_refused_with_the_known_ones() -> None:
    plan = dataclasses.replace(PLAN, grid=({"hhi": 1.0},))
    with pytest.raises(BadOptions, match=r"without 'hhi'; it knows n_sites, spacing"):
        generate(plan)


def test_a_prompt_that_cannot_be_written_is_refused() -> None:
    with pytest.raises(BadOptions, match="n_sites=99"):
        generate(dataclasses.replace(PLAN, grid=({"n_sites": 99.0},)))


def test_constraints_hold_and_what_cannot_be_met_is_a_sample_with_a_reason() -> None:
    plan = dataclasses.replace(PLAN, constraints=(Only(elements=("Na",)),))
    assert {int(z) for s in generate(plan) if s.crystal for z in s.crystal.numbers} == {11}
    clash = (Only(elements=("Na",)), Only(elements=("Cl",)))
    samples = list(generate(dataclasses.replace(PLAN, constraints=clash)))
    assert len(samples) == 10
    assert all(s.crystal is None and "no token was allowed" in s.error for s in samples)


def test_requests_are_made_when_they_are_drawn_and_samples_come_before_the_last_draft() -> None:
    """A billion samples asked for, three taken."""
    plan = dataclasses.replace(PLAN, n=10**9)
    samples = generate(plan)
    assert [next(samples).index for _ in range(3)] == [0, 1, 2]


def test_the_observer_hears_of_every_draft() -> None:
    heard: list[Progress] = []
    plan = dataclasses.replace(PLAN, sampler=Ancestral(batch_size=64), n=150)
    samples = list(generate(plan, observer=heard.append))
    assert [p.drafted for p in heard] == [64, 128, 150]
    assert heard[-1].asked == len(samples) == 150
    assert heard[-1].unfinished == 0


def test_a_finished_draft_that_does_not_decode_is_our_bug() -> None:
    class Liar(Plain):
        def draw(
            self, decoder: Any, grammar: Any, requests: Sequence[Request], **named: Any
        ) -> Iterator[Draft]:
            for draft in super().draw(decoder, grammar, requests, **named):
                cut = Tokens(draft.tokens.ids[:-1], draft.tokens.values)
                yield dataclasses.replace(draft, tokens=cut)

    with pytest.raises(AssertionError, match="does not decode"):
        list(generate(dataclasses.replace(PLAN, sampler=Liar())))


def test_a_sampler_that_leaves_a_sample_out_is_noticed() -> None:
    class Lazy(Plain):
        def draw(self, *arguments: Any, **named: Any) -> Iterator[Draft]:
            return (d for d in super().draw(*arguments, **named) if d.index != 4)

    with pytest.raises(AssertionError, match="left out sample 4"):
        list(generate(dataclasses.replace(PLAN, sampler=Lazy())))
