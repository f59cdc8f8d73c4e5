"""From logits to the probabilities that are drawn from.

Axes: B rows, V vocabulary.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor


def probabilities(
    logits: Tensor,
    allowed: Tensor,
    *,
    temperature: Tensor,
    top_k: int,
    top_p: float,
    min_p: float,
) -> Tensor:
    """Return (B, V) float64 probabilities: masked, tempered, cut, summing to 1.

    Args:
        logits: (B, V) of the model.
        allowed: (B, V) bool, at least one per row.
        temperature: (B,) above 0.
        top_k: Tokens that stay, the likeliest; what ties with the last one stays too. 0: all.
        top_p: Mass that stays at least, counted from the likeliest token on. 1: all.
        min_p: Smallest probability that stays, as a fraction of the likeliest token's. 0: all.

    Source: top-p, Holtzman et al., arXiv:1904.09751; min-p, Nguyen et al., arXiv:2407.01082.
    """
    scaled = (logits.double() / temperature[:, None]).masked_fill(~allowed, -torch.inf)
    if 0 < top_k < logits.shape[1]:
        least = scaled.topk(top_k, dim=1).values[:, -1:]
        scaled = scaled.masked_fill(scaled < least, -torch.inf)
    chances = scaled.softmax(1)
    if min_p > 0:
        chances = chances.masked_fill(chances < min_p * chances.amax(1, keepdim=True), 0)
    if top_p < 1:
        chances = chances / chances.sum(1, keepdim=True)
        ranked, order = chances.sort(dim=1, descending=True, stable=True)
        before = ranked.cumsum(1) - ranked
        cut = torch.zeros_like(allowed).scatter(1, order, before >= top_p)
        chances = chances.masked_fill(cut, 0)
    return chances / chances.sum(1, keepdim=True)


def pick(chances: Tensor, uniform: Tensor) -> Tensor:
    """Return (B,) int64: the token at which the cumulated probability passes ``uniform``.

    Args:
        chances: (B, V) float64.
        uniform: (B,) float64 in (0, 1).
    """
    cumulated = chances.cumsum(1)
    target = uniform[:, None] * cumulated[:, -1:]
    # The second term is the last token with any probability: rounding must not step past it.
    last = (cumulated < cumulated[:, -1:]).sum(1)
    return torch.minimum((cumulated <= target).sum(1), last)
