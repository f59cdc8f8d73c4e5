"""Guidance is a decoder: every row several times, with and without what was asked for.

Axes: B guided rows, n tokens appended at once, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from matgen.generation.decoder import Decoder, Request

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from matgen.nn.value_head import ValueDistribution

REST = ""
"""Stands for the conditions that have no weight of their own."""


class GuidedDecoder(Decoder):
    """Classifier-free guidance: each row in one decoder with all, some and none of its conditions.

    With one weight, logits = free + weight (conditional - free), so 1 is the plain conditional
    model, 0 the unconditional one, and more than 1 exaggerates what the conditions change. With
    weights per condition, each group of equal weight adds weight times what it changes on top of
    the groups before it, so that all weights 1 are again the conditional model. All copies keep
    the prompt: what a representation writes as prompt tokens is not guided. Values of continuous
    tokens come from the conditional copy, or from the free one where every weight is 0.

    Source: Ho and Salimans, arXiv:2207.12598, equation 6 with weight = 1 + w; several conditions
    one after another as Brooks et al., arXiv:2211.09800, equation 3.
    """

    def __init__(self, decoder: Decoder, weights: float | Mapping[str, float]) -> None:
        """Wrap.

        Args:
            decoder: Holds all copies of every row; nobody else may drive it.
            weights: One for all conditions, or label to weight; ``""`` stands for the others (1
                where it is left out).
        """
        if isinstance(weights, int | float):
            weights = {REST: float(weights)}
        self._all = decoder
        self._own = {label: weight for label, weight in weights.items() if label != REST}
        rest = weights.get(REST, 1.0)
        # From nothing asked for to everything: the groups in the order in which they are added.
        self._weights = [rest, *sorted(set(self._own.values()) - {rest})]
        self._group = {label: self._weights.index(weight) for label, weight in self._own.items()}

    @property
    def copies(self) -> int:
        """Rows of the inner decoder for each guided row."""
        return len(self._weights) + 1

    @property
    def rows(self) -> int:
        """B, the number of guided rows."""
        return self._all.rows // self.copies

    @property
    def lengths(self) -> Tensor:
        """(B,) int64 tokens in each row."""
        return self._all.lengths[: self.rows]

    @property
    def device(self) -> str:
        """Where the tensors live."""
        return self._all.device

    @property
    def continuous(self) -> tuple[int, ...]:
        """Ids of the tokens that carry a value."""
        return self._all.continuous

    def begin(self, requests: Sequence[Request]) -> None:
        """Start afresh with one row per request."""
        self._all.begin(self._copied(requests))

    def replace(self, rows: Tensor, requests: Sequence[Request]) -> None:
        """Start other requests in these rows."""
        self._all.replace(self._every(rows), self._copied(requests))

    def logits(self) -> Tensor:
        """Return (B, V) float32 guided logits of each row's next token."""
        fuller = self._all.logits().chunk(self.copies)
        guided = fuller[-1]
        for weight, more, fewer in zip(self._weights, fuller[-2::-1], fuller[:0:-1], strict=True):
            guided = guided + weight * (more - fewer)
        return guided

    def value_distribution(self, ids: Tensor) -> ValueDistribution:
        """Return the distribution of each row's next value, were its next token ``ids`` (B,)."""
        every = self._all.value_distribution(ids.repeat(self.copies))
        return every[: self.rows] if any(self._weights) else every[-self.rows :]

    def append(
        self, ids: Tensor, values: Tensor | None = None, counts: Tensor | None = None
    ) -> None:
        """Add tokens to all copies of every row."""
        n = self.copies
        self._all.append(
            ids.repeat(n, 1),
            None if values is None else values.repeat(n, 1),
            None if counts is None else counts.repeat(n),
        )

    def take(self, rows: Tensor) -> None:
        """Keep only these rows, in this order."""
        self._all.take(self._every(rows))

    def fork(self, rows: Tensor, n: int) -> None:
        """Become ``n`` copies of each of these rows, copies of one row side by side."""
        self._all.fork(self._every(rows), n)

    def rewind(self, lengths: Tensor) -> None:
        """Cut each row back to (B,) int64 tokens."""
        self._all.rewind(lengths.repeat(self.copies))

    def _every(self, rows: Tensor) -> Tensor:
        """Return the places of all copies of these rows, (copies R,)."""
        starts = rows.new_tensor(range(self.copies)) * self.rows
        every: torch.Tensor = (starts[:, None] + rows).flatten()
        return every

    def _copied(self, requests: Sequence[Request]) -> list[Request]:
        """Return the requests with all groups of conditions, then with one less each time."""
        return [
            replace(
                request,
                conditions={
                    label: value
                    for label, value in request.conditions.items()
                    if self._group.get(label, 0) < n_groups
                },
            )
            for n_groups in range(len(self._weights), -1, -1)
            for request in requests
        ]
