"""The processes that torchrun, or a cluster, started for one training run."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from matgen.devices import pick_device

if TYPE_CHECKING:
    from matgen.training.ranks import Ranks

T = TypeVar("T")


@dataclass(frozen=True)
class Launch:
    """What the launcher says in RANK, LOCAL_RANK and WORLD_SIZE.

    Attributes:
        rank: This process, from 0.
        local_rank: The same among those on this machine; chooses the CUDA device.
        size: Processes in all.
    """

    rank: int
    local_rank: int
    size: int

    def device(self, asked: str) -> str:
        """Return the torch device of this process."""
        where = pick_device(asked)
        return f"cuda:{self.local_rank}" if self.size > 1 and where == "cuda" else where

    @contextmanager
    def joined(self, device: str) -> Iterator[Ranks]:
        """Join the other processes until the block ends."""
        from matgen.training.ranks import process_group

        with process_group(self.rank, self.size, device) as ranks:
            yield ranks


def first_alone(ranks: Ranks, make: Callable[[], T]) -> T:
    """Return what ``make`` gives on every rank; the first goes first and leaves files for all.

    The others find everything made and have nothing new to say.
    """
    if ranks.is_first:
        made = make()
        ranks.wait()
        return made
    ranks.wait()
    with contextlib.redirect_stderr(io.StringIO()):
        return make()
