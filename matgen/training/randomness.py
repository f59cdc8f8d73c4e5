"""Torch's own random stream, borrowed for a while and given back as it was.

First weights and dropout have no other source in torch. Each step starts the stream anew from
(seed, step, rank), so no random state is ever saved: a step that is taken again, after a kill or
for want of memory, draws what it drew before.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


@contextmanager
def own_random_stream(seed: int, device: str) -> Iterator[None]:
    """Start torch's generators of the CPU and of this device at a seed, until the block ends."""
    index = torch.device(device).index or 0
    with torch.random.fork_rng(devices=[index] if device.startswith("cuda") else []):
        restart_random_stream(device, seed)
        yield


def restart_random_stream(device: str, *keys: int) -> None:
    """Start the generators at what the keys select; other keys are other streams.

    Args:
        device: Whose generator starts besides that of the CPU.
        keys: Each at least 0.
    """
    seed = int(np.random.SeedSequence(keys).generate_state(1, np.uint64)[0])
    torch.set_rng_state(torch.Generator().manual_seed(seed).get_state())
    if device.startswith("cuda"):
        torch.cuda.set_rng_state(torch.Generator(device).manual_seed(seed).get_state(), device)
