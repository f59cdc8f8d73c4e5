"""This rank's parts of every batch, made ahead of the steps that need them."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from matgen.data.batch import Batch
from matgen.errors import UserError
from matgen.training.batches import Batcher, pinned, shares
from matgen.training.hardware import Hardware
from matgen.training.ranks import Ranks
from matgen.training.settings import TrainingSettings

log = logging.getLogger(__name__)

AHEAD: Final = 2
"""Steps whose batches are made in advance."""


@dataclass(frozen=True, eq=False)
class Work:
    """What a rank has to do in a step.

    Attributes:
        indices: (R,) sequences of the whole batch, of all ranks.
        epoch: In which they are seen.
        positions: What its parts were cut to.
        parts: This rank's, at least one.
        n_targets: Tokens that the whole batch teaches; 0 where this rank's part is only there to
            take part, because there are fewer sequences than ranks.
    """

    indices: NDArray[np.int64]
    epoch: int
    positions: int
    parts: list[Batch]
    n_targets: int


class Feed:
    """Cuts batches into parts that fit into memory.

    Attributes:
        positions: How many of them go through the network at once, about.
    """

    def __init__(
        self, batcher: Batcher, settings: TrainingSettings, hardware: Hardware, ranks: Ranks
    ) -> None:
        self._batcher = batcher
        self._hardware = hardware
        self._ranks = ranks
        per_rank = -(-settings.batch_tokens // ranks.size)
        self.positions = min(hardware.positions_at_once, per_rank)

    def works(self, batches: Sequence[NDArray[np.int64]], epoch: int) -> Iterator[Work]:
        """Yield the batches in order; the next ones are made meanwhile, in another thread."""
        with ThreadPoolExecutor(max_workers=1) as pool:
            coming = [pool.submit(self._work, indices, epoch) for indices in batches[:AHEAD]]
            following = iter(batches[AHEAD:])
            while coming:
                work = coming.pop(0).result()
                coming += [pool.submit(self._work, indices, epoch) for indices in _next(following)]
                yield work

    def fitting(self, work: Work) -> Work:
        """Return the same work in parts of today's size."""
        if work.positions == self.positions:
            return work
        return self._work(work.indices, work.epoch)

    def worst(self) -> Batch:
        """Return a part as large as any can be: the longest sequences, every condition asked."""
        longest = np.argsort(self._batcher.lengths, kind="stable")[::-1]
        ends = np.cumsum(self._batcher.lengths[longest])
        n = 1 + int(np.searchsorted(ends, self.positions))
        batch = self._batcher.validation(np.sort(longest[:n]), asked=True)
        return pinned(batch, self._hardware.device)

    def take_less(self) -> None:
        """Halve what goes through the network at once.

        Raises:
            UserError: it is a single sequence already.
        """
        longest = self._batcher.longest
        if self.positions <= longest:
            raise UserError(
                f"a single crystal of {longest} positions needs more memory than "
                f"{self._hardware.device} has left; choose a smaller backbone"
            )
        self.positions = max(self.positions // 2, longest)
        if self._hardware.device.startswith("cuda"):
            torch.cuda.empty_cache()
        log.warning(
            "out of memory: %d positions at a time from here on; what is learned stays the same",
            self.positions,
        )

    def _work(self, indices: NDArray[np.int64], epoch: int) -> Work:
        positions, ranks = self.positions, self._ranks
        lengths = self._batcher.lengths[indices]
        mine = shares(indices, lengths, n_ranks=ranks.size, positions=positions)[ranks.rank]
        parts = [
            pinned(self._batcher.training(part, epoch), self._hardware.device)
            for part in mine or [indices[:1]]
        ]
        n_targets = self._batcher.n_targets(indices) if mine else 0
        return Work(indices, epoch, positions, parts, n_targets)


def _next(batches: Iterator[NDArray[np.int64]]) -> list[NDArray[np.int64]]:
    """Return the next batch, or nothing."""
    return [] if (following := next(batches, None)) is None else [following]
