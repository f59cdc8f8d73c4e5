"""What ``matgen train`` shows while it trains: a bar in a terminal, now and then a line elsewhere.

A log file or a batch system's output would keep every redrawing of a bar.
"""

from __future__ import annotations

import math
import sys
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

from matgen.commands.console import say

if TYPE_CHECKING:
    from types import TracebackType

    from matgen.training.progress import Progress, Validation

SECONDS_BETWEEN_LINES: Final = 60.0
SECONDS_BETWEEN_TEXTS: Final = 0.3
"""Behind the bar; asking for the memory takes as long as a step of a tiny model."""
_STEPS_OF_THE_LOSS: Final = 20
"""The loss that is shown is the mean of so many steps; that of a single one jumps about."""


def train_progress() -> TrainProgress:
    """Return what suits stderr as it is."""
    return TrainProgress(live=sys.stderr.isatty())


class TrainProgress:
    """Shows steps with loss, tokens/s, time left and memory; a ``TrainObserver``."""

    def __init__(self, *, live: bool, clock: Callable[[], float] = time.monotonic) -> None:
        """Show nothing yet.

        Args:
            live: Whether stderr, where everything goes, is a terminal.
            clock: Seconds.
        """
        self._shown: _Shown = _Bar(clock) if live else _Lines(clock)
        self._losses: deque[float] = deque(maxlen=_STEPS_OF_THE_LOSS)
        self.n_steps = 0

    def __enter__(self) -> TrainProgress:
        self._shown.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._shown.stop()

    def on_step(self, progress: Progress) -> None:
        """Move on."""
        self.n_steps += 1
        if math.isfinite(progress.loss):
            self._losses.append(progress.loss)
        loss = sum(self._losses) / len(self._losses) if self._losses else math.nan
        self._shown.step(progress, loss)

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


class _Shown(Protocol):
    """One way to show steps."""

    def start(self) -> None:
        """Begin."""

    def step(self, progress: Progress, loss: float) -> None:
        """Show a step, or not."""

    def stop(self) -> None:
        """Leave the terminal as it was."""


class _Bar:
    """A bar that is redrawn in place."""

    def __init__(self, clock: Callable[[], float]) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
        from rich.progress import Progress as RichProgress

        # Without rich's own estimate of the time left, which knows of no time limit.
        self._bar = RichProgress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=16),
            MofNCompleteColumn(),
            TextColumn("{task.fields[told]}"),
            console=Console(stderr=True),
        )
        self._task = self._bar.add_task("training", total=None, told="")
        self._clock = clock
        self._told = -math.inf

    def start(self) -> None:
        self._bar.start()

    def step(self, progress: Progress, loss: float) -> None:
        step, total, now = progress.step, progress.total_steps, self._clock()
        if now - self._told < SECONDS_BETWEEN_TEXTS and step < total:
            self._bar.update(self._task, completed=step, total=total)
            return
        self._told = now
        self._bar.update(self._task, completed=step, total=total, told=_told(progress, loss))

    def stop(self) -> None:
        self._bar.stop()


class _Lines:
    """A line at most every minute, and at the end."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._said = -math.inf

    def start(self) -> None:
        # The first steps are slow and tell little of what is to come.
        self._said = self._clock()

    def step(self, progress: Progress, loss: float) -> None:
        now = self._clock()
        if now - self._said < SECONDS_BETWEEN_LINES and progress.step < progress.total_steps:
            return
        self._said = now
        say(f"step {progress.step:,} of {progress.total_steps:,}  {_told(progress, loss)}")

    def stop(self) -> None:
        """Nothing to undo."""


def _told(progress: Progress, loss: float) -> str:
    parts = [
        f"epoch {progress.epoch}",
        f"loss {loss:.3f}",
        f"{progress.tokens_per_s:,.0f} tokens/s",
        f"{_duration(progress.seconds_left)} left",
        f"memory {memory_in_use() / 1e9:.1f} GB",
    ]
    if progress.skipped_steps:
        parts.append(f"{progress.skipped_steps} skipped")
    return "  ".join(parts)


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02} min"


def memory_in_use() -> int:
    """Return the bytes of this process, or the most that tensors held where it uses CUDA.

    0 where the system does not tell.
    """
    import torch

    from matgen.training.host_memory import peak_resident_memory, resident_memory

    # Asking a device that nobody uses would take memory of its own on it.
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]  # torch leaves it untyped
        devices = range(torch.cuda.device_count())
        return max(torch.cuda.max_memory_allocated(device) for device in devices)
    return resident_memory() or peak_resident_memory() or 0
