"""Guidance is a decoder: every row twice, with and without what was asked for.

Axes: B guided rows, n tokens appended at once, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from matgen.generation.decoder import Decoder, Request

if TYPE_CHECKING:
    from torch import Tensor

    from matgen.nn.value_head import ValueDistribution


class GuidedDecoder(Decoder):
    """Classifier-free guidance: each row twice in one decoder, with and without its conditions.

    logits = free + weight (conditional - free), so 1 is the plain conditional model, 0 the
    unconditional one, and more than 1 exaggerates what the conditions change. Both copies keep the
    prompt: what a representation writes as prompt tokens is not guided. Values of continuous
    tokens come from the conditional copy, or from the free one where the weight is 0.

    Source: Ho and Salimans, arXiv:2207.12598, equation 6 with weight = 1 + w.
    """

    def __init__(self, decoder: Decoder, weight: float) -> None:
        """Wrap.

        Args:
            decoder: Holds both copies of every row; nobody else may drive it.
            weight: 1 is the conditional model, 0 the unconditional one.
        """
        self._both = decoder
        self._weight = weight

    @property
    def rows(self) -> int:
        """B, the number of guided rows."""
        return self._both.rows // 2

    @property
    def lengths(self) -> Tensor:
        """(B,) int64 tokens in each row."""
        return self._both.lengths[: self.rows]

    @property
    def device(self) -> str:
        """Where the tensors live."""
        return self._both.device

    @property
    def continuous(self) -> tuple[int, ...]:
        """Ids of the tokens that carry a value."""
        return self._both.continuous

    def begin(self, requests: Sequence[Request]) -> None:
        """Start afresh with one row per request."""
        self._both.begin(_with_free(requests))

    def replace(self, rows: Tensor, requests: Sequence[Request]) -> None:
        """Start other requests in these rows."""
        self._both.replace(self._twice(rows), _with_free(requests))

    def logits(self) -> Tensor:
        """Return (B, V) float32 guided logits of each row's next token."""
        conditional, free = self._both.logits().chunk(2)
        return free + self._weight * (conditional - free)

    def value_distribution(self, ids: Tensor) -> ValueDistribution:
        """Return the distribution of each row's next value, were its next token ``ids`` (B,)."""
        both = self._both.value_distribution(ids.repeat(2))
        return both[self.rows :] if self._weight == 0 else both[: self.rows]

    def append(
        self, ids: Tensor, values: Tensor | None = None, counts: Tensor | None = None
    ) -> None:
        """Add tokens to both copies of every row."""
        self._both.append(
            ids.repeat(2, 1),
            None if values is None else values.repeat(2, 1),
            None if counts is None else counts.repeat(2),
        )

    def take(self, rows: Tensor) -> None:
        """Keep only these rows, in this order."""
        self._both.take(self._twice(rows))

    def fork(self, rows: Tensor, n: int) -> None:
        """Become ``n`` copies of each of these rows, copies of one row side by side."""
        self._both.fork(self._twice(rows), n)

    def rewind(self, lengths: Tensor) -> None:
        """Cut each row back to (B,) int64 tokens."""
        self._both.rewind(lengths.repeat(2))

    def _twice(self, rows: Tensor) -> Tensor:
        return torch.cat([rows, rows + self.rows])


def _with_free(requests: Sequence[Request]) -> list[Request]:
    return [*requests, *(replace(request, conditions={}) for request in requests)]
