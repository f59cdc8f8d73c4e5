"""Role: a rule that every sampled sequence must obey."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING

from matgen.roles.component import Component

if TYPE_CHECKING:
    from matgen.roles.representation import Grammar, Representation


class Constraint(Component):
    """A rule such as an exact formula, allowed elements, or charge neutrality."""

    @abstractmethod
    def bind(self, representation: Representation) -> Grammar:
        """Return the rule as a grammar over this representation's tokens.

        It is intersected with the representation's own, so it may allow more than the language.

        Raises:
            BadOptions: the rule means nothing for this representation, or can never be met.
        """
