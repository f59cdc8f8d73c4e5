"""Rules that are sets of elements: none but these, none of these, exactly these."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import AfterValidator

from matgen.elements import atomic_number
from matgen.errors import BadCrystal, BadOptions
from matgen_constraints.budget import refuse_unwritable
from matgen_constraints.rule import CompositionRule

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Self

    from matgen.roles.representation import SpeciesTokens
    from matgen_constraints.budget import Budget


def _symbols(given: tuple[str, ...]) -> tuple[str, ...]:
    """Return the symbols once each, in alphabetical order; refuse what is none."""
    if not given:
        raise BadOptions("no element is named; give symbols such as Li, Fe, O")
    for symbol in given:
        try:
            atomic_number(symbol)
        except BadCrystal as error:
            raise BadOptions(str(error)) from None
    return tuple(sorted(set(given)))


Symbols = Annotated[tuple[str, ...], AfterValidator(_symbols)]


class Elements(CompositionRule):
    """No elements but these; not every one of them need be there."""

    name = "elements"

    elements: Symbols
    """Symbols."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the rule for a list such as Li,Fe,O.

        Raises:
            BadOptions: no list of symbols.
        """
        return cls(elements=_split(text, ",", "elements"))

    @property
    def told(self) -> str:
        """``elements`` and the list."""
        return f"elements {','.join(self.elements)}"

    def narrow(self, budget: Budget, species: SpeciesTokens) -> Budget:
        """Leave these elements."""
        refuse_unwritable(species, _numbers(self.elements), self.told)
        return budget.only(_numbers(self.elements))


class Exclude(CompositionRule):
    """None of these elements."""

    name = "exclude"

    elements: Symbols
    """Symbols; one that the model cannot write anyway is no mistake."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the rule for a list such as Tc,Pm.

        Raises:
            BadOptions: no list of symbols.
        """
        return cls(elements=_split(text, ",", "exclude"))

    @property
    def told(self) -> str:
        """``exclude`` and the list."""
        return f"exclude {','.join(self.elements)}"

    def narrow(self, budget: Budget, species: SpeciesTokens) -> Budget:
        """Leave the other elements."""
        del species
        return budget.without(_numbers(self.elements))


class ChemicalSystem(CompositionRule):
    """Exactly these elements, every one of them there: Li-Fe-O."""

    name = "chemical_system"

    elements: Symbols
    """Symbols."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the rule for a system such as Li-Fe-O.

        Raises:
            BadOptions: no symbols joined by hyphens.
        """
        return cls(elements=_split(text, "-", "chemical_system"))

    @property
    def also_asks(self) -> Mapping[str, str]:
        """The condition of the same meaning."""
        return {"chemical_system": "-".join(self.elements)}

    @property
    def told(self) -> str:
        """``chemical_system`` and the system."""
        return f"chemical_system {'-'.join(self.elements)}"

    def narrow(self, budget: Budget, species: SpeciesTokens) -> Budget:
        """Leave these elements, at least one atom of each."""
        numbers = _numbers(self.elements)
        refuse_unwritable(species, numbers, self.told)
        return budget.only(numbers).with_at_least(dict.fromkeys(numbers, 1))


def _numbers(given: tuple[str, ...]) -> list[int]:
    return [atomic_number(symbol) for symbol in given]


def _split(text: str, separator: str, rule: str) -> tuple[str, ...]:
    parts = tuple(part.strip() for part in text.split(separator))
    for part in parts:
        if not part.isalpha():
            raise BadOptions(
                f"{rule}: {text!r} is no list of elements; write "
                f"{separator.join(('Li', 'Fe', 'O'))}"
            )
    return parts
