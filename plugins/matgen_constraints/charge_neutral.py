"""Rule: the oxidation states written sum to zero."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from matgen.errors import BadOptions
from matgen_constraints.rule import CompositionRule

if TYPE_CHECKING:
    from typing import Self

    from matgen.roles.representation import SpeciesTokens
    from matgen_constraints.budget import Budget


class ChargeNeutral(CompositionRule):
    """Oxidation states sum to zero."""

    name = "charge_neutral"

    all_zero: Literal["allow", "refuse"] = "allow"
    """Whether a crystal may have no oxidation state but 0, as metals and elements do."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the rule; ``strict`` refuses crystals in which every state is 0.

        Raises:
            BadOptions: any other text.
        """
        if text.strip() not in {"", "strict"}:
            raise BadOptions(
                f"charge_neutral: {text!r} is no policy; write strict to refuse crystals with all "
                "oxidation states zero, or nothing"
            )
        return cls(all_zero="refuse" if text.strip() else "allow")

    @property
    def told(self) -> str:
        """``charge_neutral``, and ``strict`` where it is."""
        return "charge_neutral strict" if self.all_zero == "refuse" else "charge_neutral"

    def narrow(self, budget: Budget, species: SpeciesTokens) -> Budget:
        """Leave neutral compositions."""
        del species
        if self.all_zero == "refuse":
            return replace(budget, neutrality="charged atoms")
        if budget.neutrality == "free":
            return replace(budget, neutrality="neutral")
        return budget
