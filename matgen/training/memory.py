"""What a training run will take, before it takes it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from torch import Tensor

from matgen.data.batch import Batch, SequenceStore
from matgen.errors import BadOptions
from matgen.model_spec import ModelSpec
from matgen.nn.conditioner import GIVEN
from matgen.nn.crystal_model import CrystalModel
from matgen.nn.language_model import Dense
from matgen.training.hardware import Hardware, resolve_hardware
from matgen.training.host_memory import free_memory, resident_memory
from matgen.training.settings import TrainingSettings

LARGEST_BATCH: Final = 65_536
"""Positions: over a thousand crystals. The paper's batch of 512 has half as many."""
SMALLEST_BATCH: Final = 1024
TO_SPARE: Final = 0.8
"""Share of the free memory that a run may be expected to take."""

_BYTES: Final = 4
_LOGITS_AT_ONCE: Final = 2
"""Tensors as large as the logits that the gradient of the loss holds besides what was kept."""


@dataclass(frozen=True)
class ExpectedMemory:
    """Bytes at the highest.

    Attributes:
        process: What the process holds before it has a model; 0 on a CUDA device.
        weights: Weights, their gradients, the optimiser's averages, the average of the weights.
        step: What the network keeps for its gradients, and the gradients on their way.
    """

    process: int
    weights: int
    step: int

    @property
    def total(self) -> int:
        """All together."""
        return self.process + self.weights + self.step


def tokens_per_epoch(store: SequenceStore) -> int:
    """Return the crystal tokens that are learned in one pass: all but the start tokens."""
    return int(store.lengths.sum()) - len(store)


def expected_memory(
    spec: ModelSpec, settings: TrainingSettings, *, n_ranks: int = 1
) -> ExpectedMemory:
    """Return what the device of each rank will hold at most.

    What the network keeps for its gradients is counted by running it on tensors without memory, in
    float32 and at the longest length. In bfloat16 a step takes less than that.

    Raises:
        BadOptions: the device is not there.
    """
    hardware = resolve_hardware(settings)
    model = _without_memory(spec)
    positions = min(hardware.positions_at_once, -(-settings.batch_tokens // n_ranks))
    on_host = hardware.device == "cpu"
    return ExpectedMemory(
        process=(resident_memory() or 0) if on_host else 0,
        weights=_weights(model, settings),
        step=_step(model, positions),
    )


def largest_batch(
    spec: ModelSpec, settings: TrainingSettings, *, n_ranks: int = 1
) -> TrainingSettings:
    """Return the settings with the largest batch that goes through the memory at once.

    At most 65,536 positions over all CUDA devices, and at most what a CPU can use, halved until it
    is expected to fit. On CUDA it is tried when training begins, and put through in parts if it
    does not fit after all.

    Raises:
        BadOptions: not even a small batch fits.
    """
    hardware = resolve_hardware(settings)
    free = _free(hardware)
    model = _without_memory(spec)
    left = None if free is None else TO_SPARE * free - _weights(model, settings)
    on_cuda = hardware.device.startswith("cuda")
    positions = LARGEST_BATCH // n_ranks if on_cuda else hardware.positions_at_once
    while left is not None and _step(model, positions) > left:
        positions //= 2
        if positions < max(SMALLEST_BATCH, spec.max_positions):
            raise BadOptions(
                f"{hardware.device} has {(free or 0) / 1e6:.0f} MB free, which is too little to "
                "train this backbone; choose a smaller --preset"
            )
    return settings.model_copy(update={"batch_tokens": positions * n_ranks})


def _free(hardware: Hardware) -> int | None:
    if hardware.device.startswith("cuda"):
        return int(torch.cuda.mem_get_info(hardware.device)[0])
    return free_memory()


def _without_memory(spec: ModelSpec) -> CrystalModel:
    with torch.device("meta"):
        return CrystalModel(spec)


def _weights(model: CrystalModel, settings: TrainingSettings) -> int:
    """Return the bytes of everything that is as large as the weights."""
    copies = 4 if settings.ema_decay is None else 5
    # Where Muon moves the matrices it saves one of AdamW's two averages; not counted.
    return copies * _BYTES * model.n_parameters


def _step(model: CrystalModel, positions: int) -> int:
    """Return the bytes that one part of a step takes at most."""
    rows = -(-positions // model.spec.max_positions)
    batch = _longest(model, rows)
    kept = _kept_for_gradients(model, batch)
    n_logits = (batch.n_tokens - rows) * len(model.vocabulary)
    return kept + _LOGITS_AT_ONCE * _BYTES * n_logits


def _longest(model: CrystalModel, rows: int) -> Batch:
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
        model.train().token_losses(batch)
    return int(np.sum([size for _, size in kept.values()], dtype=np.int64))


def _storage(tensor: Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)  # noqa: SLF001 - the storage's identity; without memory there is no address
