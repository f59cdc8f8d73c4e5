"""Several observers of one training run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matgen.training.progress import Progress, TrainObserver, Validation


class Observers:
    """Tells each of several observers what it hears, in their order; a ``TrainObserver``."""

    def __init__(self, *observers: TrainObserver) -> None:
        self._observers = observers

    def on_step(self, progress: Progress) -> None:
        """Pass it on."""
        for observer in self._observers:
            observer.on_step(progress)

    def on_validation(self, validation: Validation) -> None:
        """Pass it on."""
        for observer in self._observers:
            observer.on_validation(validation)

    def on_checkpoint(self, path: Path) -> None:
        """Pass it on."""
        for observer in self._observers:
            observer.on_checkpoint(path)
