"""What a training run will take, before it takes it."""

from __future__ import annotations

from typing import Final

import numpy as np
import torch
from torch import Tensor

from matgen.data.batch import Batch, SequenceStore
from matgen.model_spec import ModelSpec
from matgen.nn.conditioner import GIVEN
from matgen.nn.crystal_model import CrystalModel
from matgen.nn.language_model import Dense
from matgen.training.settings import TrainingSettings

COPIES: Final = 4
"""Weights, gradients, and AdamW's two averages, all float32."""

_BYTES: Final = 4


def tokens_per_epoch(store: SequenceStore) -> int:
    """Return the crystal tokens that are learned in one pass: all but the start tokens."""
    return int(store.lengths.sum()) - len(store)


def expected_memory(spec: ModelSpec, settings: TrainingSettings) -> int:
    """Return the bytes that weights, optimiser and one step's activations take in float32.

    An estimate from above for bf16: what the network keeps for its gradients is counted by running
    it on tensors without memory, at the longest length.
    """
    with torch.device("meta"):
        model = CrystalModel(spec)
    weights = COPIES * _BYTES * model.n_parameters
    positions = max(settings.batch_tokens, spec.max_positions)
    rows = -(-positions // spec.max_positions)
    return weights + _kept_for_gradients(model, _shapes(model, rows))


def _shapes(model: CrystalModel, rows: int) -> Batch:
    """Return a batch of the longest sequences, without memory."""
    spec = model.spec
    n_tokens = rows * spec.representation.max_tokens
    continuous = bool(model.vocabulary.continuous)
    with torch.device("meta"):
        return Batch(
            ids_T=torch.zeros(n_tokens, dtype=torch.int64),
            values_T=torch.zeros(n_tokens) if continuous else None,
            kinds_T=torch.zeros(n_tokens, dtype=torch.int64),
            layout=Dense(rows, spec.max_positions),
            features=[torch.zeros(rows, c.feature_size) for c in spec.slotted],
            status_RK=torch.full((rows, len(spec.slotted)), GIVEN),
        )


def _kept_for_gradients(model: CrystalModel, batch: Batch) -> int:
    """Return the bytes of all tensors that a forward pass keeps, each storage once."""
    weights = {_storage(parameter) for parameter in model.parameters()}
    kept: dict[int, tuple[Tensor, int]] = {}

    def keep(tensor: Tensor) -> Tensor:
        if _storage(tensor) not in weights:
            # The tensor is held so that its storage's identity cannot come again.
            kept[_storage(tensor)] = (tensor, tensor.untyped_storage().nbytes())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        losses = model.train().token_losses(batch)
    logits = losses.token_N.shape[0] * len(model.vocabulary) * _BYTES
    return int(np.sum([size for _, size in kept.values()], dtype=np.int64)) + logits


def _storage(tensor: Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)  # noqa: SLF001 - the storage's identity; without memory there is no address
