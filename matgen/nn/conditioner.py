"""What was asked for, as vectors in front of the sequence.

Axes: B rows, K condition slots, D width.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor, nn

from matgen.roles.condition import Condition

NOT_ASKED: Final = 0
"""The crystal is free in this property."""
NOT_KNOWN: Final = 1
"""Training only: the property was asked about, but the data do not have it."""
GIVEN: Final = 2
"""The feature says the value."""


class Conditioner(nn.Module):
    """One slot per condition: a learned label, plus the encoded value or what stands for none.

    The only owner of "not asked" and "not known": a learned vector each, per slot.
    """

    def __init__(self, conditions: Sequence[Condition], width: int) -> None:
        """Build the encoders.

        Args:
            conditions: In the order of the slots.
            width: D.
        """
        super().__init__()
        n_slots = len(conditions)
        self.label_KD = nn.Parameter(torch.empty(n_slots, width))
        self.not_asked_KD = nn.Parameter(torch.empty(n_slots, width))
        self.not_known_KD = nn.Parameter(torch.empty(n_slots, width))
        if n_slots:
            for vectors in (self.label_KD, self.not_asked_KD, self.not_known_KD):
                nn.init.normal_(vectors, std=0.02)
        self.encoders = nn.ModuleList(condition.encoder(width) for condition in conditions)

    def forward(self, features: Sequence[Tensor], status_BK: Tensor) -> Tensor:
        """Return (B, K, D) slots.

        Args:
            features: Per slot (B, size) float32; read only where given, NaN elsewhere is fine.
            status_BK: (B, K) int64: NOT_ASKED, NOT_KNOWN or GIVEN.
        """
        if not self.encoders:
            return self.label_KD.new_zeros(status_BK.shape[0], 0, self.label_KD.shape[1])
        dtype = self.label_KD.dtype
        encoded = []
        for slot, (encoder, feature_BS) in enumerate(zip(self.encoders, features, strict=True)):
            # Replaced before the encoder: NaN times a gradient of zero is still NaN.
            given_B1 = status_BK[:, slot, None] == GIVEN
            clean_BS = torch.where(given_B1, feature_BS, 0.0)
            encoded.append(encoder(clean_BS.to(dtype)).to(dtype))
        status_BK1 = status_BK[..., None]
        without_BKD = torch.where(status_BK1 == NOT_KNOWN, self.not_known_KD, self.not_asked_KD)
        said_BKD = torch.where(status_BK1 == GIVEN, torch.stack(encoded, dim=1), without_BKD)
        return self.label_KD + said_BKD
