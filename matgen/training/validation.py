"""The loss on a fixed sample of the validation set, per kind of token."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from matgen.data.batch import SequenceStore
from matgen.model_spec import ModelSpec
from matgen.nn.crystal_model import CrystalModel
from matgen.training.batches import Batcher, epoch_batches, to_device
from matgen.training.hardware import Hardware
from matgen.training.ranks import Ranks
from matgen.training.settings import TrainingSettings


@dataclass(frozen=True)
class Losses:
    """Means per crystal token, nats; see ``Validation``."""

    loss: float
    given: float
    free: float
    kinds: Mapping[str, float]


class Validator:
    """Always looks at the same sequences, with all conditions given and with none.

    Nothing here is random from one call to the next, so losses differ by the weights alone.
    """

    def __init__(
        self,
        spec: ModelSpec,
        store: SequenceStore,
        settings: TrainingSettings,
        hardware: Hardware,
        ranks: Ranks | None = None,
    ) -> None:
        self._ranks = ranks or Ranks()
        self._hardware = hardware
        self._kind_names = store.kind_names
        self._batcher = Batcher(store, spec.slotted, settings, hardware.packed)
        sample = _sample(len(store), settings.validation_sequences)
        cut = epoch_batches(
            self._batcher.lengths[sample],
            hardware.positions_at_once,
            seed=0,
            epoch=0,
            packed=hardware.packed,
        )
        # Every rank looks at some of them.
        self._batches = [sample[part] for part in cut][self._ranks.rank :: self._ranks.size]

    def losses(
        self, model: CrystalModel, *, unwanted: Callable[[], bool] = lambda: False
    ) -> Losses | None:
        """Return the losses of a model, in evaluation mode; the model's mode is put back.

        Args:
            model: On its device.
            unwanted: Asked between batches; once it is true the look is given up: None.
        """
        was_training = model.training
        model.eval()
        try:
            given = self._sums(model, unwanted, asked=True)
            free = self._sums(model, unwanted, asked=False) if model.n_slots else given
        finally:
            model.train(was_training)
        if given is None or free is None:
            return None
        both = given + free
        met = [i for i, count in enumerate(both[1]) if count > 0]
        return Losses(
            loss=float((_mean(given) + _mean(free)) / 2),
            given=_mean(given),
            free=_mean(free),
            kinds={self._kind_names[i]: float(both[0, i] / both[1, i]) for i in met},
        )

    @torch.no_grad()
    def _sums(
        self, model: CrystalModel, unwanted: Callable[[], bool], *, asked: bool
    ) -> NDArray[np.float64] | None:
        """Return (2, n_kinds): summed loss and number of tokens per kind, of all ranks."""
        device = self._hardware.device
        sums = torch.zeros(2, len(self._kind_names), dtype=torch.float64, device=device)
        for indices in self._batches:
            if unwanted():
                return None
            batch = to_device(self._batcher.validation(indices, asked=asked), device)
            with self._hardware.autocast():
                losses = model.token_losses(batch)
            total = losses.total_N.double()
            sums[0].index_add_(0, losses.kinds_N, total)
            sums[1].index_add_(0, losses.kinds_N, torch.ones_like(total))
        self._ranks.add_up(sums)
        return sums.cpu().numpy()


def _mean(sums: NDArray[np.float64]) -> float:
    return float(sums[0].sum() / sums[1].sum())


def _sample(n: int, wanted: int) -> NDArray[np.int64]:
    """Return the places of the sample; the same whatever the run's seed, so that runs compare."""
    return np.sort(np.random.default_rng(0).permutation(n)[:wanted])
