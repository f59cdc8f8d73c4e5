"""The training loop: when to step, look, save and stop.

A run is a folder; called again on the same folder, ``train`` goes on from the last whole checkpoint
and, on the CPU, ends with the very weights it would have had without the stop.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import torch

from matgen.data.batch import SequenceStore
from matgen.errors import BadFile, BadOptions, UserError
from matgen.model_spec import ModelSpec
from matgen.nn.crystal_model import CrystalModel
from matgen.training.batches import Batcher
from matgen.training.checkpoints import (
    Checkpoint,
    TrainState,
    check_same_run,
    latest_checkpoint,
    read_trainer,
    read_weights,
    save_checkpoint,
)
from matgen.training.feed import Feed, Work
from matgen.training.hardware import Hardware, resolve_hardware
from matgen.training.interruption import Interruption
from matgen.training.looks import Looks
from matgen.training.metrics import MetricsLog
from matgen.training.outcomes import Outcome, Outcomes
from matgen.training.pace import Clock, Speed
from matgen.training.progress import Progress, TrainObserver, TrainResult
from matgen.training.randomness import own_random_stream
from matgen.training.ranks import Ranks
from matgen.training.schedules import rate_factor
from matgen.training.settings import TrainingSettings
from matgen.training.step import Learner, Objective, is_out_of_memory
from matgen.training.validation import Validator
from matgen.training.value_scales import fit_value_scales

log = logging.getLogger(__name__)

FREE_TO_CHANGE: Final = frozenset(
    {
        "epochs",
        "max_steps",
        "max_minutes",
        "early_stopping",
        "log_every",
        "checkpoint_every",
        "checkpoint_minutes",
        "micro_batch_tokens",
        "compile",
        "device",
        "threads",
    }
)
"""Settings that may differ when a run goes on; the others would make it another run."""


def train(
    spec: ModelSpec,
    train_store: SequenceStore,
    val_store: SequenceStore,
    settings: TrainingSettings,
    run_folder: Path,
    *,
    observer: TrainObserver,
    ranks: Ranks | None = None,
    start: Callable[[CrystalModel], None] | None = None,
) -> TrainResult:
    """Train a model, or go on with it, until the settings or a signal end it.

    Writes ``model.safetensors`` (lowest validation loss), ``metrics.jsonl`` and ``checkpoints/``.
    Ctrl-C and SIGTERM save and return; on one rank within a part of a step.

    Args:
        spec: The model; its conditions fitted.
        train_store: Sequences to learn from.
        val_store: Sequences to look at.
        settings: How.
        run_folder: Made if absent.
        observer: Hears of steps, validations and checkpoints; on every rank.
        ranks: The processes that train together; None: this one alone. All call this function.
        start: Called with a new run's model before its first step, to give it other weights.

    Raises:
        BadOptions: no sequences, a device that is not there, or a checkpoint of another run.
        UserError: too many steps in a row had to be skipped; or a single crystal needs more memory
            than there is.
    """
    for name, store in (("training", train_store), ("validation", val_store)):
        if not len(store):
            raise BadOptions(f"the {name} set is empty; prepare a dataset with crystals in it")
    hardware = resolve_hardware(settings)
    with (
        _threads(settings.threads),
        own_random_stream(settings.seed, hardware.device),
        Interruption() as interruption,
    ):
        run = _Run(
            spec,
            train_store,
            val_store,
            settings,
            hardware,
            run_folder,
            observer,
            ranks or Ranks(),
            start,
            interruption,
        )
        return run.until_the_end()


class _Run:
    """Everything a run holds while it runs."""

    def __init__(
        self,
        spec: ModelSpec,
        train_store: SequenceStore,
        val_store: SequenceStore,
        settings: TrainingSettings,
        hardware: Hardware,
        folder: Path,
        observer: TrainObserver,
        ranks: Ranks,
        start: Callable[[CrystalModel], None] | None,
        interruption: Interruption,
    ) -> None:
        self._settings = settings
        self._hardware = hardware
        self._folder = folder
        self._observer = observer
        self._ranks = ranks
        self._interruption = interruption
        self._batcher = Batcher(train_store, spec.slotted, settings, hardware.packed)
        _check_kinds(settings, train_store)
        self._made_with = {
            "settings": settings.model_dump(mode="json", exclude=set(FREE_TO_CHANGE)),
            "precision": "bf16" if hardware.bf16 else "fp32",
            "batching": hardware.batching,
            "train": train_store.fingerprint,
            "val": val_store.fingerprint,
        }
        checkpoint = latest_checkpoint(folder / "checkpoints")
        if checkpoint is not None:
            check_same_run(checkpoint, self._made_with)
        self._model = CrystalModel(spec)
        fit_value_scales(self._model, train_store)
        if checkpoint is None and start is not None:
            start(self._model)
        self._model.to(hardware.device).train()
        objective = Objective(
            self._model, settings, train_store.kind_names, compiled=hardware.compiled
        ).to(hardware.device)
        self._learner = Learner(objective, settings, hardware, ranks)
        self._state = state = TrainState() if checkpoint is None else checkpoint.state
        if checkpoint is not None:
            self._restore(checkpoint)
            log.info("going on from %s", checkpoint.path)
        self._metrics = MetricsLog(
            folder / "metrics.jsonl",
            after_step=-1 if checkpoint is None else state.step,
            writes=ranks.is_first,
        )
        self._looks = Looks(
            self._model,
            self._learner.ema,
            Validator(spec, val_store, settings, hardware, ranks),
            state,
            settings,
            folder / "model.safetensors",
            self._metrics,
            observer,
            ranks,
            self._unwanted,
        )
        # Nobody changes the files before everybody has read them.
        ranks.wait()
        self._clock = Clock(state.seconds)
        self._speed = Speed()
        self._outcomes = Outcomes(hardware.device)
        self._last = Outcome(state.step, math.nan, math.nan, skipped=False)
        self._checkpointed = (-1 if checkpoint is None else state.step, time.monotonic())
        self._checkpoint_wanted = False
        self._stop_is_agreed = False
        self._batches = self._batcher.epoch(state.epoch)
        self._feed = Feed(self._batcher, settings, hardware, ranks)
        self._fit_memory()

    def until_the_end(self) -> TrainResult:
        """Step until something ends the run; save, validate, and say how it ended."""
        state = self._state
        # A stop may have come between a step and the look that was due after it.
        self._looks.look_if_due()
        while not (self._ends() or self._is_over()):
            for work in self._feed.works(self._batches[state.batch :], state.epoch):
                if not self._step(work):
                    break
                self._looks.look_if_due()
                if self._checkpoint_is_due():
                    self._checkpoint()
                if self._ends() or self._is_over():
                    break
        self._hear_outcomes(wait=True)
        if self._checkpointed[0] != state.step:
            self._checkpoint()
        if not self._ends():
            self._looks.look_for_the_record()
        return TrainResult(
            step=state.step,
            epoch=state.epoch,
            best_loss=self._looks.best_loss,
            best_step=self._looks.best_step,
            seconds=state.seconds,
            skipped_steps=state.skipped_steps,
            interrupted=self._ends(),
        )

    def _step(self, work: Work) -> bool:
        """Learn from one batch and move the counters on; False if the step was given up."""
        settings, state = self._settings, self._state
        rate = settings.learning_rate * state.rate_scale
        rate *= rate_factor(settings, step=state.step, over=self._share_over())
        told = self._learn(work, rate)
        if told is None:
            return False
        n_batches, epoch = len(self._batches), state.epoch
        state.step += 1
        state.batch += 1
        state.tokens += self._batcher.n_targets(work.indices)
        if state.batch == n_batches:
            state.epoch, state.batch = epoch + 1, 0
            self._batches = self._batcher.epoch(state.epoch)
        self._outcomes.add(state.step, told)
        self._agree_on_time()
        self._speed.add(state.tokens, state.seconds, state.step)
        logs = state.step % settings.log_every == 0
        self._hear_outcomes(wait=logs)
        if logs:
            self._metrics.write_step(
                state,
                rate=rate,
                norm=self._last.norm,
                tokens_per_s=self._speed.tokens_per_s,
                memory_bytes=self._hardware.peak_memory(),
            )
        total = self._total_steps(n_batches)
        progress = Progress(
            step=state.step,
            epoch=epoch,
            total_steps=total,
            loss=self._last.shown_loss,
            learning_rate=rate,
            tokens_per_s=self._speed.tokens_per_s,
            seconds_left=self._seconds_left(total),
            skipped_steps=state.skipped_steps,
        )
        try:
            self._observer.on_step(progress)
        except KeyboardInterrupt:
            self._interruption.wanted = True
        return True

    def _learn(self, work: Work, rate: float) -> torch.Tensor | None:
        """Return what came of a step, on the device; smaller parts are tried if memory runs out."""
        while True:
            work = self._feed.fitting(work)
            try:
                return self._learner.learn(
                    work.parts,
                    n_targets=work.n_targets,
                    step=self._state.step,
                    rate=rate,
                    unwanted=self._unwanted,
                )
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
                if self._ranks.size > 1:
                    # The others wait in the exchange of gradients, and cannot be told.
                    raise UserError(
                        f"rank {self._ranks.rank} ran out of memory at step {self._state.step + 1}"
                        "; go on with --resume and --set training.micro_batch_tokens below "
                        f"{work.positions}"
                    ) from None
            self._feed.take_less()

    def _fit_memory(self) -> None:
        """Find out, on CUDA, what goes through the network at once; all ranks take the same."""
        while self._hardware.device.startswith("cuda"):
            try:
                self._learner.rehearse(self._feed.worst())
                break
            except torch.OutOfMemoryError:
                self._feed.take_less()
        self._feed.positions = -int(self._ranks.largest([-float(self._feed.positions)])[0])

    def _hear_outcomes(self, *, wait: bool) -> None:
        """Count what is known of the last steps by now.

        Raises:
            UserError: too many skipped in a row; everything is saved as it is.
        """
        state = self._state
        for outcome in self._outcomes.settled(wait=wait):
            self._last = outcome
            self._metrics.add_step(outcome.shown_loss)
            if not outcome.skipped:
                state.bad_in_a_row = 0
                continue
            state.skipped_steps += 1
            state.bad_in_a_row += 1
            log.warning(
                "step %d skipped: loss %.4g, gradient %.4g",
                outcome.step,
                outcome.loss,
                outcome.norm,
            )
            if state.bad_in_a_row == self._settings.most_bad_steps:
                # Another sitting begins to count anew: it may be told to go on regardless.
                state.bad_in_a_row = 0
                self._checkpoint()
                raise UserError(
                    f"{self._settings.most_bad_steps} steps in a row were skipped, up to step "
                    f"{outcome.step}: loss or gradient was not finite, or the gradient was over "
                    f"{self._settings.spike_factor} times its usual length. The weights are as "
                    f"they were before, saved in {self._folder / 'checkpoints'}; lower "
                    f"training.learning_rate (now {self._settings.learning_rate:g}) in a new run "
                    "with --from, or go on with --resume"
                )

    # Checkpoints

    def _checkpoint(self) -> None:
        self._hear_outcomes(wait=True)
        self._checkpointed = (self._state.step, time.monotonic())
        self._checkpoint_wanted = False
        if not self._ranks.is_first:
            return
        path = save_checkpoint(
            self._folder / "checkpoints",
            self._state,
            self._model.state_dict(),
            self._learner.tensors(),
            made_with=self._made_with,
        )
        self._observer.on_checkpoint(path)

    def _restore(self, checkpoint: Checkpoint) -> None:
        try:
            self._model.load_state_dict(read_weights(checkpoint))
            self._learner.load(read_trainer(checkpoint))
        except (KeyError, RuntimeError) as error:
            told = " ".join(str(error).split())[:300]
            raise BadFile(
                f"checkpoint {checkpoint.path} is of another network than this run's: {told}"
            ) from None

    def _checkpoint_is_due(self) -> bool:
        steps = self._state.step - max(0, self._checkpointed[0])
        return steps >= self._settings.checkpoint_every or self._checkpoint_wanted

    # Time, and the end

    def _agree_on_time(self) -> None:
        """Take the time, and let one rank's wish to stop or to save be the wish of all."""
        saves = time.monotonic() - self._checkpointed[1] >= 60 * self._settings.checkpoint_minutes
        stop, save, seconds = self._ranks.largest(
            [float(self._interruption.wanted), float(saves), self._clock.seconds]
        )
        self._stop_is_agreed = bool(stop)
        self._checkpoint_wanted = bool(save)
        self._state.seconds = seconds

    def _ends(self) -> bool:
        """Whether somebody wants an end; several ranks end where they have agreed to."""
        return self._stop_is_agreed if self._ranks.size > 1 else self._interruption.wanted

    def _unwanted(self) -> bool:
        """Whether to drop what is being done; only one rank alone may."""
        return self._ranks.size == 1 and self._interruption.wanted

    def _is_over(self) -> bool:
        settings, state = self._settings, self._state
        return (
            state.epoch >= settings.epochs
            or (settings.max_steps is not None and state.step >= settings.max_steps)
            or (settings.max_minutes is not None and state.seconds >= 60 * settings.max_minutes)
            or (
                settings.early_stopping is not None
                and state.without_gain >= settings.early_stopping
            )
        )

    def _total_steps(self, n_batches: int) -> int:
        total = n_batches * self._settings.epochs
        return total if self._settings.max_steps is None else min(total, self._settings.max_steps)

    def _share_over(self) -> float:
        """Return how much of the run is over, of its steps or of its time."""
        share = self._state.step / self._total_steps(len(self._batches))
        minutes = self._settings.max_minutes
        return share if minutes is None else max(share, self._state.seconds / (60 * minutes))

    def _seconds_left(self, total_steps: int) -> float:
        left = (total_steps - self._state.step) * self._speed.seconds_per_step
        if self._settings.max_minutes is not None:
            left = min(left, 60 * self._settings.max_minutes - self._state.seconds)
        return max(0.0, left)


def _check_kinds(settings: TrainingSettings, store: SequenceStore) -> None:
    if unknown := sorted(settings.kind_weights.keys() - set(store.kind_names)):
        raise BadOptions(
            f"training.kind_weights names {unknown[0]!r}, which is no kind of token here; known: "
            f"{', '.join(store.kind_names)}"
        )


@contextmanager
def _threads(wanted: int | None) -> Iterator[None]:
    """Give torch this many threads until the block ends."""
    before = torch.get_num_threads()
    if wanted is not None:
        torch.set_num_threads(wanted)
    try:
        yield
    finally:
        torch.set_num_threads(before)
