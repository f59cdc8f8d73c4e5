"""Training as TensorBoard shows it: ``RUN/tensorboard``, where the tensorboard package is."""

from __future__ import annotations

import math
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol, TypeAlias

if TYPE_CHECKING:
    from types import TracebackType

    from matgen.training.progress import Progress, Validation

EVERY: Final = 10
"""Steps between points of the training curves; the loss is the mean since the last point."""


class Writer(Protocol):
    """What we call of torch's ``SummaryWriter``."""

    def add_scalar(self, tag: str, scalar_value: float, global_step: int) -> None:
        """Add a point to a curve."""

    def close(self) -> None:
        """Write what is left."""


OpenWriter: TypeAlias = Callable[[Path, int], Writer]
"""Opens a writer into a folder; points that are there from this step on are not shown any more."""


def installed_writer() -> OpenWriter | None:
    """Return how to open TensorBoard's writer; None if it is not installed."""
    if find_spec("tensorboard") is None:
        return None

    def open_writer(folder: Path, purge_step: int) -> Writer:
        from torch.utils.tensorboard import SummaryWriter

        writer: Writer = SummaryWriter(str(folder), purge_step=purge_step)
        return writer

    return open_writer


class TensorBoard:
    """Writes losses, learning rate and speed; a ``TrainObserver``, silent without a writer."""

    def __init__(self, folder: Path, open_writer: OpenWriter | None) -> None:
        self._folder = folder
        self._open_writer = open_writer
        self._writer: Writer | None = None
        self._losses: list[float] = []

    def __enter__(self) -> TensorBoard:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._writer is not None:
            self._writer.close()

    def on_step(self, progress: Progress) -> None:
        """Add a point of the training curves, now and then."""
        writer = self._writer_from(progress.step)
        if writer is None:
            return
        if math.isfinite(progress.loss):
            self._losses.append(progress.loss)
        if progress.step % EVERY:
            return
        losses, self._losses = self._losses, []
        if losses:
            writer.add_scalar("training/loss", sum(losses) / len(losses), progress.step)
        writer.add_scalar("training/learning_rate", progress.learning_rate, progress.step)
        writer.add_scalar("training/tokens_per_s", progress.tokens_per_s, progress.step)
        writer.add_scalar("training/skipped_steps", progress.skipped_steps, progress.step)

    def on_validation(self, validation: Validation) -> None:
        """Add a point of each validation curve."""
        # The steps up to this one were taken, and their points stay.
        writer = self._writer_from(validation.step + 1)
        if writer is None:
            return
        losses = {
            "validation/loss": validation.loss,
            "validation/conditions_given": validation.given,
            "validation/none_given": validation.free,
            **{f"validation_of_kind/{kind}": loss for kind, loss in validation.kinds.items()},
        }
        for tag, loss in losses.items():
            writer.add_scalar(tag, loss, validation.step)

    def on_checkpoint(self, path: Path) -> None:
        """Nothing to draw."""

    def _writer_from(self, step: int) -> Writer | None:
        """Return the writer, opened at the first step that this sitting tells of."""
        if self._writer is None and self._open_writer is not None:
            # What a run lost by going on from an earlier checkpoint comes again from here.
            self._writer = self._open_writer(self._folder, step)
        return self._writer
