"""Torch's own random stream, borrowed for a while and given back as it was.

First weights and dropout have no other source in torch; everything else of a run is keyed by
counters.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor


@contextmanager
def own_random_stream(seed: int, device: str) -> Iterator[None]:
    """Start torch's generators of the CPU and of this device at a seed, until the block ends."""
    cuda = device.startswith("cuda")
    index = torch.device(device).index or 0
    with torch.random.fork_rng(devices=[index] if cuda else []):
        torch.set_rng_state(torch.Generator().manual_seed(seed).get_state())
        if cuda:
            state = torch.Generator(device).manual_seed(seed).get_state()
            torch.cuda.set_rng_state(state, device)
        yield


def random_states(device: str) -> dict[str, Tensor]:
    """Return where the generators are, as tensors of bytes."""
    states = {"cpu": torch.get_rng_state()}
    if device.startswith("cuda"):
        states["cuda"] = torch.cuda.get_rng_state(device)
    return states


def restore_random_states(states: Mapping[str, Tensor], device: str) -> None:
    """Put the generators where they were; a run that changed device starts the other's anew."""
    torch.set_rng_state(states["cpu"])
    if device.startswith("cuda") and "cuda" in states:
        torch.cuda.set_rng_state(states["cuda"], device)
