"""Every check fails on a component that breaks a law, and says which one.

A mutant is a sound component with one thing broken.
"""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from matgen import (
    Calculation,
    Crystal,
    Draft,
    Generator,
    GeneratorSession,
    Measurement,
    Ordering,
    Outcome,
    Record,
    Relaxation,
    Sample,
    State,
    Step,
    Tokens,
    testing,
)
from matgen.errors import BadCrystal, BadOptions, CrystalError
from matgen.generation.decoder import Request
from matgen.generation.grammar import TableGrammar
from matgen.nn.language_model import Cache, Layout
from matgen.records import LabelSource
from matgen.roles.executor import Executor, Pool
from matgen.roles.hull import Hull, HullReference
from matgen.roles.relaxer import Relaxer, RelaxerSession
from matgen.roles.representation import Grammar, GrammarState, Representation
from matgen.roles.reward import Reward
from matgen.testing import ContractBroken
from matgen_samplers.ancestral import Ancestral
from matgen_toy.asking import BySpecies, NSites, Only, Spacing
from matgen_toy.cubic import CELL, Cubic
from matgen_toy.network import OneBlockNetwork
from matgen_toy.one_block import OneBlock
from matgen_toy.plain import Plain
from matgen_toy.serial import Serial
from matgen_toy.spheres import ClosePacking, Dense, Packing, Spheres, packing
from matgen_toy.textbook import Textbook


def broken(law: str, check: Callable[..., None], *arguments: Any, **named: Any) -> None:
    with pytest.raises(ContractBroken, match=law):
        check(*arguments, **named)


# Orderings


class AsTheyCome(Ordering):
    name = "as_they_come"

    def permutation(self, items: Crystal, rng: np.random.Generator) -> Any:
        return np.arange(items.n_sites)


class FirstTwice(BySpecies):
    def permutation(self, items: Crystal, rng: np.random.Generator) -> Any:
        return np.minimum(np.arange(items.n_sites), items.n_sites // 2)


class OwnDice(Ordering):
    name = "own_dice"

    def permutation(self, items: Crystal, rng: np.random.Generator) -> Any:
        return np.random.default_rng(int.from_bytes(os.urandom(4))).permutation(items.n_sites)


class InPlace(BySpecies):
    def permutation(self, items: Crystal, rng: np.random.Generator) -> Any:
        items.numbers.sort()
        return np.arange(items.n_sites)


class SaysItDraws(BySpecies):
    @property
    def stochastic(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("mutant", "law"),
    [
        (AsTheyCome(), "however the sites come"),
        (FirstTwice(), "is a permutation"),
        (OwnDice(), "same random stream"),
        (InPlace(), "leaves the crystal"),
        (SaysItDraws(), "draws from its stream"),
    ],
)
def test_check_ordering_notices(mutant: Ordering, law: str) -> None:
    broken(law, testing.check_ordering, mutant)


# Conditions


class TakesAnything(Spacing):
    def parse(self, text: str) -> float:
        try:
            return float(text)
        except ValueError:
            return 0.0


class LeaksValueError(Spacing):
    def parse(self, text: str) -> float:
        return float(text)


class LogOfZero(Spacing):
    def feature(self, value: Any) -> float:
        return -math.inf


class TwoNumbers(Spacing):
    def feature(self, value: Any) -> Any:
        return [float(value), 1.0]


class WrongWidth(Spacing):
    def encoder(self, width: int) -> nn.Module:
        return nn.Linear(1, width + 1)


class SeesItsNeighbours(Spacing):
    def encoder(self, width: int) -> nn.Module:
        class OverTheBatch(nn.Module):
            def forward(self, x: Tensor) -> Tensor:
                return (x - x.mean(0)).expand(-1, width)

        return OverTheBatch()


class OtherUnit(Spacing):
    def achieved(self, crystal: Crystal) -> float:
        return float(np.cbrt(crystal.volume / crystal.n_sites)) * 1e-10


class NeverRight(Spacing):
    def error(self, requested: Any, achieved: Any) -> float:
        return 1.0


class FitsAgain(Spacing):
    mean: float = 0.0

    def fitted(self, values: Iterable[Any]) -> Spacing:
        return FitsAgain(mean=float(np.mean(list(values))))


@pytest.mark.parametrize(
    ("mutant", "law"),
    [
        (FitsAgain(), "not fitted again"),
        (TakesAnything(), "nonsense is refused"),
        (LeaksValueError(), "BadOptions and nothing else"),
        (LogOfZero(), "finite"),
        (TwoNumbers(), "feature_size numbers"),
        (WrongWidth(), "to \\(B, width\\)"),
        (SeesItsNeighbours(), "each row by itself"),
        (OtherUnit(), "can be asked for"),
        (NeverRight(), "no error against itself"),
    ],
)
def test_check_condition_notices(mutant: Spacing, law: str) -> None:
    broken(law, testing.check_condition, mutant)


# Representations


class Swapped(Cubic):
    def decode(self, tokens: Tokens) -> Crystal:
        crystal = super().decode(tokens)
        return Crystal(crystal.lattice, crystal.frac[:, [1, 0, 2]] + 0.01, crystal.numbers)


class Reversed(Cubic):
    def decode(self, tokens: Tokens) -> Crystal:
        crystal = super().decode(tokens)
        return crystal.take(np.arange(crystal.n_sites)[::-1])


class Larger(Cubic):
    def decode(self, tokens: Tokens) -> Crystal:
        crystal = super().decode(tokens)
        return Crystal(crystal.lattice * 1.01, crystal.frac, crystal.numbers)


class Drifts(Cubic):
    def encode(self, crystal: Crystal, ordering: Ordering, rng: np.random.Generator) -> Tokens:
        tokens = super().encode(crystal, ordering, rng)
        assert tokens.values is not None
        return Tokens(
            tokens.ids, np.where(tokens.ids == CELL, tokens.values * 1.0005, 0).astype("f4")
        )


class NoEnd(Cubic):
    def encode(self, crystal: Crystal, ordering: Ordering, rng: np.random.Generator) -> Tokens:
        tokens = super().encode(crystal, ordering, rng)
        assert tokens.values is not None
        return Tokens(tokens.ids[:-1], tokens.values[:-1])


class TooLong(Cubic):
    @property
    def max_tokens(self) -> int:
        return 7


class OtherKinds(Cubic):
    def position_kinds(self, tokens: Tokens) -> Any:
        return super().position_kinds(tokens)[::-1]


class HoldsNothing(Cubic):
    max_sites: int = 0


class LosesTheLast(Cubic):
    def encode_batch(self, *args: Any) -> Any:
        return super().encode_batch(*args)[:-1]


class HoldsMoreTogether(Cubic):
    def encode_batch(self, crystals: Any, ordering: Any, rngs: Any) -> Any:
        held = super().encode_batch(crystals, ordering, rngs)
        fine = next(outcome for outcome in held if isinstance(outcome, Tokens))
        return [fine if isinstance(outcome, CrystalError) else outcome for outcome in held]


class WritesOtherwiseTogether(Cubic):
    def encode_batch(self, crystals: Any, ordering: Any, rngs: Any) -> Any:
        turned = [Crystal(c.lattice, c.frac[:, ::-1], c.numbers) for c in crystals]
        return super().encode_batch(turned, ordering, rngs)


class ReadsOtherwiseTogether(Cubic):
    def decode_batch(self, sequences: Any) -> Any:
        return [
            Crystal(2 * c.lattice, c.frac, c.numbers) if isinstance(c, Crystal) else c
            for c in super().decode_batch(sequences)
        ]


class ReadsAnythingTogether(Cubic):
    def decode_batch(self, sequences: Any) -> Any:
        read = super().decode_batch(sequences)
        return [c if isinstance(c, Crystal) else read[0] for c in read]


class OtherKindsTogether(Cubic):
    def position_kinds_batch(self, sequences: Any) -> Any:
        return 0 * super().position_kinds_batch(sequences)


class Repeats(Cubic):
    def redescribed(self, crystal: Crystal, rng: np.random.Generator) -> Crystal:
        return crystal.take(np.zeros(crystal.n_sites + 1, dtype=np.int64))


@pytest.mark.parametrize(
    ("mutant", "law"),
    [
        (Swapped(), "coordinates are within half a bin"),
        (Reversed(), "order of the permutation"),
        (Larger(), "lengths are within half a bin"),
        (Drifts(), "gives the same values"),
        (NoEnd(), "closes with end"),
        (TooLong(), "longer than max_tokens"),
        (OtherKinds(), "position_kinds"),
        (HoldsNothing(), "at least one crystal"),
        (LosesTheLast(), "one outcome per crystal"),
        (HoldsMoreTogether(), "holds what encode holds"),
        (WritesOtherwiseTogether(), "writes what encode writes"),
        (ReadsOtherwiseTogether(), "reads what decode reads"),
        (ReadsAnythingTogether(), "refuses what is cut short"),
        (OtherKindsTogether(), "kinds of a batch"),
        (Repeats(), "as long"),
    ],
)
def test_check_representation_notices(mutant: Cubic, law: str) -> None:
    broken(law, testing.check_representation, mutant)


# Grammars


def table(changes: Callable[[Tensor, dict[str, Any]], None]) -> type[Cubic]:
    """Return the cubic representation with another grammar table."""

    class Changed(Cubic):
        def grammar(self) -> Grammar:
            sound = super().grammar()
            assert isinstance(sound, TableGrammar)
            tables = dict(sound._tables)
            following = tables.pop("following").clone()
            changes(following, tables)
            return TableGrammar(following, kind_names=sound.kind_names, **tables)

    return Changed


def no_end(following: Tensor, _: dict[str, Any]) -> None:
    following[-2] = -1


def half_the_elements(following: Tensor, _: dict[str, Any]) -> None:
    following[2, Cubic().first_element + 30 :] = -1
    following[10, Cubic().first_element + 30 :] = -1
    for place in range(2, 34, 4):
        following[place, Cubic().first_element + 12 :] = -1


def end_anywhere(following: Tensor, _: dict[str, Any]) -> None:
    following[6, 1] = following.shape[0] - 1


def goes_on(following: Tensor, _: dict[str, Any]) -> None:
    following[-1, 1] = following.shape[0] - 1


def wider(_: Tensor, tables: dict[str, Any]) -> None:
    tables["bounds"] = torch.tensor([[1.0, 99.0]]).repeat(len(tables["kinds"]), 1)


def no_bounds(_: Tensor, tables: dict[str, Any]) -> None:
    del tables["bounds"]


def empty_bounds(_: Tensor, tables: dict[str, Any]) -> None:
    tables["bounds"] = tables["bounds"].flip(1)


def unknown_kind(_: Tensor, tables: dict[str, Any]) -> None:
    tables["kinds"] = tables["kinds"] + 4


@pytest.mark.parametrize(
    ("change", "law"),
    [
        (no_end, "dead end"),
        (half_the_elements, "accepts what decode accepts"),
        (end_anywhere, "walk under the grammar decodes"),
        (goes_on, "finished row allows nothing"),
        (wider, "walk under the grammar decodes"),
        (no_bounds, "gives its bounds"),
        (empty_bounds, "bounds hold a value"),
        (unknown_kind, "indices into kind_names"),
    ],
)
def test_check_grammar_notices_a_wrong_table(change: Any, law: str) -> None:
    broken(law, testing.check_grammar, table(change)())


class Wrapped(Grammar):
    """A sound grammar to break."""

    def __init__(self, sound: Grammar) -> None:
        self.sound = sound

    def begin(self, rows: int, device: str) -> GrammarState:
        return self.sound.begin(rows, device)

    def allowed(self, state: GrammarState) -> Tensor:
        return self.sound.allowed(state)

    def advance(
        self, state: GrammarState, ids: Tensor, values: Tensor | None = None
    ) -> GrammarState:
        return self.sound.advance(state, ids, values)

    def finished(self, state: GrammarState) -> Tensor:
        return self.sound.finished(state)

    def kinds(self, state: GrammarState) -> Tensor:
        return self.sound.kinds(state)

    @property
    def kind_names(self) -> tuple[str, ...]:
        return self.sound.kind_names

    def bounds(self, state: GrammarState) -> tuple[Tensor, Tensor] | None:
        return self.sound.bounds(state)


class WritesInPlace(Wrapped):
    def advance(
        self, state: GrammarState, ids: Tensor, values: Tensor | None = None
    ) -> GrammarState:
        state["state"].copy_(self.sound.advance(state, ids, values)["state"])
        return {"state": state["state"].clone()}


class RowsMatter(Wrapped):
    def allowed(self, state: GrammarState) -> Tensor:
        mask = self.sound.allowed(state).clone()
        mask[::2, Cubic().first_element :: 2] = False
        return mask


class LooksAtRowZero(Wrapped):
    def advance(
        self, state: GrammarState, ids: Tensor, values: Tensor | None = None
    ) -> GrammarState:
        following = self.sound.advance(state, ids, values)["state"]
        return {"state": torch.where(ids[0] % 2 == 0, following, state["state"])}


class StateElsewhere(Wrapped):
    def begin(self, rows: int, device: str) -> GrammarState:
        return {**self.sound.begin(rows, device), "step": torch.zeros(1)}


@pytest.mark.parametrize(
    ("wrapper", "law"),
    [
        (WritesInPlace, "unchanged"),
        (RowsMatter, "rows taken from a state"),
        (LooksAtRowZero, "advances the same"),
        (StateElsewhere, "rows first"),
    ],
)
def test_check_grammar_notices_a_wrong_state_machine(wrapper: type[Wrapped], law: str) -> None:
    class Mutant(Cubic):
        def grammar(self) -> Grammar:
            return wrapper(super().grammar())

    broken(law, testing.check_grammar, Mutant())


class LooksPastTheEnd(Cubic):
    def decode(self, tokens: Tokens) -> Crystal:
        if len(tokens) % 4:
            tokens.ids[len(tokens)]
        return super().decode(tokens)


def test_check_grammar_notices_a_decoder_that_fails_with_anything_else() -> None:
    broken("Undecodable and nothing else", testing.check_grammar, LooksPastTheEnd())


class NothingAtAll(Only):
    def bind(self, representation: Representation) -> Grammar:
        class Nothing(Wrapped):
            def allowed(self, state: GrammarState) -> Tensor:
                return torch.zeros_like(self.sound.allowed(state))

        return Nothing(super().bind(representation))


class ForgetsRows(Only):
    def bind(self, representation: Representation) -> Grammar:
        class Forgets(Wrapped):
            def begin(self, rows: int, device: str) -> GrammarState:
                return self.sound.begin(1, device)

        return Forgets(super().bind(representation))


@pytest.mark.parametrize(
    ("mutant", "law"),
    [
        (NothingAtAll(), "some sentence meets the constraint"),
        (ForgetsRows(), "rows first"),
    ],
)
def test_check_constraint_notices(mutant: Only, law: str) -> None:
    broken(law, testing.check_constraint, mutant, Cubic())


# Backbones


class Breakable(OneBlock):
    network: Any = OneBlockNetwork

    def build(self, vocabulary: Any, max_positions: int) -> Any:
        return self.network(self, vocabulary, max_positions)


class SeesTheFuture(OneBlockNetwork):
    def hidden(self, x_TD: Tensor, layout: Layout) -> Tensor:
        return super().hidden(x_TD, layout) + x_TD.mean(0)


class SeesNothing(OneBlockNetwork):
    def hidden(self, x_TD: Tensor, layout: Layout) -> Tensor:
        return super().hidden(torch.zeros_like(x_TD), layout)


class MixesRows(OneBlockNetwork):
    def hidden(self, x_TD: Tensor, layout: Layout) -> Tensor:
        h_TD = super().hidden(x_TD, layout)
        return h_TD.cumsum(0)


class ForgetsCounts(OneBlockNetwork):
    def step(self, x_BnD: Tensor, counts: Tensor | None, cache: Cache) -> Tensor:
        return super().step(x_BnD, None, cache)


class OtherPositions(OneBlockNetwork):
    def step(self, x_BnD: Tensor, counts: Tensor | None, cache: Cache) -> Tensor:
        return super().step(x_BnD + 0.1, counts, cache)


class DoubleLogits(OneBlockNetwork):
    def logits(self, h_D: Tensor) -> Tensor:
        return super().logits(h_D).double()


class NoHead(OneBlockNetwork):
    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.value_head = None


class OwnWeights(OneBlockNetwork):
    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        nn.init.normal_(
            self.out.weight,
            generator=torch.Generator().manual_seed(int.from_bytes(os.urandom(4))),
        )


class ForgetsItsOutput(OneBlockNetwork):
    @property
    def vocabulary_axes(self) -> dict[str, int]:
        return {"token.weight": 0}


class ForgetsItsSlots(OneBlockNetwork):
    @property
    def position_axes(self) -> dict[str, int]:
        return {"place.weight": 1}


@pytest.mark.parametrize(
    ("network", "law"),
    [
        (ForgetsItsOutput, "entry per token are declared"),
        (ForgetsItsSlots, "entry per position are declared"),
        (SeesTheFuture, "packed|dense|later position"),
        (SeesNothing, "has a say"),
        (MixesRows, "packed sequences"),
        (ForgetsCounts, "grow by its counts"),
        (OtherPositions, "cached steps"),
        (DoubleLogits, "float32"),
        (NoHead, "value head"),
        (OwnWeights, "torch's generator"),
    ],
)
def test_check_backbone_notices(network: type[OneBlockNetwork], law: str) -> None:
    broken(law, testing.check_backbone, Breakable(network=network))


# Decoders


class ForgetsToRewind(testing.MadeUpDecoder):
    def rewind(self, lengths: Tensor) -> None:
        pass


class ForksApart(testing.MadeUpDecoder):
    def fork(self, rows: Tensor, n: int) -> None:
        self.take(rows.repeat(n))


class AppendsEverything(testing.MadeUpDecoder):
    def append(self, ids: Tensor, values: Any = None, counts: Any = None) -> None:
        super().append(ids, values)


class ReplacesTheLast(testing.MadeUpDecoder):
    def replace(self, rows: Tensor, requests: Sequence[Request]) -> None:
        super().replace(rows + 1, requests)


class LogitsOneLate(testing.MadeUpDecoder):
    def logits(self) -> Tensor:
        calls = getattr(self, "calls", 0)
        self.calls = calls + 1
        return super().logits() + calls


@pytest.mark.parametrize(
    ("mutant", "law"),
    [
        (ForgetsToRewind, "after rewind"),
        (ForksApart, "after fork"),
        (AppendsEverything, "after append of uneven"),
        (ReplacesTheLast, "after replace"),
        (LogitsOneLate, "logits after"),
    ],
)
def test_check_decoder_notices(mutant: type[testing.MadeUpDecoder], law: str) -> None:
    requests = [Request(i, Tokens(np.arange(1 + i, dtype=np.int64))) for i in range(3)]
    testing.check_decoder(lambda: testing.MadeUpDecoder(9), requests, max_tokens=20)
    broken(law, testing.check_decoder, lambda: mutant(9), requests, max_tokens=20)


# Samplers


def draws(change: Callable[[Draft], Iterable[Draft]]) -> type[Plain]:
    class Changed(Plain):
        def draw(self, *arguments: Any, **named: Any) -> Iterator[Draft]:
            for draft in super().draw(*arguments, **named):
                yield from change(draft)

    return Changed


def with_changes(draft: Draft, **changes: Any) -> Draft:
    import dataclasses

    return dataclasses.replace(draft, **changes)


class OwnOrder(Plain):
    """Random numbers by place in the list of requests instead of by index."""

    def draw(
        self, decoder: Any, grammar: Any, requests: Sequence[Request], **named: Any
    ) -> Iterator[Draft]:
        moved = [Request(i, r.prompt, r.conditions) for i, r in enumerate(requests)]
        for draft in super().draw(decoder, grammar, moved, **named):
            yield with_changes(draft, index=requests[draft.index].index)


class Lawless(Plain):
    def draw(self, decoder: Any, grammar: Any, *arguments: Any, **named: Any) -> Iterator[Draft]:
        class Anything(Wrapped):
            def allowed(self, state: GrammarState) -> Tensor:
                return torch.ones_like(self.sound.allowed(state))

        return super().draw(decoder, Anything(grammar), *arguments, **named)


class NeverTired(Plain):
    def draw(self, *arguments: Any, max_tokens: int, **named: Any) -> Iterator[Draft]:
        return super().draw(*arguments, max_tokens=max_tokens + 5, **named)


@pytest.mark.parametrize(
    ("mutant", "law"),
    [
        (draws(lambda d: [d, d])(), "exactly one draft"),
        (draws(lambda d: [d] if d.index % 2 else [])(), "exactly one draft"),
        (draws(lambda d: [with_changes(d, log_prob=d.log_mass)])(), "log_prob"),
        (draws(lambda d: [with_changes(d, log_mass=0.0)])(), "log_mass"),
        (draws(lambda d: [with_changes(d, finished=True)])(), "is unfinished|are sentences"),
        (draws(lambda d: [with_changes(d, reason="")])(), "says why"),
        (OwnOrder(), "same alone and in a batch"),
        (Lawless(), "are sentences|log_mass"),
        (NeverTired(), "no draft is longer|cut by max_tokens"),
    ],
)
def test_check_sampler_notices(mutant: Plain, law: str) -> None:
    broken(law, testing.check_sampler, mutant)


def test_check_sampler_notices_tempered_log_probabilities() -> None:
    testing.check_sampler(Ancestral(temperature=0.5))
    hot = draws(lambda d: [with_changes(d, log_prob=d.log_prob / 0.5)])
    broken("log_prob", testing.check_sampler, hot())


# Around the model


class Unordered(Textbook):
    def records(self, split: Any, **named: Any) -> Iterator[Record]:
        records = list(super().records(split, **named))
        order = np.random.default_rng(int.from_bytes(os.urandom(4))).permutation(len(records))
        return iter([records[i] for i in order])


class OneSplit(Textbook):
    def records(self, split: Any, **named: Any) -> Iterator[Record]:
        return super().records("train", **named)


class NoUnit(Textbook):
    def records(self, split: Any, **named: Any) -> Iterator[Record]:
        for record in super().records(split, **named):
            yield Record(record.id, record.crystal, {"hardness": 9.0})


class NotANumber(NoUnit):
    @property
    def units(self) -> dict[str, str]:
        return {"hardness": "mohs"}

    def records(self, split: Any, **named: Any) -> Iterator[Record]:
        for record in Textbook.records(self, split, **named):
            yield Record(record.id, record.crystal, {"hardness": math.nan})


class SaysItHasATest(Textbook):
    @property
    def splits(self) -> tuple[Any, ...]:
        return ("train", "val", "test")


class Hard(NotANumber):
    """Sound: every value is from one of two sources, and says which."""

    @property
    def label_sources(self) -> dict[str, tuple[LabelSource, ...]]:
        return {"hardness": (LabelSource("ours"), LabelSource("theirs", "PBE"))}

    def records(self, split: Any, **named: Any) -> Iterator[Record]:
        for record in Textbook.records(self, split, **named):
            yield Record(record.id, record.crystal, {"hardness": 9.0}, {"hardness": "theirs"})


class OfNoSource(Hard):
    @property
    def label_sources(self) -> dict[str, tuple[LabelSource, ...]]:
        return {}


class OfAnotherSource(Hard):
    def records(self, split: Any, **named: Any) -> Iterator[Record]:
        for record in super().records(split, **named):
            yield Record(record.id, record.crystal, record.properties, {"hardness": "hearsay"})


class OfEitherSource(Hard):
    def records(self, split: Any, **named: Any) -> Iterator[Record]:
        for record in super().records(split, **named):
            yield Record(record.id, record.crystal, record.properties)


class Fickle(Textbook):
    def fingerprint(self) -> str:
        return os.urandom(4).hex()


@pytest.mark.parametrize(
    ("mutant", "law"),
    [
        (Unordered(), "same order"),
        (OneSplit(), "no id comes twice"),
        (NoUnit(), "has a unit"),
        (NotANumber(), "finite"),
        (Fickle(), "fingerprint"),
        (SaysItHasATest(), "can be read"),
        (OfNoSource(), "has a label source"),
        (OfAnotherSource(), "names label sources of the dataset"),
        (OfEitherSource(), "says which"),
    ],
)
def test_check_dataset_notices(mutant: Textbook, law: str) -> None:
    broken(law, testing.check_dataset, mutant)


def relaxes(change: Callable[[list[Relaxation]], Iterable[Relaxation]]) -> type[Spheres]:
    class Session(RelaxerSession):
        def relax(self, crystals: Sequence[Crystal]) -> Iterator[Relaxation]:
            yield from change(list(Spheres().open("cpu").relax(crystals)))

    class Changed(Spheres):
        def open(self, device: str) -> RelaxerSession:
            return Session()

    return Changed


def sorted_sites(results: list[Relaxation]) -> Iterator[Relaxation]:
    for result in results:
        if result.crystal is None:
            yield result
        else:
            order = np.argsort(result.crystal.numbers, kind="stable")
            yield Relaxation(result.crystal.take(order), energy=result.energy)


def raises(results: list[Relaxation]) -> Iterator[Relaxation]:
    if any(result.crystal is None for result in results):
        raise ZeroDivisionError
    return iter(results)


def mean_energy(results: list[Relaxation]) -> Iterator[Relaxation]:
    known = [r.energy for r in results if r.energy is not None]
    for result in results:
        yield Relaxation(result.crystal, energy=sum(known) / len(known), error=result.error)


@pytest.mark.parametrize(
    ("change", "law"),
    [
        (sorted_sites, "number and order"),
        (raises, "failure is a result"),
        (mean_energy, "alone as it does among others"),
        (lambda results: [r for r in results if r.crystal is not None], "one result per crystal"),
        (lambda results: [Relaxation(r.crystal, energy=r.energy) for r in results], "says why"),
        (lambda results: [Relaxation(r.crystal, error=r.error) for r in results], "finite energy"),
    ],
)
def test_check_relaxer_notices(change: Any, law: str) -> None:
    broken(law, testing.check_relaxer, relaxes(change)())


def measures(distance: Callable[[Crystal, float], float]) -> HullReference:
    class Changed(Hull):
        def distance(self, crystal: Crystal, energy: float) -> float:
            return distance(crystal, energy)

    class Reference(ClosePacking):
        def open(self, relaxer: Relaxer) -> Hull:
            return Changed()

    return Reference()


@pytest.mark.parametrize(
    ("distance", "law"),
    [
        (lambda crystal, energy: energy, "eV more per site|twice the cell"),
        (lambda crystal, energy: max(0.0, energy / crystal.n_sites), "eV more per site"),
        (lambda crystal, energy: energy / crystal.n_sites + crystal.n_sites, "twice the cell"),
        (lambda crystal, energy: math.nan, "finite"),
    ],
)
def test_check_hull_notices(distance: Any, law: str) -> None:
    broken(law, testing.check_hull, measures(distance), relaxer=Spheres())


class OnAnotherScale(ClosePacking):
    energy_scale = "other"


class LacksAll(ClosePacking):
    def lacks(self, relaxer: Relaxer) -> str:
        return f"nothing is fitted for {relaxer.name}"


class BelowItself(ClosePacking):
    def open(self, relaxer: Relaxer) -> Hull:
        class Changed(Hull):
            def distance(self, crystal: Crystal, energy: float) -> float:
                return energy / crystal.n_sites

            def own_distances(
                self, crystals: Sequence[Crystal], energies: Sequence[float]
            ) -> list[float | None]:
                return [self.distance(*pair) for pair in zip(crystals, energies, strict=True)]

        return Changed()


class FallsApart(ClosePacking):
    """Into hydrogen, whatever it was."""

    products: ClassVar[dict[str, float]] = {"H2": 1.0}

    def open(self, relaxer: Relaxer) -> Hull:
        products = self.products

        class Changed(Hull):
            def distance(self, crystal: Crystal, energy: float) -> float:
                return energy / crystal.n_sites

            def decomposition(self, crystal: Crystal) -> dict[str, float]:
                return products

        return Changed()


class OwesAtoms(FallsApart):
    products: ClassVar[dict[str, float]] = {"H2": 2.0, "He": -1.0}


@pytest.mark.parametrize(
    ("mutant", "law"),
    [
        (FallsApart, "the crystal's atoms"),
        (OwesAtoms, "positive shares"),
        (OnAnotherScale, "takes the scale"),
        (LacksAll, "lacks nothing"),
        (BelowItself, "below the hull that it joins"),
    ],
)
def test_check_hull_notices_references_that_do_not_fit(
    mutant: type[ClosePacking], law: str
) -> None:
    broken(law, testing.check_hull, mutant(), relaxer=Spheres())


class BySurvivors(Packing):
    def measure(self, cohort: Any) -> Measurement:
        found = [crystal for crystal in cohort.crystals if crystal is not None]
        rate = sum(packing(c) > 0 for c in found) / len(found) if found else 0.0
        return Measurement(asked=cohort.asked, summary={"rate": rate * 0.9}, units={"rate": ""})


class NeedsOne(Packing):
    def measure(self, cohort: Any) -> Measurement:
        return Measurement(asked=cohort.asked, summary={"first": packing(cohort.crystals[0])})


class ShortColumn(Packing):
    def measure(self, cohort: Any) -> Measurement:
        found = [c for c in cohort.crystals if c is not None]
        return Measurement(asked=cohort.asked, per_sample={"packing": [packing(c) for c in found]})


class CountsItsOwn(Packing):
    def measure(self, cohort: Any) -> Measurement:
        return Measurement(asked=sum(c is not None for c in cohort.crystals))


@pytest.mark.parametrize(
    ("mutant", "law"),
    [
        (BySurvivors(), "divides by the samples asked for"),
        (NeedsOne(), "survives any cohort"),
        (ShortColumn(), "entry per sample"),
        (CountsItsOwn(), "asked is the cohort's"),
    ],
)
def test_check_evaluator_notices(mutant: Packing, law: str) -> None:
    broken(law, testing.check_evaluator, mutant, executor=Serial())


def maps(how: Callable[..., Iterator[Any]]) -> Executor:
    class Changed(Pool):
        def map(self, task: Any, items: Any) -> Iterator[Any]:
            return how(task, items)

    class Opened(Serial):
        def open(self) -> AbstractContextManager[Pool]:
            return nullcontext(Changed())

    return Opened()


def swallow(task: Any, items: Iterable[Any]) -> Iterator[Any]:
    for item in items:
        try:
            yield task(item)
        except ValueError:
            yield None


@pytest.mark.parametrize(
    ("how", "law"),
    [
        (lambda task, items: iter(sorted(map(task, items))), "order of the items"),
        (lambda task, items: itertools.islice(map(task, items), 20), "order of the items"),
        (lambda task, items: itertools.chain(map(task, items), [0]), "no results"),
        (swallow, "reaches the caller"),
    ],
)
def test_check_executor_notices(how: Any, law: str) -> None:
    broken(law, testing.check_executor, maps(how))


def scores(score: Callable[[Sequence[Sample]], Sequence[float]]) -> Reward:
    class Changed(Dense):
        def open(self, device: str) -> Callable[[Sequence[Sample]], Sequence[float]]:
            return score

    return Changed()


def ranks(samples: Sequence[Sample]) -> list[float]:
    return [0.0 if s.crystal is None else 1.0 + i for i, s in enumerate(samples)]


@pytest.mark.parametrize(
    ("score", "law"),
    [
        (lambda samples: [1.0 for s in samples if s.crystal is not None], "one score per sample"),
        (lambda samples: [math.nan for _ in samples], "is a number"),
        (lambda samples: [0.0 if s.crystal else 1.0 for s in samples], "scores lowest"),
        (ranks, "other samples"),
    ],
)
def test_check_reward_notices(score: Any, law: str) -> None:
    broken(law, testing.check_reward, scores(score))


# Calculations


class Echo(Calculation):
    """One step, whose output is done once it says so."""

    name = "echo"
    properties = ("n_sites",)

    def advance(self, crystal: Crystal, folder: Path) -> State:
        if not (folder / "in").exists():
            (folder / "in").write_text(str(crystal.n_sites))
        out = folder / "out"
        if out.exists() and out.read_text().endswith("done"):
            return Outcome({"n_sites": float(crystal.n_sites)})
        return Step("count", folder, (), "out")


class TakesWhatIsThere(Echo):
    def advance(self, crystal: Crystal, folder: Path) -> State:
        state = super().advance(crystal, folder)
        return Outcome({"n_sites": 1.0}) if (folder / "out").exists() else state


class WritesAgain(Echo):
    def advance(self, crystal: Crystal, folder: Path) -> State:
        state = super().advance(crystal, folder)
        (folder / "in").write_text(str(crystal.n_sites))
        return state


class RunsElsewhere(Echo):
    def advance(self, crystal: Crystal, folder: Path) -> State:
        super().advance(crystal, folder.parent)
        return Step("count", folder.parent, (), "out")


class WritesNothing(Echo):
    def advance(self, crystal: Crystal, folder: Path) -> State:
        return Step("count", folder, (), "out")


class KnowsAlready(Echo):
    def advance(self, crystal: Crystal, folder: Path) -> State:
        return Outcome({"n_sites": 1.0})


class TakesNone(Echo):
    def advance(self, crystal: Crystal, folder: Path) -> State:
        raise BadCrystal("not this one")


@pytest.mark.parametrize(
    ("mutant", "law"),
    [
        (TakesWhatIsThere(), "cut off counts as none"),
        (WritesAgain(), "writes nothing"),
        (RunsElsewhere(), "folder of its crystal"),
        (WritesNothing(), "input of a step is written"),
        (KnowsAlready(), "before anything ran"),
        (TakesNone(), "can be calculated"),
    ],
)
def test_check_calculation_notices(mutant: Calculation, law: str, tmp_path: Path) -> None:
    broken(law, testing.check_calculation, mutant, testing.crystals()[:3], tmp_path)


def test_check_calculation_passes_a_sound_one(tmp_path: Path) -> None:
    testing.check_calculation(Echo(), testing.crystals()[:3], tmp_path)


# Generators


class Shuffled(Generator):
    """Known crystals, as they are."""

    name = "shuffled"

    def open(self, known: Sequence[Record]) -> GeneratorSession:
        return Deals(known)


class Deals(GeneratorSession):
    def __init__(self, known: Sequence[Record]) -> None:
        self.known = known
        self.n_drawn = 0

    def draw(self, rng: np.random.Generator) -> Crystal:
        self.n_drawn += 1
        return self.known[rng.integers(len(self.known))].crystal


def deals(draw: Callable[[Deals, np.random.Generator], Crystal]) -> Generator:
    class Session(Deals):
        def draw(self, rng: np.random.Generator) -> Crystal:
            return draw(self, rng)

    class Changed(Shuffled):
        def open(self, known: Sequence[Record]) -> GeneratorSession:
            return Session(known)

    return Changed()


def in_turn(session: Deals, rng: np.random.Generator) -> Crystal:
    session.n_drawn += 1
    return session.known[session.n_drawn % len(session.known)].crystal


def charged(session: Deals, rng: np.random.Generator) -> Crystal:
    crystal = Deals.draw(session, rng)
    return crystal.with_oxidation(np.ones(crystal.n_sites, dtype=np.int64))


def burst(session: Deals, rng: np.random.Generator) -> Crystal:
    crystal = Deals.draw(session, rng)
    return Crystal(crystal.lattice * np.nan, crystal.frac, crystal.numbers)


def never(session: Deals, rng: np.random.Generator) -> Crystal:
    raise BadCrystal("no luck")


def gives_up(session: Deals, rng: np.random.Generator) -> Crystal:
    raise BadOptions("no luck")


def overwrites(session: Deals, rng: np.random.Generator) -> Crystal:
    crystal = Deals.draw(session, rng)
    session.known[0].crystal.numbers[:] = 1
    return Crystal(crystal.lattice, crystal.frac, np.full(crystal.n_sites, 9))


KNOWN = list(Textbook().records("train"))


@pytest.mark.parametrize(
    ("draw", "law"),
    [
        (in_turn, "its random numbers alone"),
        (lambda session, rng: session.known[0].crystal, "other random numbers"),
        (charged, "add up to 0"),
        (burst, "is finite"),
        (never, "some draws give"),
        (gives_up, "raises CrystalError"),
        (overwrites, "left as they are"),
    ],
)
def test_check_generator_notices(draw: Any, law: str) -> None:
    known = [Record(r.id, r.crystal.take(np.arange(r.crystal.n_sites))) for r in KNOWN]
    broken(law, testing.check_generator, deals(draw), known)


def test_the_sound_toy_components_pass_where_their_mutants_fail() -> None:
    testing.check_ordering(BySpecies())
    testing.check_condition(NSites())
    testing.check_representation(Cubic())
    testing.check_grammar(Cubic())
    testing.check_constraint(Only(), Cubic())
    testing.check_backbone(OneBlock())
    testing.check_sampler(Plain())
    testing.check_dataset(Textbook())
    testing.check_dataset(Hard())
    testing.check_relaxer(Spheres())
    testing.check_hull(ClosePacking(), relaxer=Spheres())
    testing.check_evaluator(Packing(), executor=Serial())
    testing.check_executor(Serial())
    testing.check_generator(Shuffled(), KNOWN)
    testing.check_reward(Dense())
