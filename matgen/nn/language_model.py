"""What every backbone builds: embeddings in, hidden states through, logits and values out.

Axes: T positions of a flat stream (all rows one after another), B rows, n new positions of a
cached step, D width, V vocabulary.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Dense:
    """A flat stream of ``rows`` sequences of exactly ``length`` positions each."""

    rows: int
    length: int


@dataclass(frozen=True)
class Packed:
    """A flat stream of sequences of any lengths.

    Attributes:
        offsets: (rows + 1,) int32 on the stream's device; sequence i is offsets[i]:offsets[i+1].
        max_length: Longest sequence.
    """

    offsets: Tensor
    max_length: int


Layout = Dense | Packed


class Cache(ABC):
    """What a cached step keeps of earlier positions, for a fixed number of rows.

    Every row has its own length; positions at or past it are garbage that no step reads.
    """

    lengths: Tensor
    """(B,) int64 positions held per row."""

    @abstractmethod
    def take(self, rows: Tensor) -> Cache:
        """Return a cache of the chosen rows, (R,) int64; a row may be chosen repeatedly (fork)."""

    @abstractmethod
    def put(self, rows: Tensor, other: Cache) -> None:
        """Overwrite these rows with the rows of another cache of the same model."""

    def rewind(self, lengths: Tensor) -> None:
        """Forget the positions at and past ``lengths``, (B,) int64, none above the present."""
        self.lengths = torch.minimum(self.lengths, lengths)


class LanguageModel(nn.Module, ABC):
    """A causal network over embedded positions."""

    width: int
    """D."""
    value_head: nn.Module | None
    """A ``matgen.nn.value_head.ValueHead`` where the vocabulary has continuous tokens."""

    @property
    def vocabulary_axes(self) -> Mapping[str, int]:
        """Name of each tensor of the state that has an entry per token, to the axis of the tokens.

        ``{"embedding.weight": 0}``; those of ``ValueEmbedding`` and ``ValueHead`` are known. A run
        that starts from a trained model finds its tokens by this. Without it the network can only
        be taken over with the very same vocabulary.
        """
        return {}

    @property
    def position_axes(self) -> Mapping[str, int]:
        """The same for tables of ``max_positions`` entries: slots of conditions, then tokens.

        Without it a network with such a table cannot be taken over with another number of slots.
        """
        return {}

    @abstractmethod
    def embed(self, ids: Tensor, values: Tensor | None) -> Tensor:
        """Return (…, D) embeddings of (…) int64 ids and, where continuous, (…) float32 values."""

    @abstractmethod
    def hidden(self, x_TD: Tensor, layout: Layout) -> Tensor:
        """Return (T, D): each position having seen itself and what precedes it in its sequence."""

    @abstractmethod
    def new_cache(self, rows: int, capacity: int, *, dtype: torch.dtype, device: str) -> Cache:
        """Return an empty cache for ``rows`` sequences of at most ``capacity`` positions."""

    @abstractmethod
    def step(self, x_BnD: Tensor, counts: Tensor | None, cache: Cache) -> Tensor:
        """Return (B, n, D) hidden states of n new positions per row and store them in the cache.

        Args:
            x_BnD: Embeddings of the new positions.
            counts: (B,) int64, how many of the n are real in each row (None: all); the others'
                hidden states are garbage, and ``cache.lengths`` grows by ``counts``.
            cache: Advanced in place.
        """

    @abstractmethod
    def logits(self, h_D: Tensor) -> Tensor:
        """Return (…, V) float32 logits of (…, D) hidden states."""
