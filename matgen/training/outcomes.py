"""Loss and gradient of steps, read from the device some steps later, so that it need not wait."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

LAG: Final = 2
"""Steps that a CUDA device may be ahead of what is known of it."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a step.

    Attributes:
        step: From 1.
        loss: Mean per crystal token, nats; not finite if the step was skipped for it.
        norm: Length of the gradient before it was clipped.
        skipped: The step changed nothing.
    """

    step: int
    loss: float
    norm: float
    skipped: bool

    @property
    def shown_loss(self) -> float:
        """The loss; NaN where the step was skipped."""
        return math.nan if self.skipped else self.loss


class Outcomes:
    """A queue of outcomes on their way from the device."""

    def __init__(self, device: str) -> None:
        self._cuda = device.startswith("cuda")
        self._coming: deque[tuple[int, Tensor, torch.cuda.Event | None]] = deque()

    def add(self, step: int, told: Tensor) -> None:
        """Add what ``Learner.learn`` returned for a step, without waiting for it."""
        if not self._cuda:
            self._coming.append((step, told, None))
            return
        held = torch.empty(told.shape, dtype=told.dtype, pin_memory=True)
        held.copy_(told, non_blocking=True)
        event = torch.cuda.Event()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        event.record()
        self._coming.append((step, held, event))

    def settled(self, *, wait: bool = False) -> list[Outcome]:
        """Return outcomes that have not been returned yet, oldest first.

        Args:
            wait: For all of them; otherwise a CUDA device may keep the last few.
        """
        lag = LAG if self._cuda and not wait else 0
        settled = []
        while len(self._coming) > lag:
            step, told, event = self._coming.popleft()
            if event is not None:
                event.synchronize()
            loss, norm, skipped = told.tolist()
            settled.append(Outcome(step, loss, norm, bool(skipped)))
        return settled
