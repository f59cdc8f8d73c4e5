"""The progress bar of ``matgen train``, and one line per validation."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from matgen.commands.console import progress_bar, say

if TYPE_CHECKING:
    from types import TracebackType

    from matgen.training.progress import Progress, Validation


class TrainProgress:
    """Shows steps as a bar with loss, tokens/s and time left; a ``TrainObserver``."""

    def __init__(self) -> None:
        self._bar = progress_bar("{task.fields[told]}")
        self._task = self._bar.add_task("training", total=None, told="")
        self.n_steps = 0

    def __enter__(self) -> TrainProgress:
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.stop()

    def on_step(self, progress: Progress) -> None:
        """Move the bar."""
        self.n_steps += 1
        minutes = progress.seconds_left / 60
        self._bar.update(
            self._task,
            completed=progress.step,
            total=progress.total_steps,
            told=(
                f"epoch {progress.epoch}  loss {progress.loss:.3f}  "
                f"{progress.tokens_per_s:.0f} tokens/s  {minutes:.0f} min left"
            ),
        )

    def on_validation(self, validation: Validation) -> None:
        """Print the validation losses."""
        kinds = ", ".join(f"{kind} {loss:.3f}" for kind, loss in validation.kinds.items())
        best = "  best" if validation.best else ""
        say(
            f"step {validation.step}: validation {validation.loss:.4f} nats/token "
            f"(conditions given {validation.given:.4f}, none {validation.free:.4f}; {kinds}){best}"
        )

    def on_checkpoint(self, path: Path) -> None:
        """Checkpoints are silent; the folder shows them."""
