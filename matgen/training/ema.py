"""An exponential moving average of the weights: smoother than the weights of any one step."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class Ema:
    """Averages the parameters of a model, and lends the average to it.

    Source: Polyak and Juditsky (1992) for averaging; the decay starts at 0.1 and rises with the
    number of steps, min(decay, (1 + n) / (10 + n)), as in TensorFlow's ExponentialMovingAverage, so
    that the first weights are soon forgotten.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        """Start at the present weights."""
        self._decay = decay
        self._live = dict(model.named_parameters())
        self._average = {name: p.detach().clone() for name, p in self._live.items()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the weights after a step.

        Args:
            step: Steps taken, this one included.
        """
        weight = 1.0 - min(self._decay, (1 + step) / (10 + step))
        live = [parameter.detach() for parameter in self._live.values()]
        torch._foreach_lerp_(list(self._average.values()), live, weight)

    @contextmanager
    def lent(self) -> Iterator[None]:
        """Give the model the average weights until the block ends."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def tensors(self) -> dict[str, Tensor]:
        """Return the average, by parameter name."""
        return dict(self._average)

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Go on from a saved average.

        Raises:
            KeyError, RuntimeError: of another network.
        """
        for name, average in self._average.items():
            average.copy_(tensors[name])

    @torch.no_grad()
    def _swap(self) -> None:
        for name, parameter in self._live.items():
            held = self._average[name].clone()
            self._average[name].copy_(parameter)
            parameter.copy_(held)
