"""The processes that train one model together: one, or as many as were started side by side.

A rank is one of them. All ranks hold the same weights and see the same list of batches; each takes
its share of every batch, and gradients are added up before the step.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch import distributed as dist
from torch.nn.parallel import DistributedDataParallel

from matgen.errors import BadOptions

LONGEST_WAIT: Final = timedelta(hours=6)
"""How long ranks wait for each other; the first may have a large dataset to prepare."""


@dataclass(frozen=True)
class Ranks:
    """Which of how many processes this is.

    Attributes:
        rank: From 0; rank 0 alone writes files and speaks.
        size: How many there are.
    """

    rank: int = 0
    size: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this is the rank that writes and speaks."""
        return self.rank == 0

    def joined(self, module: nn.Module) -> nn.Module:
        """Return the module as one whose gradients are averaged over the ranks."""
        if self.size == 1:
            return module
        # Buffers are alike on all ranks already; the argument that says so got another name.
        arguments = inspect.signature(DistributedDataParallel).parameters
        unsynced = (
            {"forward_sync_buffers": False}
            if "forward_sync_buffers" in arguments
            else {"broadcast_buffers": False}
        )
        joined = DistributedDataParallel
        return joined(module, gradient_as_bucket_view=True, **unsynced)  # type: ignore[arg-type]  # either name is a bool

    def add_up(self, tensor: Tensor) -> None:
        """Replace a tensor, in place, by its sum over the ranks."""
        if self.size > 1:
            dist.all_reduce(tensor)

    def largest(self, numbers: list[float]) -> list[float]:
        """Return the largest of each number over the ranks; a wish of one is a wish of all."""
        if self.size == 1:
            return numbers
        agreed = torch.tensor(numbers, dtype=torch.float64)
        dist.all_reduce(agreed, op=dist.ReduceOp.MAX)
        told: list[float] = agreed.tolist()
        return told

    def from_first(self, value: Any) -> Any:  # whatever can be pickled, between our own processes
        """Return what the first rank has; the others' values are ignored."""
        if self.size == 1:
            return value
        held = [value]
        dist.broadcast_object_list(held, src=0)
        return held[0]

    def wait(self) -> None:
        """Return when all ranks are here."""
        self.largest([0.0])


def without_exchange(module: nn.Module) -> AbstractContextManager[None]:
    """Return a context in which a joined module keeps its gradients to itself."""
    if isinstance(module, DistributedDataParallel):
        context: AbstractContextManager[None] = module.no_sync()
        return context
    return nullcontext()


@contextmanager
def process_group(rank: int, size: int, device: str) -> Iterator[Ranks]:
    """Join the other processes until the block ends; alone, nothing is started.

    The launcher (torchrun, or SLURM with its variables set) says where the first one listens, in
    MASTER_ADDR and MASTER_PORT.

    Raises:
        BadOptions: nobody said where.
    """
    if size == 1:
        yield Ranks()
        return
    cuda = device.startswith("cuda")
    if cuda:
        torch.cuda.set_device(device)
    try:
        dist.init_process_group(
            "cpu:gloo,cuda:nccl" if cuda else "gloo",
            rank=rank,
            world_size=size,
            timeout=LONGEST_WAIT,
        )
    except ValueError as error:
        told = " ".join(str(error).split())
        raise BadOptions(
            f"WORLD_SIZE says that {size} processes train together, and they cannot meet ({told}); "
            "start them with torchrun"
        ) from None
    try:
        yield Ranks(rank, size)
    finally:
        dist.destroy_process_group()
