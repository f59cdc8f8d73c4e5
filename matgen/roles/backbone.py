"""Role: the network that reads a sequence and predicts what comes next."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, ClassVar

from matgen.roles.component import Component

if TYPE_CHECKING:
    from matgen.nn.language_model import LanguageModel
    from matgen.roles.representation import Vocabulary


class Backbone(Component):
    """Sizes and choices of a network; builds it."""

    free_to_change: ClassVar[frozenset[str]] = frozenset()
    """Settings that a run which starts from trained weights may choose anew: those that change
    neither the weights' shapes nor what the network computes once trained (dropout)."""

    @abstractmethod
    def build(self, vocabulary: Vocabulary, max_positions: int) -> LanguageModel:
        """Return the network with fresh weights, drawn from torch's current generator.

        Args:
            vocabulary: Sizes of embedding and output; which tokens are continuous.
            max_positions: Longest stream it must read: condition slots and tokens.
        """
