"""What training tells whoever watches, and what it returns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Progress:
    """A step that was just taken.

    Attributes:
        step: From 1, earlier sittings included.
        epoch: From 0.
        total_steps: When the run ends, if no time limit ends it earlier.
        loss: Mean per crystal token, nats; NaN where the step was skipped. On CUDA it may be that
            of a step or two before, which is known without waiting.
        tokens_per_s: Crystal tokens per second over the last steps.
        seconds_left: Until the end of the run at this speed.
        skipped_steps: Steps of the run that changed nothing.
    """

    step: int
    epoch: int
    total_steps: int
    loss: float
    learning_rate: float
    tokens_per_s: float
    seconds_left: float
    skipped_steps: int


@dataclass(frozen=True, slots=True)
class Validation:
    """Losses over the fixed validation sample; means per crystal token, nats.

    Attributes:
        step: Steps taken before.
        loss: What the best model and the learning rate go by: mean of ``given`` and ``free``.
        given: All known conditions given.
        free: None asked for; equal to ``given`` in a model without conditions.
        kinds: Kind of position to its loss per token, mean of both.
        best: No validation of this run was lower.
    """

    step: int
    loss: float
    given: float
    free: float
    kinds: Mapping[str, float]
    best: bool


class TrainObserver(Protocol):
    """Hears how training goes; may take its time, it is called between steps."""

    def on_step(self, progress: Progress) -> None:
        """A step was taken or skipped."""

    def on_validation(self, validation: Validation) -> None:
        """The validation sample was looked at."""

    def on_checkpoint(self, path: Path) -> None:
        """A checkpoint is complete."""


@dataclass(frozen=True, slots=True)
class TrainResult:
    """How a training run ended.

    Attributes:
        step: Steps taken, earlier sittings included.
        epoch: Whole epochs done.
        best_loss: Lowest validation loss; what ``model.safetensors`` has.
        best_step: Its step.
        seconds: Training time, earlier sittings included.
        skipped_steps: Steps that changed nothing: loss or gradient not finite, or a spike.
        interrupted: Ctrl-C or SIGTERM ended it; the same call goes on.
    """

    step: int
    epoch: int
    best_loss: float
    best_step: int
    seconds: float
    skipped_steps: int
    interrupted: bool
