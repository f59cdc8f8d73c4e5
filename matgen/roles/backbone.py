"""Role: the network that reads a sequence and predicts what comes next."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING

from matgen.roles.component import Component

if TYPE_CHECKING:
    from matgen.nn.language_model import LanguageModel
    from matgen.roles.representation import Vocabulary


class Backbone(Component):
    """Sizes and choices of a network; builds it."""

    @abstractmethod
    def build(self, vocabulary: Vocabulary, max_positions: int) -> LanguageModel:
        """Return the network with fresh weights, drawn from torch's current generator.

        Args:
            vocabulary: Sizes of embedding and output; which tokens are continuous.
            max_positions: Longest stream it must read: condition slots and tokens.
        """
