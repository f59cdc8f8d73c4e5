"""What compositions are still open to a crystal: the one thing that every rule narrows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal, TypeAlias

from matgen.elements import symbols
from matgen.errors import BadOptions

if TYPE_CHECKING:
    from matgen.roles.ordering import ElementOrder
    from matgen.roles.representation import SpeciesTokens
    from matgen_constraints.known_formulas import KnownFormulas

Neutrality: TypeAlias = Literal["free", "neutral", "charged atoms"]
"""``neutral``: charges sum to zero. ``charged atoms``: they do, and not all of them are zero."""


@dataclass(frozen=True)
class Budget:
    """The compositions that some rules leave.

    Attributes:
        allowed: Atomic numbers that may be written.
        required: Atomic number to the least number of atoms; absent means none.
        formula: Atomic number to count in the reduced formula, whose multiples alone are left;
            None where no formula is given.
        sites: Least and greatest number of sites.
        n_elements: Least and greatest number of different elements.
        neutrality: What the oxidation states must sum to.
        known: Reduced formulas that are not wanted, one collection per rule.
        element_order: In which the elements are written; every composition can be.
        impossible: Why nothing is left, where a rule found it; empty otherwise.
    """

    allowed: frozenset[int]
    sites: tuple[int, int]
    n_elements: tuple[int, int]
    required: Mapping[int, int] = field(default_factory=dict)
    formula: Mapping[int, int] | None = None
    neutrality: Neutrality = "free"
    known: tuple[KnownFormulas, ...] = ()
    element_order: ElementOrder = "none"
    impossible: str = ""

    @classmethod
    def whole(cls, species: SpeciesTokens, element_order: ElementOrder = "none") -> Budget:
        """Return what a representation can write."""
        numbers = frozenset(species.numbers_V[species.numbers_V > 0].tolist())
        n_elements = (1, min(len(numbers), species.max_sites))
        return cls(numbers, (1, species.max_sites), n_elements, element_order=element_order)

    def only(self, numbers: Iterable[int]) -> Budget:
        """Return what is left with no other elements."""
        return replace(self, allowed=self.allowed & frozenset(numbers))

    def without(self, numbers: Iterable[int]) -> Budget:
        """Return what is left without some elements."""
        return replace(self, allowed=self.allowed - frozenset(numbers))

    def with_at_least(self, counts: Mapping[int, int]) -> Budget:
        """Return what is left with so many atoms of each element, or more."""
        required = dict(self.required)
        for number, count in counts.items():
            required[number] = max(count, required.get(number, 0))
        return replace(self, required=required)

    def with_formula(self, counts: Mapping[int, int]) -> Budget:
        """Return what is left with a reduced formula."""
        if self.formula is not None and dict(self.formula) != dict(counts):
            return replace(self, impossible="a crystal has one reduced formula")
        return replace(self, formula=dict(counts))

    def with_sites(self, least: int, greatest: int) -> Budget:
        """Return what is left with a number of sites in a range, ends included."""
        return replace(self, sites=(max(self.sites[0], least), min(self.sites[1], greatest)))

    def with_n_elements(self, least: int, greatest: int) -> Budget:
        """Return what is left with a number of different elements in a range, ends included."""
        low, high = self.n_elements
        return replace(self, n_elements=(max(low, least), min(high, greatest)))


def refuse_unwritable(species: SpeciesTokens, numbers: Iterable[int], told: str) -> None:
    """Refuse elements without a species token.

    Raises:
        BadOptions: names them.
    """
    unwritable = sorted(set(numbers) - set(species.numbers_V.tolist()))
    if unwritable:
        raise BadOptions(
            f"{told}: this model has no token for {', '.join(symbols[z] for z in unwritable)}; "
            "leave it out"
        )


def named(numbers: Iterable[int]) -> str:
    """Return the symbols of elements for a message: Fe, Li."""
    return ", ".join(sorted(symbols[number] for number in numbers))
