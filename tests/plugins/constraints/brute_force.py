"""What may follow, found by writing down every crystal of a small vocabulary: slow and plain.

A crystal is a tuple of species, a species (atomic number, oxidation state).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import combinations_with_replacement
from typing import TypeAlias

import numpy as np

from matgen import Crystal, DatasetSource, Record
from matgen.roles.dataset import Split
from matgen.roles.ordering import ElementOrder
from matgen.roles.representation import SpeciesTokens

Species: TypeAlias = tuple[int, int]
Atoms: TypeAlias = tuple[Species, ...]
Law: TypeAlias = Callable[[Atoms], bool]


class ListedFormulas(DatasetSource):
    """Crystals with given elements, all sites in one place."""

    name = "listed_formulas"

    crystals: tuple[tuple[int, ...], ...]

    @property
    def units(self) -> dict[str, str]:
        return {}

    def records(self, split: Split, *, on_skip: object = None) -> Iterator[Record]:
        for index, numbers in enumerate(self.crystals if split == "train" else ()):
            yield Record(str(index), Crystal(np.eye(3), np.zeros((len(numbers), 3)), numbers))

    def fingerprint(self) -> str:
        return repr(self.crystals)


def tokens_of(species: Sequence[Species], max_sites: int) -> SpeciesTokens:
    """Return a vocabulary: a token of no meaning, the species, the stop, another of no meaning."""
    numbers = np.array([0, *(number for number, _ in species), 0, 0], dtype=np.int64)
    states = np.array([0, *(state for _, state in species), 0, 0], dtype=np.int64)
    return SpeciesTokens(numbers, states, len(species) + 1, max_sites)


def crystals_that_obey(
    species: Sequence[Species], max_sites: int, laws: Sequence[Law]
) -> set[Atoms]:
    """Return every crystal, species in the order of the vocabulary, that obeys all laws."""
    return {
        atoms
        for n in range(1, max_sites + 1)
        for atoms in combinations_with_replacement(species, n)
        if all(law(atoms) for law in laws)
    }


def rank(one: Species, order: ElementOrder) -> int:
    """Return a number that never falls along a crystal written in an order."""
    number, _ = one
    return {"none": 0, "heaviest_first": -number, "lightest_first": number}[order]


def beginnings(crystals: set[Atoms], order: ElementOrder = "none") -> set[Atoms]:
    """Return every part of the crystals that can be written first, from the empty to the whole."""
    found = set(crystals)
    new = set(crystals)
    while new:
        shorter = set()
        for atoms in new:
            last = max((rank(one, order) for one in atoms), default=0)
            shorter |= {
                atoms[:i] + atoms[i + 1 :]
                for i, one in enumerate(atoms)
                if rank(one, order) == last
            }
        new = shorter - found
        found |= new
    return found


def following(
    part: Atoms,
    species: Sequence[Species],
    crystals: set[Atoms],
    parts: set[Atoms],
    order: ElementOrder = "none",
) -> set[int]:
    """Return the tokens, species and stop, after which a part can still become a crystal."""
    place = {one: index for index, one in enumerate(species)}
    after = {
        1 + place[one]
        for one in species
        if all(rank(one, order) >= rank(written, order) for written in part)
        and tuple(sorted((*part, one), key=place.__getitem__)) in parts
    }
    return after | ({len(species) + 1} if part in crystals else set())


def counts(atoms: Atoms) -> Counter[int]:
    return Counter(number for number, _ in atoms)


def reduced(numbers: Counter[int]) -> dict[int, int]:
    divisor = math.gcd(*numbers.values())
    return {number: count // divisor for number, count in numbers.items()}


def has_formula(wanted: dict[int, int]) -> Law:
    return lambda atoms: reduced(counts(atoms)) == reduced(Counter(wanted))


def has_at_least(wanted: dict[int, int]) -> Law:
    return lambda atoms: all(counts(atoms)[z] >= n for z, n in wanted.items())


def has_only(numbers: set[int]) -> Law:
    return lambda atoms: set(counts(atoms)) <= numbers


def has_none(numbers: set[int]) -> Law:
    return lambda atoms: not set(counts(atoms)) & numbers


def has_exactly(numbers: set[int]) -> Law:
    return lambda atoms: set(counts(atoms)) == numbers


def has_sites(least: int, greatest: int) -> Law:
    return lambda atoms: least <= len(atoms) <= greatest


def has_n_elements(least: int, greatest: int) -> Law:
    return lambda atoms: least <= len(counts(atoms)) <= greatest


def is_neutral(*, all_zero: bool) -> Law:
    return lambda atoms: (
        sum(state for _, state in atoms) == 0 and (all_zero or any(state for _, state in atoms))
    )


def is_unlike(known: Sequence[tuple[int, ...]]) -> Law:
    formulas = [reduced(Counter(numbers)) for numbers in known]
    return lambda atoms: reduced(counts(atoms)) not in formulas
