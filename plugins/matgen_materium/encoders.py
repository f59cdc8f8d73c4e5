"""Learned maps from condition features to vectors that a linear layer cannot be."""

from __future__ import annotations

from torch import Tensor, nn

MOST_ATOMS = 64
"""Counts above share the last stoichiometry vector."""


class SpaceGroupEncoder(nn.Module):
    """One vector per space group."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.groups = nn.Embedding(231, width)

    def forward(self, features_B1: Tensor) -> Tensor:
        """Return (B, width)."""
        groups: Tensor = self.groups(features_B1[:, 0].long().clamp(0, 230))
        return groups


class FormulaEncoder(nn.Module):
    """Sum over the elements present of (element vector + vector of its count)."""

    def __init__(self, n_elements: int, width: int) -> None:
        super().__init__()
        self.elements = nn.Linear(n_elements, width, bias=False)
        self.counts = nn.Embedding(MOST_ATOMS + 1, width, padding_idx=0)

    def forward(self, features_BE: Tensor) -> Tensor:
        """Return (B, width)."""
        present = (features_BE > 0).to(self.elements.weight.dtype)
        by_count = self.counts(features_BE.long().clamp(0, MOST_ATOMS))
        summed: Tensor = self.elements(present) + by_count.sum(dim=1)
        return summed
