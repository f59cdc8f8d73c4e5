"""Role: a rule that every sampled sequence must obey."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING

from matgen.errors import BadOptions
from matgen.roles.component import Component

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Self

    from matgen.roles.dataset import DatasetSource
    from matgen.roles.ordering import Ordering
    from matgen.roles.representation import Grammar, Representation


class Constraint(Component):
    """A rule such as an exact formula, allowed elements, or charge neutrality."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the rule that a person wrote, as in ``--constraint NAME=TEXT``.

        A rule that takes no text, unless overridden; ``text`` is then empty.

        Raises:
            BadOptions: not what this rule reads; says what is.
        """
        if text:
            raise BadOptions(f"constraint {cls.name} takes no value; got {text!r}")
        return cls()

    @abstractmethod
    def bind(self, representation: Representation) -> Grammar:
        """Return the rule as a grammar over this representation's tokens.

        It is intersected with the representation's own, so it may allow more than the language.
        A row in which no token is left is started again by the sampler, a bounded number of times.

        Raises:
            BadOptions: the rule means nothing for this representation, or can never be met.
        """

    def join(self, other: Constraint) -> Constraint | None:
        """Return one rule that says what both say, or None where they stay apart.

        Two rules that can be met singly may have no common sentence, or one that only a look ahead
        for both together finds: exact formula and charge neutrality.

        Raises:
            BadOptions: the two contradict each other.
        """
        del other
        return None

    def for_ordering(self, ordering: Ordering) -> Constraint:
        """Return this rule for a model that was trained on sequences in an ordering.

        A rule that demands what is missing does so late, where the model has long written what
        comes after it; one that knows the order asks in time. Called once, after ``join``; the
        crystals that obey stay the same.
        """
        del ordering
        return self

    def for_training(self, dataset: Callable[[], DatasetSource]) -> Constraint:
        """Return this rule for a model that was trained on a dataset, unless it has its own.

        Args:
            dataset: Gives it; called by rules that need to know what is known.
        """
        del dataset
        return self

    @property
    def also_asks(self) -> Mapping[str, str]:
        """Label of a condition that says the same to its value, as a person would write it.

        A model that learned it is asked for it, too.
        """
        return {}

    @property
    def fixes(self) -> Mapping[str, float]:
        """What the rule fixes though no condition asks for it: quantity, with its unit, to value.

        ``{"volume_ang3": 66.4}`` of a cell. Conditions that know the quantity read it in
        ``conflict``.
        """
        return {}

    @property
    def orders_sites(self) -> bool:
        """Whether this rule says itself in which order sites are written.

        Other rules are then not told the ordering: no sequence might keep both.
        """
        return False
