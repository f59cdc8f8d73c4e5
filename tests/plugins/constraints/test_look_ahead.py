"""The masks of the rules against every crystal of small vocabularies written down."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from contextlib import nullcontext
from functools import partial
from typing import get_args
from unittest.mock import patch

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from matgen.elements import symbols
from matgen.errors import BadOptions
from matgen.roles.ordering import ElementOrder
from matgen_constraints import small_system
from matgen_constraints.binding import bound
from matgen_constraints.charge_neutral import ChargeNeutral
from matgen_constraints.element_sets import ChemicalSystem, Elements, Exclude
from matgen_constraints.formulas import Contains, Formula
from matgen_constraints.ordered_charges import OrderedCharges
from matgen_constraints.ranges import NElements, NSites
from matgen_constraints.rule import CompositionRule
from matgen_constraints.unseen import Unseen
from tests.plugins.constraints import brute_force as brute
from tests.plugins.constraints.brute_force import Atoms, Law, ListedFormulas, Species

NUMBERS = (3, 8, 17, 26)
Asked = tuple[CompositionRule, Law]

EXACT = [
    ("formula",),
    ("formula", "charge_neutral"),
    ("formula", "charge_neutral", "n_sites"),
    ("formula", "contains", "exclude", "n_elements", "unseen", "charge_neutral"),
    ("chemical_system",),
    ("chemical_system", "charge_neutral"),
    ("chemical_system", "contains", "n_sites", "charge_neutral"),
    ("n_elements", "n_sites"),
    ("contains", "n_sites"),
    ("contains", "charge_neutral"),
    ("contains", "n_sites", "charge_neutral"),
    ("contains", "elements", "exclude", "n_elements", "n_sites"),
    ("elements", "charge_neutral"),
    ("charge_neutral",),
    ("charge_neutral", "n_sites"),
    ("unseen",),
    ("unseen", "elements"),
    ("unseen", "chemical_system", "charge_neutral"),
    ("unseen", "charge_neutral", "n_sites"),
    ("n_elements", "charge_neutral"),
    ("unseen", "n_elements", "contains", "charge_neutral", "exclude"),
]
OPTIMISTIC = [names for names in EXACT if {"unseen", "charge_neutral"} & {*names}]
"""With too many elements for every composition to be looked at beforehand."""
MANY_ELEMENTS = partial(patch.object, small_system, "LARGEST_PLACES", 0)
TABLE_TOO_LARGE = partial(patch.object, OrderedCharges, "fits", return_value=False)
ORDERS = st.sampled_from(get_args(ElementOrder))
IN_ORDER = st.sampled_from(["heaviest_first", "lightest_first"])
EXAMPLES = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@st.composite
def vocabularies(draw: st.DrawFn, *, least: int = 1) -> tuple[list[Species], int]:
    """Return species of one to four elements, at most seven, and the largest number of sites."""
    n_elements = draw(st.integers(least, len(NUMBERS)))
    states = st.sets(st.integers(-3, 3), min_size=1, max_size=3 if n_elements < 3 else 2)
    species = [(z, state) for z in NUMBERS[:n_elements] for state in sorted(draw(states))]
    return species[:7], draw(st.integers(1, 5))


def around(draw: st.DrawFn, middle: int, most: int) -> tuple[int, int]:
    """Return a range that holds a number; any range where that is 0."""
    least = draw(st.integers(1, middle or most))
    return least, draw(st.integers(max(least, middle), most))


@st.composite
def rules(
    draw: st.DrawFn, name: str, numbers: Sequence[int], max_sites: int, meant: Atoms
) -> Asked:
    """Return a rule and the law that it should keep.

    Args:
        meant: A crystal that obeys the rule, so that several drawn one by one can be met together;
            where it is empty, any rule comes.
    """
    counted = brute.counts(meant)
    absent = [z for z in numbers if z not in counted]
    match name:
        case "formula" | "contains":
            atoms = draw(
                st.dictionaries(
                    st.sampled_from(numbers), st.integers(1, 2), min_size=1, max_size=max_sites
                )
            )
            if meant and name == "formula":
                atoms = brute.reduced(counted)
            elif meant:
                atoms = {z: draw(st.integers(1, n)) for z, n in counted.items()}
                atoms.pop(draw(st.sampled_from([0, *atoms][: len(atoms)])), None)
            text = "".join(f"{symbols[z]}{n}" for z, n in atoms.items())
            if name == "formula":
                return Formula.parse(text), brute.has_formula(atoms)
            return Contains.parse(text), brute.has_at_least(atoms)
        case "elements":
            chosen = draw(st.sets(st.sampled_from(numbers), min_size=1)) | set(counted)
            return Elements.parse(",".join(symbols[z] for z in chosen)), brute.has_only(chosen)
        case "exclude":
            chosen = {draw(st.sampled_from([*(absent if meant else numbers), 92]))}
            return Exclude.parse(",".join(symbols[z] for z in chosen)), brute.has_none(chosen)
        case "chemical_system":
            chosen = set(counted) or draw(st.sets(st.sampled_from(numbers), min_size=1))
            text = "-".join(symbols[z] for z in chosen)
            return ChemicalSystem.parse(text), brute.has_exactly(chosen)
        case "n_sites":
            least, greatest = around(draw, len(meant), max_sites + 1)
            return NSites.parse(f"{least}..{greatest}"), brute.has_sites(least, greatest)
        case "n_elements":
            least, greatest = around(draw, len(counted), len(numbers))
            return NElements.parse(f"{least}..{greatest}"), brute.has_n_elements(least, greatest)
        case "charge_neutral":
            strict = draw(st.booleans()) and (not meant or any(state for _, state in meant))
            rule = ChargeNeutral.parse("strict" if strict else "")
            return rule, brute.is_neutral(all_zero=not strict)
    known = draw(st.lists(st.lists(st.sampled_from(numbers), min_size=1, max_size=3), max_size=2))
    unlike = [
        tuple(crystal)
        for crystal in known
        if not meant or brute.reduced(Counter(crystal)) != brute.reduced(counted)
    ]
    return Unseen(dataset=ListedFormulas(crystals=tuple(unlike))), brute.is_unlike(unlike)


def masks(
    asked: Sequence[CompositionRule],
    species: list[Species],
    max_sites: int,
    parts: list[Atoms],
    order: ElementOrder = "none",
) -> list[set[int]]:
    """Return the tokens that the rules allow after each part, written in an order.

    Tokens without meaning are mixed in; they must be allowed always and change nothing.
    """
    grammar = bound(asked, brute.tokens_of(species, max_sites), order)
    shuffled = random.Random(0)
    ids = np.zeros((len(parts), max_sites), dtype=np.int64)
    for row, part in enumerate(parts):
        written = shuffled.sample(part, len(part))
        written.sort(key=partial(brute.rank, order=order))
        places = sorted(shuffled.sample(range(max_sites), len(part)))
        ids[row, places] = [1 + species.index(one) for one in written]
    state = grammar.begin(len(parts), "cpu")
    for column in torch.from_numpy(ids).T:
        state = grammar.advance(state, column)
    found = [set(np.flatnonzero(row).tolist()) for row in grammar.allowed(state).numpy()]
    meaningless = {0, len(species) + 2}
    assert all(tokens >= meaningless for tokens in found)
    return [tokens - meaningless for tokens in found]


def drawn(
    data: st.DataObject, names: Sequence[str], *, least_elements: int = 1
) -> tuple[list[CompositionRule], list[Species], int, set[Atoms]]:
    """Return rules, vocabulary, largest number of sites, and the crystals that obey."""
    species, max_sites = data.draw(vocabularies(least=least_elements))
    numbers = sorted({number for number, _ in species})
    meant: Atoms = ()
    if data.draw(st.sampled_from([True, True, True, False]), "can be met"):
        laws = [brute.is_neutral(all_zero=True)] if "charge_neutral" in names else []
        if possible := sorted(brute.crystals_that_obey(species, max_sites, laws)):
            meant = data.draw(st.sampled_from(possible), "a crystal that is meant")
    asked = [data.draw(rules(name, numbers, max_sites, meant)) for name in names]
    laws = [law for _, law in asked]
    crystals = brute.crystals_that_obey(species, max_sites, laws)
    event("possible" if crystals else "impossible")
    return [rule for rule, _ in asked], species, max_sites, crystals


@pytest.mark.parametrize("names", EXACT, ids="+".join)
@EXAMPLES
@given(data=st.data())
def test_exactly_what_can_still_become_a_crystal_is_allowed(
    names: tuple[str, ...], data: st.DataObject
) -> None:
    asked, species, max_sites, crystals = drawn(data, names)
    if not crystals:
        with pytest.raises(BadOptions):
            bound(asked, brute.tokens_of(species, max_sites))
        return
    order = data.draw(ORDERS, "order")
    parts = brute.beginnings(crystals, order)
    expected = [brute.following(part, species, crystals, parts, order) for part in parts]
    assert masks(asked, species, max_sites, list(parts), order) == expected


@pytest.mark.parametrize("names", [n for n in OPTIMISTIC if "unseen" not in n], ids="+".join)
@EXAMPLES
@given(data=st.data(), order=IN_ORDER)
def test_in_order_neutrality_is_exact_with_more_elements_too(
    names: tuple[str, ...], data: st.DataObject, order: ElementOrder
) -> None:
    asked, species, max_sites, crystals = drawn(data, names)
    if not crystals:
        return
    parts = brute.beginnings(crystals, order)
    expected = [brute.following(part, species, crystals, parts, order) for part in parts]
    with MANY_ELEMENTS():
        assert masks(asked, species, max_sites, list(parts), order) == expected


@EXAMPLES
@given(data=st.data())
def test_with_more_elements_than_known_formulas_unseen_is_exact(data: st.DataObject) -> None:
    asked, species, max_sites, crystals = drawn(data, ["unseen"], least_elements=3)
    parts = brute.beginnings(crystals)
    expected = [brute.following(part, species, crystals, parts) for part in parts]
    with MANY_ELEMENTS():
        assert masks(asked, species, max_sites, list(parts)) == expected


@pytest.mark.parametrize("names", OPTIMISTIC, ids="+".join)
@EXAMPLES
@given(data=st.data())
def test_other_rules_together_forbid_no_crystal_and_end_at_none_else(
    names: tuple[str, ...], data: st.DataObject
) -> None:
    asked, species, max_sites, crystals = drawn(data, names)
    if not crystals:
        return
    stop = len(species) + 1
    order = data.draw(ORDERS, "order")
    parts = brute.beginnings(crystals, order)
    too_large = data.draw(st.booleans(), "table too large")
    with MANY_ELEMENTS(), TABLE_TOO_LARGE() if too_large else nullcontext():
        found = masks(asked, species, max_sites, list(parts), order)
    for part, tokens in zip(parts, found, strict=True):
        needed = brute.following(part, species, crystals, parts, order)
        assert tokens >= needed
        assert (stop in tokens) == (stop in needed)


@EXAMPLES
@given(data=st.data())
def test_once_no_new_element_may_come_neutrality_is_exact(data: st.DataObject) -> None:
    asked, species, max_sites, crystals = drawn(data, ["charge_neutral", "n_elements"])
    [most] = [rule.greatest for rule in asked if isinstance(rule, NElements)]
    parts = brute.beginnings(crystals)
    full = [part for part in parts if len(brute.counts(part)) == most]
    if not full:
        return
    expected = [brute.following(part, species, crystals, parts) for part in full]
    with MANY_ELEMENTS():
        assert masks(asked, species, max_sites, full) == expected


@EXAMPLES
@given(data=st.data())
def test_the_order_of_the_rules_changes_nothing(data: st.DataObject) -> None:
    names = ["contains", "n_elements", "n_sites", "charge_neutral", "unseen"]
    asked, species, max_sites, crystals = drawn(data, names)
    if not crystals:
        return
    parts = list(brute.beginnings(crystals))
    turned = masks(asked[::-1], species, max_sites, parts)
    assert masks(asked, species, max_sites, parts) == turned
