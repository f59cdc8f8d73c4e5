"""The training loop: a step, and when to look, save and stop.

A run is a folder; called again on the same folder, ``train`` goes on from the last whole checkpoint
and, on the CPU, ends with the very weights it would have had without the stop.
"""

from __future__ import annotations

import logging
import math
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from matgen.atomic import write_tensors
from matgen.data.batch import Batch, SequenceStore
from matgen.errors import BadOptions, UserError
from matgen.model_spec import ModelSpec
from matgen.nn.crystal_model import CrystalModel
from matgen.nn.value_head import ValueScale
from matgen.training.batches import Batcher, to_device
from matgen.training.checkpoints import (
    Checkpoint,
    TrainState,
    latest_checkpoint,
    restore,
    save_checkpoint,
)
from matgen.training.hardware import Hardware, resolve_hardware
from matgen.training.interruption import Interruption
from matgen.training.metrics import MetricsLog, best_so_far
from matgen.training.progress import Progress, TrainObserver, TrainResult, Validation
from matgen.training.randomness import own_random_stream
from matgen.training.schedules import rate_factor
from matgen.training.settings import TrainingSettings
from matgen.training.validation import Validator

log = logging.getLogger(__name__)

MOST_BAD_STEPS: Final = 10
"""Steps in a row without a finite loss and gradient before the run is given up."""

SEEN_FOR_SCALES: Final = 4096
"""Training sequences from which centre and spread of continuous values are taken."""

FREE_TO_CHANGE: Final = frozenset(
    {
        "epochs",
        "max_steps",
        "max_minutes",
        "log_every",
        "checkpoint_every",
        "checkpoint_minutes",
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
) -> TrainResult:
    """Train a model, or go on with it, until the settings or a signal end it.

    Writes ``model.safetensors`` (lowest validation loss), ``metrics.jsonl`` and ``checkpoints/``.
    Ctrl-C and SIGTERM finish the step, save, and return.

    Args:
        spec: The model; its conditions fitted.
        train_store: Sequences to learn from.
        val_store: Sequences to look at.
        settings: How.
        run_folder: Made if absent.
        observer: Hears of steps, validations and checkpoints.

    Raises:
        BadOptions: no sequences, a device that is not there, or a checkpoint of another run.
        UserError: the loss was not a number too often in a row.
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
        run = _Run(spec, train_store, val_store, settings, hardware, run_folder, observer)
        return run.until_the_end(interruption)


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
    ) -> None:
        self._settings = settings
        self._hardware = hardware
        self._folder = folder
        self._observer = observer
        self._batcher = Batcher(train_store, spec.slotted, settings, hardware.packed)
        self._validator = Validator(spec, val_store, settings, hardware)
        self._made_with = {
            "settings": settings.model_dump(mode="json", exclude=set(FREE_TO_CHANGE)),
            "precision": "bf16" if hardware.bf16 else "fp32",
            "batching": hardware.batching,
            "train": train_store.fingerprint,
            "val": val_store.fingerprint,
        }
        self._model = CrystalModel(spec)
        _fit_value_scales(self._model, train_store)
        self._model.to(hardware.device).train()
        self._optimizer = _adamw(self._model, settings)
        self._state = TrainState()
        self._bad_in_a_row = 0
        checkpoint = latest_checkpoint(folder / "checkpoints")
        if checkpoint is not None:
            self._check_same_run(checkpoint)
            restore(checkpoint, self._model, self._optimizer, hardware.device)
            self._state = checkpoint.state
            log.info("going on from %s", checkpoint.path)
        self._metrics = MetricsLog(folder / "metrics.jsonl", after_step=self._state.step)
        self._best_loss, self._best_step = best_so_far(folder / "model.safetensors")
        self._clock = _Clock(self._state.seconds)
        self._speed = _Speed()
        self._since_checkpoint = (self._state.step, time.monotonic())
        self._batches = self._batcher.epoch(self._state.epoch)

    def until_the_end(self, interruption: Interruption) -> TrainResult:
        """Step until something ends the run; save, validate, and say how it ended."""
        state = self._state
        validated = checkpointed = state.step
        if state.step == 0:
            # Where the loss starts; and from here on there is a model to sample from.
            self._validate(for_the_record=True)
        while not (interruption.wanted or self._is_over()):
            for batch in self._rest_of_epoch():
                progress = self._step(batch)
                try:
                    self._observer.on_step(progress)
                except KeyboardInterrupt:
                    interruption.wanted = True
                if self._validation_is_due():
                    self._validate(for_the_record=False)
                    validated = state.step
                if self._checkpoint_is_due():
                    self._checkpoint()
                    checkpointed = state.step
                if interruption.wanted or self._is_over():
                    break
        if checkpointed != state.step or state.step == 0:
            self._checkpoint()
        nothing_yet = not math.isfinite(self._best_loss)
        if nothing_yet or (validated != state.step and not interruption.wanted):
            self._validate(for_the_record=True)
        return TrainResult(
            step=state.step,
            epoch=state.epoch,
            best_loss=self._best_loss,
            best_step=self._best_step,
            seconds=self._clock.seconds,
            skipped_steps=state.skipped_steps,
            interrupted=interruption.wanted,
        )

    def _rest_of_epoch(self) -> Iterator[Batch]:
        """Yield the epoch's batches from where the state is; the next is made meanwhile."""
        epoch, left = self._state.epoch, self._batches[self._state.batch :]
        with ThreadPoolExecutor(max_workers=1) as pool:
            coming = pool.submit(self._batcher.training, left[0], epoch)
            for following in (*left[1:], None):
                batch = coming.result()
                if following is not None:
                    coming = pool.submit(self._batcher.training, following, epoch)
                yield batch

    def _step(self, batch: Batch) -> Progress:
        """Learn from one batch and move the counters on."""
        settings, state = self._settings, self._state
        rate = settings.learning_rate * state.rate_scale
        rate *= rate_factor(settings, step=state.step, over=self._share_over())
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        loss, norm = self._learn(to_device(batch, self._hardware.device))
        state.step += 1
        state.batch += 1
        state.tokens += batch.n_tokens - batch.n_rows
        state.seconds = self._clock.seconds
        epoch = state.epoch
        n_batches = len(self._batches)
        if state.batch == n_batches:
            state.epoch, state.batch = epoch + 1, 0
            self._batches = self._batcher.epoch(state.epoch)
        self._speed.add(state.tokens, state.seconds, state.step)
        self._metrics.add_step(loss)
        if state.step % settings.log_every == 0:
            self._metrics.write_step(state, rate, norm, self._speed.tokens_per_s)
        total = self._total_steps(n_batches)
        return Progress(
            step=state.step,
            epoch=epoch,
            total_steps=total,
            loss=loss,
            learning_rate=rate,
            tokens_per_s=self._speed.tokens_per_s,
            seconds_left=self._seconds_left(total),
        )

    def _learn(self, batch: Batch) -> tuple[float, float]:
        """Return loss and norm of the gradient; the weights move only if both are finite."""
        self._optimizer.zero_grad()
        with self._hardware.autocast():
            losses = self._model.token_losses(batch)
        loss = losses.total_N.mean()
        norm = math.nan
        value = float(loss.detach())
        if math.isfinite(value):
            loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
            clip = self._settings.gradient_clip
            parameters = list(self._model.parameters())
            norm = float(torch.nn.utils.clip_grad_norm_(parameters, clip or math.inf))
        if math.isfinite(norm):
            self._optimizer.step()
            self._bad_in_a_row = 0
            return value, norm
        self._state.skipped_steps += 1
        self._bad_in_a_row += 1
        log.warning("step %d skipped: loss %s, gradient %s", self._state.step + 1, value, norm)
        if self._bad_in_a_row == MOST_BAD_STEPS:
            raise UserError(
                f"the loss or its gradient was not a number {MOST_BAD_STEPS} steps in a row, up to "
                f"step {self._state.step + 1}; lower training.learning_rate (now "
                f"{self._settings.learning_rate:g}) in a new run. Older checkpoints are kept in "
                f"{self._folder / 'checkpoints'}"
            )
        return math.nan, norm

    def _validate(self, *, for_the_record: bool) -> None:
        """Look at the validation sample; keep the weights if they are the best so far.

        Args:
            for_the_record: At the end of a sitting: the learning rate does not hear of it, so that
                a run that goes on is the run that never stopped.
        """
        state = self._state
        losses = self._validator.losses(self._model)
        best = losses.loss < self._best_loss
        if best:
            self._best_loss, self._best_step = losses.loss, state.step
            write_tensors(
                self._folder / "model.safetensors",
                self._model.state_dict(),
                {"step": str(state.step), "loss": repr(losses.loss)},
            )
        at_epoch_end = state.batch == 0
        if at_epoch_end and not for_the_record and self._settings.schedule == "plateau":
            self._adjust_rate(losses.loss)
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

    def _checkpoint(self) -> None:
        path = save_checkpoint(
            self._folder / "checkpoints",
            self._state,
            self._model,
            self._optimizer,
            made_with=self._made_with,
            device=self._hardware.device,
        )
        self._since_checkpoint = (self._state.step, time.monotonic())
        self._observer.on_checkpoint(path)

    def _validation_is_due(self) -> bool:
        every = self._settings.validate_every
        at_epoch_end = self._state.batch == 0
        return at_epoch_end or (every > 0 and self._state.step % every == 0)

    def _checkpoint_is_due(self) -> bool:
        step, when = self._since_checkpoint
        return (
            self._state.step - step >= self._settings.checkpoint_every
            or time.monotonic() - when >= 60 * self._settings.checkpoint_minutes
        )

    def _is_over(self) -> bool:
        settings, state = self._settings, self._state
        return (
            state.epoch >= settings.epochs
            or (settings.max_steps is not None and state.step >= settings.max_steps)
            or (
                settings.max_minutes is not None
                and self._clock.seconds >= 60 * settings.max_minutes
            )
        )

    def _total_steps(self, n_batches: int) -> int:
        total = n_batches * self._settings.epochs
        return total if self._settings.max_steps is None else min(total, self._settings.max_steps)

    def _share_over(self) -> float:
        """Return how much of the run is over, of its steps or of its time."""
        share = self._state.step / self._total_steps(len(self._batches))
        minutes = self._settings.max_minutes
        return share if minutes is None else max(share, self._clock.seconds / (60 * minutes))

    def _seconds_left(self, total_steps: int) -> float:
        left = (total_steps - self._state.step) * self._speed.seconds_per_step
        if self._settings.max_minutes is not None:
            left = min(left, 60 * self._settings.max_minutes - self._clock.seconds)
        return max(0.0, left)

    def _check_same_run(self, checkpoint: Checkpoint) -> None:
        before, now = _flat(checkpoint.made_with), _flat(self._made_with)
        for name in sorted(before.keys() | now.keys()):
            if before.get(name) != now.get(name):
                raise BadOptions(
                    f"{self._folder} holds a run with {name} = {before.get(name)!r}, now it is "
                    f"{now.get(name)!r}; go on with the same, or train in another folder"
                )


@dataclass
class _Clock:
    """Training time: this sitting's and the earlier ones'."""

    before: float

    def __post_init__(self) -> None:
        self._start = time.monotonic()

    @property
    def seconds(self) -> float:
        return self.before + time.monotonic() - self._start


class _Speed:
    """Speed over the last steps."""

    def __init__(self) -> None:
        self._marks: deque[tuple[int, float, int]] = deque(maxlen=50)

    def add(self, tokens: int, seconds: float, step: int) -> None:
        self._marks.append((tokens, seconds, step))

    @property
    def tokens_per_s(self) -> float:
        (tokens_0, seconds_0, _), (tokens_1, seconds_1, _) = self._marks[0], self._marks[-1]
        return (tokens_1 - tokens_0) / max(seconds_1 - seconds_0, 1e-9)

    @property
    def seconds_per_step(self) -> float:
        (_, seconds_0, step_0), (_, seconds_1, step_1) = self._marks[0], self._marks[-1]
        return (seconds_1 - seconds_0) / max(step_1 - step_0, 1)


def _adamw(model: CrystalModel, settings: TrainingSettings) -> torch.optim.AdamW:
    """Return the optimiser; vectors (norms, biases) are not decayed."""
    matrices = [p for p in model.parameters() if p.ndim >= 2]
    vectors = [p for p in model.parameters() if p.ndim < 2]
    return torch.optim.AdamW(
        [
            {"params": matrices, "weight_decay": settings.weight_decay},
            {"params": vectors, "weight_decay": 0.0},
        ],
        lr=settings.learning_rate,
        betas=settings.betas,
        fused=True,
    )


def _fit_value_scales(model: CrystalModel, store: SequenceStore) -> None:
    """Tell value embedding and head in which range the continuous values are."""
    scales = [module for module in model.modules() if isinstance(module, ValueScale)]
    if not scales:
        return
    places: NDArray[np.int64] = np.arange(min(len(store), SEEN_FOR_SCALES), dtype=np.int64)
    seen = store.gather(places, epoch=0)
    if seen.values is not None:
        for scale in scales:
            scale.fit(torch.from_numpy(seen.ids), torch.from_numpy(np.array(seen.values)))


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


def _flat(made_with: object, name: str = "") -> dict[str, object]:
    if not isinstance(made_with, dict):
        return {name: made_with}
    flat: dict[str, object] = {}
    for key, value in made_with.items():
        flat |= _flat(value, f"{name}.{key}" if name else str(key))
    return flat
