"""The Python API gives what the engine gives, and scores what it has drawn."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from matgen import Crystal, Model, ValueRange
from matgen.errors import BadFile, BadOptions, UnknownName
from matgen.generation.decoder import Request
from matgen.generation.generate import SamplePlan, generate
from matgen.generation.model_decoder import ModelDecoder, ready_to_sample, sequence_log_probs
from matgen.generation.streams import Streams
from matgen_samplers.ancestral import Ancestral

MODEL = Model.load(device="cpu")


def test_samples_are_those_of_the_engine_and_turn_into_structures_and_atoms() -> None:
    samples = MODEL.sample(6, conditions={"density": 4}, seed=3)
    plan = SamplePlan(MODEL._network, Ancestral(), grid=({"density": 4.0},), n=6, seed=3)
    for one, other in zip(samples, generate(plan), strict=True):
        assert one.log_prob == other.log_prob
        assert one.requested == {"density": 4.0}
    assert len(samples.crystals) == len(samples.to_structures()) == len(samples.to_atoms()) == 6
    first = samples.to_structures()[0]
    assert first.density == pytest.approx(float(samples[0].achieved["density"]), rel=1e-3)


def test_each_sample_of_a_range_has_a_value_of_its_own_that_its_index_decides() -> None:
    spread = {"density": ValueRange(3.0, 5.0)}
    asked = [float(s.requested["density"]) for s in MODEL.sample(40, conditions=spread)]
    assert asked == [float(s.requested["density"]) for s in MODEL.sample(40, conditions=spread)]
    assert len(set(asked)) == 40
    assert all(3.0 < value < 5.0 for value in asked)
    assert np.mean(asked) == pytest.approx(4.0, abs=4 * 2 / np.sqrt(12 * 40))


def test_samples_come_one_by_one_and_leave_the_event_loop_free() -> None:
    async def collected() -> tuple[list[int], int]:
        ticks = 0

        async def tick() -> None:
            nonlocal ticks
            while True:
                ticks += 1
                await asyncio.sleep(0)

        ticking = asyncio.create_task(tick())
        found = [s.index async for s in MODEL.stream_async(5, constraints=["n_sites=2..4"])]
        ticking.cancel()
        return found, ticks

    indices, ticks = asyncio.run(collected())
    assert indices == [0, 1, 2, 3, 4]
    assert ticks > 5


def test_a_sequence_scores_what_the_sampler_says_of_it() -> None:
    network = ready_to_sample(MODEL._network, device="cpu", precision="float32")
    representation = network.spec.representation
    requests = [Request(i, representation.prompt({}), {"density": 4.0}) for i in range(8)]
    drafts = Ancestral().draw(
        ModelDecoder(network, max_tokens=representation.max_tokens),
        representation.grammar(),
        requests,
        max_tokens=representation.max_tokens,
        streams=Streams(1),
    )
    drawn = list(drafts)
    whole = [Request(d.index, d.tokens, {"density": 4.0}) for d in drawn]
    scored = sequence_log_probs(network, whole, device="cpu")
    for draft, log_probs in zip(drawn, scored, strict=True):
        assert log_probs.sum() == pytest.approx(draft.log_prob, abs=1e-3)


def test_a_crystal_scores_the_same_in_any_cell_and_none_where_it_cannot_be_written() -> None:
    halite = Crystal(
        np.array([[0.0, 2.82, 2.82], [2.82, 0.0, 2.82], [2.82, 2.82, 0.0]]),
        np.array([[0.0, 0, 0], [0.5, 0.5, 0.5]]),
        np.array([11, 17]),
    )
    cube = halite.to_structure().to_conventional()
    scores = MODEL.log_prob([halite, cube, halite.to_atoms()])
    assert scores[0] == pytest.approx(scores[1])
    assert scores[0] == pytest.approx(scores[2])
    parts = [MODEL.log_prob([halite], kinds=[kind])[0] for kind in ("element", "coordinate")]
    rest = MODEL.log_prob([halite], kinds=["lattice", "special"])[0]
    assert sum(part or 0.0 for part in (*parts, rest)) == pytest.approx(scores[0])
    # Two sites in one place, and twelve times a lattice constant that has a token.
    overlapping = Crystal(halite.lattice, np.zeros((2, 3)), halite.numbers)
    huge = Crystal(12 * halite.lattice, halite.frac, halite.numbers)
    assert MODEL.log_prob([overlapping, huge]) == [None, None]
    asked = MODEL.log_prob([halite], conditions={"reduced_formula": "ClNa"})[0]
    assert asked is not None
    assert asked > (scores[0] or 0.0)


def test_what_cannot_be_asked_for_is_refused_in_a_sentence() -> None:
    with pytest.raises(UnknownName, match="trained without 'hardness'; it knows density"):
        MODEL.sample(1, conditions={"hardness": 3})
    with pytest.raises(BadOptions, match="no setting 'temperatur'"):
        MODEL.sample(1, sampler={"temperatur": 0.5})
    with pytest.raises(BadOptions, match="at least"):
        MODEL.sample(0)
    with pytest.raises(BadOptions, match="does not fit"):
        MODEL.sample(1, seed=2**64)
    with pytest.raises(BadOptions, match="no range"):
        MODEL.log_prob([], conditions={"density": ValueRange(3, 5)})
    with pytest.raises(BadOptions, match="kinds colour"):
        MODEL.log_prob([], kinds=["colour"])
    with pytest.raises(UnknownName, match="hardness"):
        MODEL.log_prob([], conditions={"hardness": 1.0})
    with pytest.raises(BadFile, match="no run directory"):
        Model.load("nowhere")
