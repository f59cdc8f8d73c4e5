"""What a look at the validation sample leads to: best weights, learning rate, an early end."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

from matgen.atomic import write_tensors
from matgen.nn.crystal_model import CrystalModel
from matgen.training.checkpoints import TrainState
from matgen.training.ema import Ema
from matgen.training.metrics import MetricsLog, best_so_far
from matgen.training.progress import TrainObserver, Validation
from matgen.training.ranks import Ranks
from matgen.training.settings import TrainingSettings
from matgen.training.validation import Losses, Validator


class Looks:
    """Looks when it is due, and once more at the end of a sitting.

    Attributes:
        best_loss: Lowest validation loss of the run, whose weights ``model.safetensors`` has.
        best_step: Its step.
    """

    def __init__(
        self,
        model: CrystalModel,
        ema: Ema | None,
        validator: Validator,
        state: TrainState,
        settings: TrainingSettings,
        weights_file: Path,
        metrics: MetricsLog,
        observer: TrainObserver,
        ranks: Ranks,
        unwanted: Callable[[], bool],
    ) -> None:
        self._model = model
        self._ema = ema
        self._validator = validator
        self._state = state
        self._settings = settings
        self._file = weights_file
        self._metrics = metrics
        self._observer = observer
        self._ranks = ranks
        self._unwanted = unwanted
        self._began = state.step
        self.best_loss, self.best_step = best_so_far(weights_file)

    def look_if_due(self) -> None:
        """Look after every so many steps and at the end of an epoch.

        Learning rate and early stopping hear of it. A stop may come before it is done; whoever goes
        on with the run does it then.
        """
        if not self._is_due():
            return
        losses = self._losses()
        if losses is None:
            return
        state = self._state
        state.validated = state.step
        if state.lowest_of_all is None or losses.loss < state.lowest_of_all:
            state.lowest_of_all, state.without_gain = losses.loss, 0
        else:
            state.without_gain += 1
        at_epoch_end = state.batch == 0 and state.step > 0
        if at_epoch_end and self._settings.schedule == "plateau":
            self._adjust_rate(losses.loss)
        self._keep_if_best(losses)

    def look_for_the_record(self) -> None:
        """Look at the last weights of a sitting, unless just done: they may be the best.

        Nothing else hears of it, so that a run that goes on is the run that never stopped.
        """
        state = self._state
        done = state.step in {state.validated, self._began}
        if done and math.isfinite(self.best_loss):
            return
        losses = self._losses()
        if losses is not None:
            self._keep_if_best(losses)

    def _losses(self) -> Losses | None:
        """Return the losses of what is kept; None if a stop was wanted meanwhile."""
        with nullcontext() if self._ema is None else self._ema.lent():
            return self._validator.losses(self._model, unwanted=self._unwanted)

    def _keep_if_best(self, losses: Losses) -> None:
        state = self._state
        # A look that comes again after a resume finds its own weights there.
        again = losses.loss == self.best_loss and state.step == self.best_step
        best = again or losses.loss < self.best_loss
        if best:
            self.best_loss, self.best_step = losses.loss, state.step
        if best and self._ranks.is_first:
            average = {} if self._ema is None else self._ema.tensors()
            write_tensors(
                self._file,
                {**self._model.state_dict(), **average},
                {"step": str(state.step), "loss": repr(losses.loss)},
            )
        validation = Validation(
            state.step, losses.loss, losses.given, losses.free, losses.kinds, best
        )
        self._metrics.write_validation(state, validation)
        self._observer.on_validation(validation)

    def _adjust_rate(self, loss: float) -> None:
        state, settings = self._state, self._settings
        if state.lowest is None or loss < state.lowest:
            state.lowest, state.unimproved = loss, 0
            return
        state.unimproved += 1
        if state.unimproved == settings.plateau_patience:
            state.rate_scale *= settings.plateau_factor
            state.unimproved = 0

    def _is_due(self) -> bool:
        every, state = self._settings.validate_every, self._state
        if state.validated == state.step:
            return False
        return state.batch == 0 or (every > 0 and state.step % every == 0)
