"""Rule: reduced formulas that a dataset does not have."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING

from matgen import DatasetSource
from matgen.errors import BadOptions
from matgen_constraints.known_formulas import KnownFormulas
from matgen_constraints.rule import CompositionRule

if TYPE_CHECKING:
    from collections.abc import Callable

    from matgen.roles.representation import SpeciesTokens
    from matgen_constraints.budget import Budget


class Unseen(CompositionRule):
    """No reduced formula that the training crystals of a dataset have."""

    name = "unseen"

    dataset: DatasetSource | None = None
    """Whose formulas are known; what the model was trained on if left out."""

    def for_training(self, dataset: Callable[[], DatasetSource]) -> Unseen:
        """Return the rule with the dataset, where it has none of its own."""
        return self if self.dataset else self.model_copy(update={"dataset": dataset()})

    @property
    def told(self) -> str:
        """``unseen`` and the dataset."""
        return "unseen" if self.dataset is None else f"unseen (formulas of {self.dataset.name})"

    def narrow(self, budget: Budget, species: SpeciesTokens) -> Budget:
        """Leave formulas that are not known.

        Raises:
            BadOptions: no dataset was given.
        """
        del species
        if self.dataset is None:
            raise BadOptions(
                "unseen: no dataset says which formulas are known; give the one that the model "
                "was trained on"
            )
        return replace(budget, known=(*budget.known, self._known))

    @cached_property
    def _known(self) -> KnownFormulas:
        assert self.dataset is not None
        # An entry that cannot be read is no crystal that training saw.
        records = self.dataset.records("train", on_skip=lambda _: None)
        return KnownFormulas.of(record.crystal.numbers for record in records)
