"""A trained model as one module: conditions in front, tokens behind, losses per token.

Axes: B (or R) rows, K condition slots, T tokens of a batch, S = T + R K positions of the stream,
N = T - R targets, D width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from matgen.data.batch import Batch
from matgen.model_spec import ModelSpec
from matgen.nn.conditioner import GIVEN, NOT_ASKED, Conditioner
from matgen.nn.language_model import Dense, Layout
from matgen.nn.value_head import ValueHead
from matgen.records import PropertyValue


@dataclass(frozen=True, eq=False)
class TokenLosses:
    """Losses of the N targets: every token of every crystal but the start tokens.

    Attributes:
        token_N: (N,) float32, minus the log-probability of the token, nats.
        value_N: (N,) float32, minus the log-density of its value; 0 where it has none. None where
            the vocabulary has no continuous tokens.
        kinds_N: (N,) int64 kinds of the targets' positions.
    """

    token_N: Tensor
    value_N: Tensor | None
    kinds_N: Tensor

    @property
    def total_N(self) -> Tensor:
        """(N,) token and value loss together."""
        return self.token_N if self.value_N is None else self.token_N + self.value_N


@dataclass(frozen=True, eq=False)
class _Places:
    """Where things are: slots and tokens in the stream, targets among the tokens.

    Attributes:
        slot_RK: (R K,) places of the slots in the stream.
        token_T: (T,) places of the tokens in the stream.
        target_N: (N,) places of the targets among the tokens.
    """

    slot_RK: Tensor
    token_T: Tensor
    target_N: Tensor


class CrystalModel(nn.Module):
    """The components of a spec as networks."""

    def __init__(self, spec: ModelSpec) -> None:
        """Build with fresh weights, drawn from torch's current generator."""
        super().__init__()
        self.spec = spec
        self.vocabulary = spec.representation.vocabulary()
        self.language_model = spec.backbone.build(self.vocabulary, spec.max_positions)
        self.conditioner = Conditioner(spec.slotted, self.language_model.width)
        continuous_V = torch.zeros(len(self.vocabulary), dtype=torch.bool)
        continuous_V[list(self.vocabulary.continuous)] = True
        self.register_buffer("_continuous_V", continuous_V, persistent=False)

    _continuous_V: Tensor

    @property
    def n_slots(self) -> int:
        """K, the condition slots in front of every sequence."""
        return len(self.spec.slotted)

    @property
    def n_parameters(self) -> int:
        """Numbers that are learned."""
        return sum(parameter.numel() for parameter in self.parameters())

    def condition_batch(
        self, conditions: Sequence[Mapping[str, PropertyValue]], device: str
    ) -> tuple[list[Tensor], Tensor]:
        """Return features and status of what each row asks for, ready for the conditioner.

        Args:
            conditions: Per row label to value; labels without a slot are left out.
            device: Where the tensors shall be.

        Returns:
            Per slot (B, size) float32, and (B, K) int64.
        """
        features = []
        status_BK = torch.full((len(conditions), self.n_slots), NOT_ASKED, dtype=torch.int64)
        for slot, condition in enumerate(self.spec.slotted):
            feature_BS = torch.zeros(len(conditions), condition.feature_size)
            for row, asked in enumerate(conditions):
                if condition.label in asked:
                    feature = condition.feature(asked[condition.label])
                    feature_BS[row] = torch.as_tensor(feature, dtype=torch.float32)
                    status_BK[row, slot] = GIVEN
            features.append(feature_BS.to(device))
        return features, status_BK.to(device)

    def embed_stream(self, batch: Batch) -> Tensor:
        """Return (S, D) embeddings of a batch's stream: each row's slots, then its tokens."""
        return self._embed_stream(batch, self._places(batch))

    def token_losses(self, batch: Batch, *, label_smoothing: float = 0.0) -> TokenLosses:
        """Return the losses of every crystal token but the start tokens.

        The hidden state at the previous token predicts a token and, if it is continuous, its value.

        Args:
            batch: On the model's device.
            label_smoothing: Share of each target's probability spread evenly over all tokens.
        """
        places = self._places(batch)
        model = self.language_model
        h_SD = model.hidden(self._embed_stream(batch, places), batch.layout)
        h_ND = h_SD[places.token_T[places.target_N] - 1]
        target_N = batch.ids_T[places.target_N]
        token_N = cross_entropy(
            model.logits(h_ND), target_N, reduction="none", label_smoothing=label_smoothing
        )
        value_N = None
        if batch.values_T is not None and self.vocabulary.continuous:
            value_N = self._value_losses(h_ND, target_N, batch.values_T[places.target_N])
        return TokenLosses(token_N, value_N, batch.kinds_T[places.target_N])

    def _value_losses(self, h_ND: Tensor, target_N: Tensor, values_N: Tensor) -> Tensor:
        head = self.language_model.value_head
        assert isinstance(head, ValueHead)
        # Evaluated everywhere and then masked: picking the few would make a GPU wait for the host.
        carries_N = self._continuous_V[target_N]
        distribution = head(h_ND, target_N)
        safe_N = torch.where(carries_N, values_N, distribution.mean.detach())
        return torch.where(carries_N, -distribution.log_prob(safe_N), 0.0)

    def _embed_stream(self, batch: Batch, places: _Places) -> Tensor:
        values_T = batch.values_T if self.vocabulary.continuous else None
        x_TD = self.language_model.embed(batch.ids_T, values_T)
        slots_BKD = self.conditioner(batch.features, batch.status_RK).to(x_TD.dtype)
        if isinstance(batch.layout, Dense):
            x_BLD = x_TD.view(batch.layout.rows, -1, x_TD.shape[1])
            return torch.cat([slots_BKD, x_BLD], dim=1).flatten(0, 1)
        x_SD = x_TD.new_empty(len(places.slot_RK) + len(places.token_T), x_TD.shape[1])
        x_SD = x_SD.index_copy(0, places.token_T, x_TD)
        return x_SD.index_copy(0, places.slot_RK, slots_BKD.flatten(0, 1))

    def _places(self, batch: Batch) -> _Places:
        n_rows, n_tokens, n_slots = batch.n_rows, batch.n_tokens, self.n_slots
        device = batch.ids_T.device
        starts_R, lengths_R = _rows(batch.layout, device)
        lengths_R = lengths_R - n_slots
        slots_K = torch.arange(n_slots, device=device)
        rows_R = torch.arange(n_rows, device=device)
        row_T = rows_R.repeat_interleave(lengths_R, output_size=n_tokens)
        row_N = rows_R.repeat_interleave(lengths_R - 1, output_size=n_tokens - n_rows)
        return _Places(
            slot_RK=(starts_R[:, None] + slots_K).flatten(),
            token_T=torch.arange(n_tokens, device=device) + (row_T + 1) * n_slots,
            target_N=torch.arange(n_tokens - n_rows, device=device) + row_N + 1,
        )


def _rows(layout: Layout, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return (R,) first positions and (R,) lengths of a stream's sequences."""
    if isinstance(layout, Dense):
        lengths_R = torch.full((layout.rows,), layout.length, device=device)
        return torch.arange(layout.rows, device=device) * layout.length, lengths_R
    offsets = layout.offsets.long()
    return offsets[:-1], offsets.diff()
