"""Rules that are numbers or ranges of them: of sites, of different elements."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from pydantic import Field, model_validator

from matgen.errors import BadOptions
from matgen_constraints.rule import CompositionRule

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Self

    from matgen.roles.representation import SpeciesTokens
    from matgen_constraints.budget import Budget


class NSites(CompositionRule):
    """A number of sites in the cell, or a range of them."""

    name = "n_sites"

    least: int = Field(ge=1)
    """Fewest sites."""
    greatest: int = Field(ge=1)
    """Most sites, itself included."""

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        _refuse_empty(self.name, self.least, self.greatest)
        return self

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the rule for a number such as 8 or a range such as 4..12, ends included.

        Raises:
            BadOptions: neither, or an empty range.
        """
        least, greatest = _range(text, cls.name)
        return cls(least=least, greatest=greatest)

    @property
    def also_asks(self) -> Mapping[str, str]:
        """The condition of the same meaning."""
        return {"n_sites": str(self.least)} if self.least == self.greatest else {}

    @property
    def told(self) -> str:
        """``n_sites`` and the range."""
        return f"{self.name} {_spelled(self.least, self.greatest)}"

    def narrow(self, budget: Budget, species: SpeciesTokens) -> Budget:
        """Leave cells of these sizes."""
        if self.least > species.max_sites:
            raise BadOptions(
                f"{self.told}: this model writes at most {species.max_sites} sites; ask for fewer"
            )
        return budget.with_sites(self.least, self.greatest)


class NElements(CompositionRule):
    """A number of different elements, or a range of them."""

    name = "n_elements"

    least: int = Field(ge=1)
    """Fewest elements."""
    greatest: int = Field(ge=1)
    """Most elements, itself included."""

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        _refuse_empty(self.name, self.least, self.greatest)
        return self

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the rule for a number such as 3 or a range such as 2..4, ends included.

        Raises:
            BadOptions: neither, or an empty range.
        """
        least, greatest = _range(text, cls.name)
        return cls(least=least, greatest=greatest)

    @property
    def told(self) -> str:
        """``n_elements`` and the range."""
        return f"{self.name} {_spelled(self.least, self.greatest)}"

    def narrow(self, budget: Budget, species: SpeciesTokens) -> Budget:
        """Leave crystals of so many elements."""
        del species
        return budget.with_n_elements(self.least, self.greatest)


def _range(text: str, rule: str) -> tuple[int, int]:
    found = re.fullmatch(r"\s*([0-9]{1,6})\s*(?:\.\.\s*([0-9]{1,6})\s*)?", text)
    if not found:
        raise BadOptions(f"{rule}: {text!r} is no number or range; write 3 or 2..4")
    least = int(found[1])
    greatest = int(found[2] or least)
    if least < 1:
        raise BadOptions(f"{rule}: {text!r} begins below 1; write 3 or 2..4")
    _refuse_empty(rule, least, greatest)
    return least, greatest


def _refuse_empty(rule: str, least: int, greatest: int) -> None:
    if least > greatest:
        raise BadOptions(
            f"{rule}: nothing lies in {least}..{greatest}; write the smaller number first"
        )


def _spelled(least: int, greatest: int) -> str:
    return str(least) if least == greatest else f"{least}..{greatest}"
