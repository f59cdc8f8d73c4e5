"""Rules that are formulas: the whole composition, or part of it."""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING, Annotated

from pydantic import AfterValidator

from matgen.crystal.composition import parse_formula
from matgen.elements import symbols
from matgen_constraints.budget import refuse_unwritable
from matgen_constraints.rule import CompositionRule

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Self

    from matgen.roles.representation import SpeciesTokens
    from matgen_constraints.budget import Budget


def _a_formula(text: str) -> str:
    parse_formula(text)
    return text


class Formula(CompositionRule):
    """Exactly this reduced formula, in any whole multiple that fits the cell: LiFeO2."""

    name = "formula"

    formula: Annotated[str, AfterValidator(_a_formula)]
    """Reduced or not: Fe2Li2O4 is LiFeO2, and O2 is any number of O."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the rule for a formula such as LiFeO2 or Ca3(PO4)2.

        Raises:
            BadOptions: no formula.
        """
        return cls(formula=text.strip())

    @property
    def also_asks(self) -> Mapping[str, str]:
        """The condition of the same meaning."""
        return {"reduced_formula": self.formula}

    @property
    def told(self) -> str:
        """``formula`` and the formula."""
        return f"formula {self.formula}"

    def narrow(self, budget: Budget, species: SpeciesTokens) -> Budget:
        """Leave the multiples of the formula."""
        counts = parse_formula(self.formula)
        refuse_unwritable(species, counts, self.told)
        divisor = math.gcd(*counts.values())
        return budget.with_formula({number: count // divisor for number, count in counts.items()})


class Contains(CompositionRule):
    """At least these atoms: Fe2O asks for two Fe and one O in the cell, or more of each."""

    name = "contains"

    atoms: Annotated[str, AfterValidator(_a_formula)]
    """A formula; its counts are those of the cell and not reduced."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the rule for a partial formula such as Fe2O, or a list of them such as Li,O.

        Raises:
            BadOptions: no formula.
        """
        counts: Counter[int] = Counter()
        for part in text.split(","):
            counts.update(parse_formula(part.strip()))
        return cls(atoms="".join(f"{symbols[z]}{n if n > 1 else ''}" for z, n in counts.items()))

    @property
    def told(self) -> str:
        """``contains`` and the atoms."""
        return f"contains {self.atoms}"

    def narrow(self, budget: Budget, species: SpeciesTokens) -> Budget:
        """Leave cells with these atoms."""
        counts = parse_formula(self.atoms)
        refuse_unwritable(species, counts, self.told)
        return budget.with_at_least(counts)
