"""Checks of what may be written: grammars and constraints.

Axes: B rows, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from matgen.generation.grammar import Intersection, take_rows
from matgen.records import Crystal, Tokens
from matgen.testing.contract import broken
from matgen.testing.writing import decodes, sentences

if TYPE_CHECKING:
    from matgen.roles.constraint import Constraint
    from matgen.roles.representation import (
        Grammar,
        GrammarState,
        Representation,
        Vocabulary,
    )

_WALKS = 48
_CORRUPTIONS_PER_SENTENCE = 12
_UNBOUNDED = 100.0
"""Stands for an infinite bound when a value is drawn."""


def check_grammar(
    representation: Representation,
    *,
    crystals: Sequence[Crystal] | None = None,
    seed: int = 0,
) -> None:
    """Check that a representation's grammar accepts exactly what its decoder accepts.

    Random walks never end in a dead end, end within ``max_tokens`` and decode; encoded crystals
    are accepted; sequences corrupted by swaps, losses, repetitions, other tokens and other values
    are accepted if and only if they decode. States are never changed, rows do not see each other,
    finished rows allow nothing, and values have bounds.

    Raises:
        ContractBroken: a law does not hold.
    """
    rng = np.random.default_rng(seed)
    vocabulary, grammar = representation.vocabulary(), representation.grammar()
    walked, dead = random_walks(representation, grammar, vocabulary, representation.max_tokens, rng)
    if dead:
        raise broken(representation, "no walk under the grammar ends in a dead end", dead[0])
    for tokens in walked:
        if not decodes(representation, tokens):
            raise broken(
                representation,
                "every walk under the grammar decodes",
                [vocabulary.names[token] for token in tokens.ids],
            )
    encoded = sentences(representation, crystals)
    corrupted = [
        corruption
        for sentence in [*walked[:16], *encoded]
        for corruption in _corruptions(sentence, vocabulary, rng)
    ]
    tried = [*encoded, *corrupted]
    for tokens, accepted in zip(tried, accepts(grammar, vocabulary, tried), strict=True):
        if accepted != decodes(representation, tokens):
            raise broken(
                representation,
                "the grammar accepts what decode accepts and nothing else",
                f"grammar {accepted}, decode {not accepted}: "
                f"{[vocabulary.names[token] for token in tokens.ids]}, values {tokens.values}",
            )


def check_constraint(
    constraint: Constraint,
    representation: Representation,
    *,
    seed: int = 0,
) -> None:
    """Check that a constraint is a proper grammar over a representation's tokens.

    Some walk under both finishes, and every one that does decodes; states are never changed and
    rows do not see each other. A walk may end in a dead end: a constraint may notice late.

    Raises:
        ContractBroken: a law does not hold.
        BadOptions: the constraint means nothing for this representation.
    """
    vocabulary = representation.vocabulary()
    grammar = Intersection(
        representation.grammar(),
        [constraint.bind(representation)],
        continuous=vocabulary.continuous,
    )
    rng = np.random.default_rng(seed)
    walked, dead = random_walks(constraint, grammar, vocabulary, representation.max_tokens, rng)
    if not walked:
        raise broken(constraint, "some sentence meets the constraint", dead[0])
    for tokens in walked:
        if not decodes(representation, tokens):
            raise broken(constraint, "what the constraint allows still decodes")


def random_walks(
    component: object,
    grammar: Grammar,
    vocabulary: Vocabulary,
    max_tokens: int,
    rng: np.random.Generator,
) -> tuple[list[Tokens], list[str]]:
    """Return finished random walks, and why others ended; checks the state machine on the way.

    Args:
        component: Named in what is raised.
        grammar: Walked in a batch of rows.
        vocabulary: Each step draws a kind of token first, so that rare ones come up.
        max_tokens: Walks that are longer are reported.
        rng: Draws.
    """
    state = grammar.begin(_WALKS, "cpu")
    written: list[list[int]] = [[] for _ in range(_WALKS)]
    carried: list[list[float]] = [[] for _ in range(_WALKS)]
    ended = [""] * _WALKS
    kinds = np.array([sorted(set(vocabulary.kinds)).index(kind) for kind in vocabulary.kinds])
    done = np.zeros(_WALKS, dtype=bool)
    for _ in range(max_tokens + 1):
        mask = _checked_mask(component, grammar, state, rng)
        done |= grammar.finished(state).numpy()
        stuck = ~mask.any(axis=1) & ~done
        for row in map(int, stuck.nonzero()[0]):
            ended[row] = f"dead end after {[vocabulary.names[token] for token in written[row]]}"
        done |= stuck
        if done.all():
            break
        ids = np.array([_drawn(row, kinds, rng) if row.any() else 0 for row in mask])
        values = _drawn_values(component, grammar, state, ids, vocabulary, done, rng)
        for row in map(int, (~done).nonzero()[0]):
            written[row].append(int(ids[row]))
            carried[row].append(float(values[row]))
        state = _advanced(
            component, grammar, state, torch.from_numpy(ids), torch.from_numpy(values), done
        )
    for row in range(_WALKS):
        if not done[row]:
            ended[row] = f"longer than max_tokens, {max_tokens}"
    walks = [
        Tokens(
            np.array(written[row], dtype=np.int64),
            np.array(carried[row], dtype=np.float32) if vocabulary.continuous else None,
        )
        for row in range(_WALKS)
        if not ended[row]
    ]
    return walks, [reason for reason in ended if reason]


def accepts(grammar: Grammar, vocabulary: Vocabulary, sequences: Sequence[Tokens]) -> list[bool]:
    """Return for each sequence whether the grammar walks it to a whole sentence and no further."""
    lengths = torch.tensor([len(tokens) for tokens in sequences])
    longest = int(lengths.max())
    ids = torch.zeros((len(sequences), longest), dtype=torch.int64)
    values = torch.zeros((len(sequences), longest), dtype=torch.float32)
    for row, tokens in enumerate(sequences):
        ids[row, : len(tokens)] = torch.from_numpy(tokens.ids)
        if tokens.values is not None:
            values[row, : len(tokens)] = torch.from_numpy(tokens.values)
    state = grammar.begin(len(sequences), "cpu")
    good = torch.ones(len(sequences), dtype=torch.bool)
    whole = torch.zeros(len(sequences), dtype=torch.bool)
    continuous = torch.tensor(vocabulary.continuous, dtype=torch.int64)
    for at in range(longest):
        token, value, there = ids[:, at], values[:, at], lengths > at
        mask = grammar.allowed(state)
        permitted = mask.gather(1, token[:, None]).squeeze(1)
        interval = grammar.bounds(state)
        if interval is not None:
            inside = (value >= interval[0]) & (value <= interval[1])
            permitted &= inside | ~torch.isin(token, continuous)
        good &= permitted | ~there
        # A token that was not allowed leaves a row unspecified: such rows take an allowed one.
        state = grammar.advance(state, torch.where(good, token, mask.long().argmax(1)), value)
        whole = torch.where(lengths == at + 1, grammar.finished(state), whole)
    return [bool(b) for b in good & whole]


def _checked_mask(
    component: object, grammar: Grammar, state: GrammarState, rng: np.random.Generator
) -> np.ndarray[tuple[int, int], np.dtype[np.bool_]]:
    """Return the mask, having checked shapes, finished rows and independence of the rows."""
    for name, tensor in state.items():
        if tensor.shape[0] != _WALKS:
            raise broken(component, "every tensor of a state has rows first", (name, tensor.shape))
    mask = grammar.allowed(state)
    if (mask & grammar.finished(state)[:, None]).any():
        raise broken(component, "a finished row allows nothing")
    at = grammar.kinds(state)
    if ((at < 0) | (at >= len(grammar.kind_names))).any():
        raise broken(component, "kinds are indices into kind_names", at.tolist())
    order = torch.from_numpy(rng.integers(0, _WALKS, _WALKS))
    if not torch.equal(grammar.allowed(take_rows(state, order)), mask[order]):
        raise broken(component, "rows taken from a state allow what they allowed before")
    checked: np.ndarray[tuple[int, int], np.dtype[np.bool_]] = mask.numpy()
    return checked


def _advanced(
    component: object,
    grammar: Grammar,
    state: GrammarState,
    ids: Tensor,
    values: Tensor,
    done: np.ndarray[tuple[int], np.dtype[np.bool_]],
) -> GrammarState:
    """Return the state after one more token; rows that are done stay as they are."""
    kept = {name: tensor.clone() for name, tensor in state.items()}
    following = grammar.advance(state, ids, values)
    if any(not torch.equal(kept[name], tensor) for name, tensor in state.items()):
        raise broken(component, "advance leaves the state it was given unchanged")
    order = torch.arange(len(ids)).flip(0)
    flipped = grammar.advance(take_rows(state, order), ids[order], values[order])
    active = torch.from_numpy(~done)
    for name, tensor in following.items():
        if not torch.equal(flipped[name][order][active], tensor[active]):
            raise broken(component, "a row advances the same wherever it stands", name)
    return {
        name: torch.where(active.view(-1, *[1] * (tensor.dim() - 1)), tensor, state[name])
        for name, tensor in following.items()
    }


def _drawn(
    allowed: np.ndarray[tuple[int], np.dtype[np.bool_]],
    kinds: np.ndarray[tuple[int], np.dtype[np.int64]],
    rng: np.random.Generator,
) -> int:
    """Return an allowed token of a kind drawn first."""
    candidates = allowed.nonzero()[0]
    kind = rng.choice(np.unique(kinds[candidates]))
    return int(rng.choice(candidates[kinds[candidates] == kind]))


def _drawn_values(
    component: object,
    grammar: Grammar,
    state: GrammarState,
    ids: np.ndarray[tuple[int], np.dtype[np.int64]],
    vocabulary: Vocabulary,
    done: np.ndarray[tuple[int], np.dtype[np.bool_]],
    rng: np.random.Generator,
) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    """Return (B,) values within the bounds, 0 where the token carries none."""
    values = np.zeros(len(ids), dtype=np.float32)
    carries = np.isin(ids, vocabulary.continuous) & ~done
    if not carries.any():
        return values
    interval = grammar.bounds(state)
    if interval is None:
        raise broken(component, "a grammar that allows a continuous token gives its bounds")
    low, high = (bound.numpy().astype(np.float64) for bound in interval)
    if (low > high)[carries].any():
        raise broken(component, "a continuous token is allowed only where its bounds hold a value")
    low, high = np.clip(low, -_UNBOUNDED, None), np.clip(high, None, _UNBOUNDED)
    drawn = low + rng.random(len(ids)) * (high - low)
    values[carries] = np.clip(drawn, low, high)[carries]
    return values


def _corruptions(
    sentence: Tokens, vocabulary: Vocabulary, rng: np.random.Generator
) -> list[Tokens]:
    """Return near misses of a sentence."""
    ids = sentence.ids
    values = np.zeros(len(ids), dtype=np.float32) if sentence.values is None else sentence.values
    corrupted: list[Tokens] = []

    def add(places: np.ndarray[tuple[int], np.dtype[np.int64]]) -> None:
        carried = None if sentence.values is None else values[places]
        corrupted.append(Tokens(ids[places], carried))

    places = np.arange(len(ids))
    for _ in range(_CORRUPTIONS_PER_SENTENCE // 4):
        one, other = rng.integers(0, len(ids), 2)
        swapped = places.copy()
        swapped[[one, other]] = swapped[[other, one]]
        add(swapped)
        add(np.delete(places, one))
        add(np.insert(places, one, other))
        replaced = ids.copy()
        replaced[one] = rng.integers(0, len(vocabulary))
        corrupted.append(Tokens(replaced, sentence.values))
    add(places[: rng.integers(1, len(ids))])
    add(np.append(places, len(ids) - 1))
    if sentence.values is not None:
        for other_value in (np.nan, np.inf, -1e6):
            carried = values.copy()
            carried[np.isin(ids, vocabulary.continuous)] = other_value
            corrupted.append(Tokens(ids, carried))
    return corrupted
