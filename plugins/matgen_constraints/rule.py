"""The base of all rules on what a crystal is made of, and several of them as one."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING

from matgen import Constraint
from matgen.roles.ordering import ElementOrder

if TYPE_CHECKING:
    from matgen import Grammar, Ordering, Representation
    from matgen.roles.representation import SpeciesTokens
    from matgen_constraints.budget import Budget


class CompositionRule(Constraint):
    """A rule on elements, their counts and their charges; any two of them look ahead together."""

    @property
    @abstractmethod
    def told(self) -> str:
        """The rule as a person would write it, for messages: formula LiFeO2."""

    @abstractmethod
    def narrow(self, budget: Budget, species: SpeciesTokens) -> Budget:
        """Return what this rule leaves of a budget.

        Raises:
            BadOptions: an element that the representation has no token for.
        """

    def join(self, other: Constraint) -> Constraint | None:
        """Return one rule of both where the other is on the composition too."""
        if not isinstance(other, CompositionRule):
            return None
        return Together(rules=(*single_rules(self), *single_rules(other)))

    def for_ordering(self, ordering: Ordering) -> Constraint:
        """Return the rule with the order of the elements, where the ordering has one."""
        if ordering.element_order == "none":
            return self
        return Together(rules=single_rules(self), element_order=ordering.element_order)

    def bind(self, representation: Representation) -> Grammar:
        """Return the grammar of what the rule leaves.

        Raises:
            BadOptions: nothing; or the representation has no species tokens.
        """
        from matgen_constraints.binding import bound

        return bound([self], representation.species_tokens())


class Together(CompositionRule):
    """Several rules, or one with an order; comes from ``join`` and ``for_ordering``, not a text."""

    name = "together"

    rules: tuple[CompositionRule, ...]
    """Every one of them holds."""
    element_order: ElementOrder = "none"
    """In which the elements are written."""

    @property
    def told(self) -> str:
        """All of them."""
        return " and ".join(rule.told for rule in self.rules)

    def narrow(self, budget: Budget, species: SpeciesTokens) -> Budget:
        """Return what all of them leave."""
        for rule in self.rules:
            budget = rule.narrow(budget, species)
        return budget

    def bind(self, representation: Representation) -> Grammar:
        """Return the grammar of what all of them leave, in order."""
        from matgen_constraints.binding import bound

        return bound(self.rules, representation.species_tokens(), self.element_order)


def single_rules(rule: CompositionRule) -> tuple[CompositionRule, ...]:
    """Return the rules that a joined one was made of; any other is its own."""
    return rule.rules if isinstance(rule, Together) else (rule,)
