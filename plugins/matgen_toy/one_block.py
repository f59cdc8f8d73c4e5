"""The backbone of the toy set: one block of attention and feed-forward, learned positions.

Axes: T positions of a flat stream, B rows, n new positions of a cached step, D width, H heads,
d = D / H, V vocabulary.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from matgen import Backbone

if TYPE_CHECKING:
    from matgen import Vocabulary
    from matgen.nn.language_model import LanguageModel


class OneBlock(Backbone):
    """A transformer of one block."""

    name = "one_block"

    width: int = Field(default=64, ge=4, multiple_of=4)
    """Size of the hidden states; four heads share it."""
    components: int = Field(default=8, ge=1)
    """Logistic components of a continuous token's distribution."""

    def build(self, vocabulary: Vocabulary, max_positions: int) -> LanguageModel:
        """Return the network with fresh weights."""
        from matgen_toy.network import OneBlockNetwork

        return OneBlockNetwork(self, vocabulary, max_positions)
