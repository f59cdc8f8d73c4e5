"""Which sequences share a step, and how they become tensors. No padding anywhere.

Axes: n sequences of a store, R rows of a batch, K condition slots, T tokens of a batch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray

from matgen.data.batch import Batch, SequenceStore
from matgen.nn.conditioner import GIVEN, NOT_ASKED, NOT_KNOWN
from matgen.nn.language_model import Dense, Layout, Packed
from matgen.roles.condition import Condition
from matgen.training.condition_dropout import dropped, random_keys
from matgen.training.settings import TrainingSettings


def epoch_batches(
    lengths: NDArray[np.int64], batch_positions: int, *, seed: int, epoch: int, packed: bool
) -> list[NDArray[np.int64]]:
    """Return the batches of an epoch, each as (R,) places in the store; every sequence once.

    Args:
        lengths: (n,) positions per sequence, condition slots included.
        batch_positions: Positions per batch, about; a longer sequence has a batch of its own.
        seed: Of the run.
        epoch: Other epochs have other batches in another order.
        packed: Lengths mixed, each batch sorted by length; else one length per batch.
    """
    rng = np.random.default_rng([seed, epoch])
    order = rng.permutation(len(lengths))
    if packed:
        return _cut(order, lengths, batch_positions)
    batches: list[NDArray[np.int64]] = []
    for length in np.unique(lengths):
        members = order[lengths[order] == length]
        # Even parts: a remainder of a few sequences would make a step as large as any other.
        n_parts = -(-len(members) * int(length) // batch_positions)
        batches += np.array_split(members, min(n_parts, len(members)))
    return [batches[i] for i in rng.permutation(len(batches))]


def shares(
    indices: NDArray[np.int64], lengths_R: NDArray[np.int64], *, n_ranks: int, positions: int
) -> list[list[NDArray[np.int64]]]:
    """Return, per rank, the parts of a batch that it puts through the network one by one.

    Parts are runs of the batch, about equal in positions, and dealt out in turn, so that ranks have
    about the same number of tokens. A rank may have none if there are fewer sequences than ranks.

    Args:
        indices: (R,) sequences of the batch.
        lengths_R: Their positions.
        n_ranks: Ranks that share the batch.
        positions: Per part, about, at most.
    """
    n_parts = n_ranks * -(-int(lengths_R.sum()) // (n_ranks * positions))
    parts = _runs(indices, lengths_R, n_parts)
    return [parts[rank::n_ranks] for rank in range(n_ranks)]


def _cut(
    order: NDArray[np.int64], lengths: NDArray[np.int64], batch_positions: int
) -> list[NDArray[np.int64]]:
    """Cut a shuffled order into batches, each sorted by length."""
    n_batches = -(-int(lengths.sum()) // batch_positions)
    parts = _runs(order, lengths[order], n_batches)
    return [part[np.argsort(lengths[part], kind="stable")] for part in parts]


def _runs(
    order: NDArray[np.int64], lengths: NDArray[np.int64], n_runs: int
) -> list[NDArray[np.int64]]:
    """Cut where a new run begins: a sequence belongs where it starts. No run is empty."""
    ends = np.cumsum(lengths)
    which = (ends - lengths) * n_runs // int(ends[-1])
    return np.split(order, np.flatnonzero(np.diff(which)) + 1)


@dataclass(frozen=True, eq=False)
class Batcher:
    """Reads a store and makes batches on the CPU.

    Attributes:
        conditions: Those with a slot, in order.
        packed: Layout of the batches; equal lengths are up to the caller otherwise.
    """

    store: SequenceStore
    conditions: Sequence[Condition]
    settings: TrainingSettings
    packed: bool

    @cached_property
    def lengths(self) -> NDArray[np.int64]:
        """(n,) positions per sequence, condition slots included."""
        return self.store.lengths.astype(np.int64) + len(self.conditions)

    @cached_property
    def longest(self) -> int:
        """Positions of the longest sequence."""
        return int(self.lengths.max())

    def n_targets(self, indices: NDArray[np.int64]) -> int:
        """Return how many tokens the chosen sequences teach: all but their start tokens."""
        return int(self.store.lengths[indices].sum()) - len(indices)

    def epoch(self, epoch: int) -> list[NDArray[np.int64]]:
        """Return the batches of a training epoch."""
        return epoch_batches(
            self.lengths,
            self.settings.batch_tokens,
            seed=self.settings.seed,
            epoch=epoch,
            packed=self.packed,
        )

    def training(self, indices: NDArray[np.int64], epoch: int) -> Batch:
        """Return a batch with some conditions dropped."""
        labels = [condition.label for condition in self.conditions]
        lost_RK = dropped(
            self.settings.seed,
            epoch,
            indices,
            labels,
            each=self.settings.condition_dropout,
            together=self.settings.all_conditions_dropout,
        )
        return self._batch(indices, epoch, lost_RK)

    def validation(self, indices: NDArray[np.int64], *, asked: bool) -> Batch:
        """Return a batch with all conditions asked for, or none; the same at every call."""
        lost_RK = np.full((len(indices), len(self.conditions)), not asked)
        return self._batch(indices, 0, lost_RK)

    def _batch(self, indices: NDArray[np.int64], epoch: int, lost_RK: NDArray[np.bool_]) -> Batch:
        gathered = self.store.gather(indices, epoch=epoch)
        status_RK = np.full(lost_RK.shape, NOT_ASKED, dtype=np.int64)
        features = []
        for slot, condition in enumerate(self.conditions):
            raw = self.store.features(condition.label, indices)
            keys = random_keys(self.settings.seed, epoch, indices, condition.label + " augment")
            seen = condition.augment(raw, keys)
            missing_R = np.isnan(seen).any(axis=1)
            status_RK[:, slot] = np.where(missing_R, NOT_KNOWN, GIVEN)
            features.append(torch.from_numpy(np.array(seen, dtype=np.float32)))
        status_RK[lost_RK] = NOT_ASKED
        return Batch(
            ids_T=torch.from_numpy(gathered.ids),
            values_T=None
            if gathered.values is None
            else torch.from_numpy(np.array(gathered.values, dtype=np.float32)),
            kinds_T=torch.from_numpy(gathered.kinds),
            layout=self._layout(indices),
            features=features,
            status_RK=torch.from_numpy(status_RK),
        )

    def _layout(self, indices: NDArray[np.int64]) -> Layout:
        lengths = self.lengths[indices]
        if not self.packed:
            assert lengths.min() == lengths.max()
            return Dense(len(lengths), int(lengths[0]))
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
        # The longest of the store, not of the batch: to a compiled step each would be a new number.
        return Packed(torch.from_numpy(offsets), self.longest)


def to_device(batch: Batch, device: str) -> Batch:
    """Return the batch on another device; copied while the host goes on if it is pinned."""
    if device == "cpu":
        return batch
    return _each(batch, lambda tensor: tensor.to(device, non_blocking=True))


def pinned(batch: Batch, device: str) -> Batch:
    """Return the batch in memory that a CUDA device can read on its own; as it is for the CPU."""
    return batch if device == "cpu" else _each(batch, torch.Tensor.pin_memory)


def _each(batch: Batch, moved: Callable[[torch.Tensor], torch.Tensor]) -> Batch:
    layout = batch.layout
    if isinstance(layout, Packed):
        layout = Packed(moved(layout.offsets), layout.max_length)
    return Batch(
        ids_T=moved(batch.ids_T),
        values_T=None if batch.values_T is None else moved(batch.values_T),
        kinds_T=moved(batch.kinds_T),
        layout=layout,
        features=[moved(feature) for feature in batch.features],
        status_RK=moved(batch.status_RK),
    )
