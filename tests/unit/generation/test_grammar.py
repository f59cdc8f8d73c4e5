"""Intersections, and plain Python grammars lifted to batches."""

from __future__ import annotations

from collections.abc import Collection, Hashable
from typing import Any

import pytest
import torch
from torch import Tensor

from matgen.generation.grammar import (
    Intersection,
    RowGrammar,
    TableGrammar,
    put_rows,
    take_rows,
)
from matgen.roles.representation import Grammar
from matgen.testing import accepts, check_grammar
from matgen_toy.asking import Only
from matgen_toy.cubic import CELL, COORDINATE, COUNT, ELEMENT, KIND_NAMES, LENGTH, STRUCTURE, Cubic

CUBIC = Cubic(max_sites=3)
VOCABULARY = CUBIC.vocabulary()


class CubicRows(RowGrammar):
    """The cubic language again, one row at a time; written without the table."""

    kind_names = KIND_NAMES

    def start(self) -> Hashable:
        return ("start",)

    def allowed(self, state: Any) -> Collection[int]:
        match state:
            case ("start",):
                return [0]
            case ("count",):
                return range(3, 3 + CUBIC.max_sites)
            case ("site", _, 0):
                return range(CUBIC.first_element, CUBIC.first_point)
            case ("site", _, _):
                return range(CUBIC.first_point, len(VOCABULARY))
            case ("length",):
                return [CELL]
            case ("end",):
                return [1]
        return []

    def advance(self, state: Any, token: int, value: float) -> Hashable:
        match state:
            case ("start",):
                return ("count",)
            case ("count",):
                return ("site", token - 2, 0)
            case ("site", 1, 3):
                return ("length",)
            case ("site", left, 3):
                return ("site", left - 1, 0)
            case ("site", left, place):
                return ("site", left, place + 1)
            case ("length",):
                return ("end",)
        return ("done",)

    def finished(self, state: Any) -> bool:
        return bool(state == ("done",))

    def kind(self, state: Any) -> int:
        if state[0] == "site":
            return COORDINATE if state[2] else ELEMENT
        return {"count": COUNT, "length": LENGTH}.get(state[0], STRUCTURE)

    def interval(self, state: Any) -> tuple[float, float]:
        return 2.0, 30.0


class LiftedCubic(Cubic):
    max_sites: int = 3

    def grammar(self) -> Grammar:
        return CubicRows().lifted(len(VOCABULARY))


def walk(grammar: Grammar, rows: int, columns: list[list[int]]) -> list[dict[str, Tensor]]:
    """Return the states before each column of tokens and after the last."""
    states = [grammar.begin(rows, "cpu")]
    for column in columns:
        states.append(grammar.advance(states[-1], torch.tensor(column), torch.full((rows,), 4.0)))
    return states


def test_a_lifted_grammar_keeps_all_laws() -> None:
    check_grammar(LiftedCubic())


def test_a_lifted_grammar_and_the_table_are_one_language() -> None:
    table, lifted = CUBIC.grammar(), CubicRows().lifted(len(VOCABULARY))
    element, point = CUBIC.first_element, CUBIC.first_point
    columns = [[0, 0], [3, 4], *([[element, element]] + [[point, point]] * 3), [CELL, element]]
    for one, other in zip(walk(table, 2, columns), walk(lifted, 2, columns), strict=True):
        assert torch.equal(table.allowed(one), lifted.allowed(other))
        assert torch.equal(table.kinds(one), lifted.kinds(other))
        assert torch.equal(table.finished(one), lifted.finished(other))


def test_rows_of_a_lifted_grammar_are_taken_forked_and_scattered_by_indexing() -> None:
    grammar = CubicRows().lifted(len(VOCABULARY))
    state = walk(grammar, 3, [[0, 0, 0], [3, 4, 5]])[-1]
    state = grammar.advance(state, torch.tensor([CUBIC.first_element] * 3))
    forked = take_rows(state, torch.tensor([2, 2, 0]))
    fresh = put_rows(forked, torch.tensor([1]), grammar.begin(1, "cpu"))
    masks = grammar.allowed(fresh)
    assert torch.equal(masks[0], grammar.allowed(state)[2])
    assert masks[1].nonzero().flatten().tolist() == [0]
    assert torch.equal(masks[2], grammar.allowed(state)[0])


def test_a_lifted_row_that_takes_what_is_not_allowed_allows_nothing_more() -> None:
    grammar = CubicRows().lifted(len(VOCABULARY))
    state = grammar.advance(grammar.begin(2, "cpu"), torch.tensor([0, 1]))
    assert grammar.allowed(state).any(1).tolist() == [True, False]
    assert grammar.finished(state).tolist() == [False, False]


def test_a_lifted_grammar_holds_each_distinct_state_once() -> None:
    grammar = CubicRows().lifted(len(VOCABULARY))
    for _ in range(5):
        walk(grammar, 4, [[0] * 4, [3, 4, 5, 3]])
    assert len(grammar._states) == 2 + 3  # type: ignore[attr-defined]  # start, count, three sites


def test_an_intersection_allows_what_every_part_allows_and_finishes_with_the_language() -> None:
    only = Only(elements=("Na",)).bind(CUBIC)
    both = Intersection(CUBIC.grammar(), [only], continuous=VOCABULARY.continuous)
    sodium, point = VOCABULARY.ids["Na"], CUBIC.first_point
    columns = [[0], [3], [sodium], [point], [point], [point], [CELL], [1]]
    states = walk(both, 1, columns)
    assert both.allowed(states[2])[0].nonzero().flatten().tolist() == [sodium]
    assert [bool(both.finished(state)) for state in states] == [False] * 8 + [True]
    assert not both.allowed(states[-1]).any()
    assert both.kind_names == KIND_NAMES
    assert int(both.kinds(states[2])) == ELEMENT


def test_two_constraints_of_one_class_keep_their_states_apart() -> None:
    language = CUBIC.grammar()
    parts = [CubicRows().lifted(len(VOCABULARY)), language]
    both = Intersection(language, parts, continuous=VOCABULARY.continuous)
    states = walk(both, 1, [[0], [3]])
    assert len(states[0]) == 3
    assert torch.equal(
        both.allowed(states[-1]), language.allowed(walk(language, 1, [[0], [3]])[-1])
    )


def bounded(low: float, high: float) -> Grammar:
    """A constraint of one state that allows every token and bounds the values."""
    return TableGrammar(
        torch.zeros((1, len(VOCABULARY)), dtype=torch.int64),
        finished=torch.zeros(1, dtype=torch.bool),
        kinds=torch.zeros(1, dtype=torch.int64),
        kind_names=("any",),
        bounds=torch.tensor([[low, high]]),
    )


@pytest.mark.parametrize(
    ("low", "high", "expected"), [(1.0, 5.0, (2.0, 5.0)), (4.0, 99.0, (4.0, 30.0))]
)
def test_bounds_are_intersected(low: float, high: float, expected: tuple[float, float]) -> None:
    both = Intersection(CUBIC.grammar(), [bounded(low, high)], continuous=VOCABULARY.continuous)
    bounds = both.bounds(both.begin(1, "cpu"))
    assert bounds is not None
    assert (float(bounds[0]), float(bounds[1])) == expected


def test_a_continuous_token_without_possible_values_is_not_allowed() -> None:
    both = Intersection(CUBIC.grammar(), [bounded(50, 60)], continuous=VOCABULARY.continuous)
    element, point = CUBIC.first_element, CUBIC.first_point
    state = walk(both, 1, [[0], [3], [element], [point], [point], [point]])[-1]
    assert CUBIC.grammar().allowed({"state": state["0.state"]})[0, CELL]
    assert not both.allowed(state).any()


def test_acceptance_looks_at_values_too() -> None:
    import numpy as np

    from matgen.records import Tokens

    element, point = CUBIC.first_element, CUBIC.first_point
    ids = np.array([0, 3, element, point, point, point, CELL, 1])
    found = [
        accepts(CUBIC.grammar(), VOCABULARY, [Tokens(ids, np.full(8, v, dtype=np.float32))])[0]
        for v in (1.9, 2.0, 30.0, 30.1, np.nan)
    ]
    assert found == [False, True, True, False, False]
