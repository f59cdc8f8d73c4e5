"""Complete training states on disk: whole or absent, never unpickled.

::

    checkpoints/step-00001000/
        model.safetensors       weights
        trainer.safetensors     what the next step depends on besides: the optimiser's averages, the
                                average of the weights, how long a usual gradient is
        trainer.json            counters, settings, and a hash of each of the other files

No random state is kept, and nothing says on how many devices the run was: every stream starts anew
at every step, so a run goes on with any number of ranks.
"""

from __future__ import annotations

import hashlib
import logging
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from matgen.atomic import read_json, read_tensors, replacing_folder, write_json, write_tensors
from matgen.errors import BadFile, BadOptions, NewerFormat

log = logging.getLogger(__name__)

FORMAT = 2
KEPT = 2
"""Checkpoints that stay; the one before the last is there if the disk loses the last."""
MODEL, TENSORS, TRAINER = "model.safetensors", "trainer.safetensors", "trainer.json"


@dataclass
class TrainState:
    """Where a run is.

    Attributes:
        step: Batches seen.
        epoch: Current epoch, from 0.
        batch: Next batch of the epoch.
        seconds: Training time so far.
        tokens: Crystal tokens seen.
        skipped_steps: Steps that changed nothing: loss or gradient not finite, or a spike.
        bad_in_a_row: Of these, the last ones without a sound one between.
        validated: Step of the last validation that was due; -1 before the first.
        rate_scale: Product of the learning rate's reductions.
        lowest: Lowest validation loss that the learning rate has seen; None before the first.
        unimproved: Validations since.
        lowest_of_all: Lowest validation loss at any validation that was due, for early stopping.
        without_gain: Validations since.
    """

    step: int = 0
    epoch: int = 0
    batch: int = 0
    seconds: float = 0.0
    tokens: int = 0
    skipped_steps: int = 0
    bad_in_a_row: int = 0
    validated: int = -1
    rate_scale: float = 1.0
    lowest: float | None = None
    unimproved: int = 0
    lowest_of_all: float | None = None
    without_gain: int = 0


@dataclass(frozen=True)
class Checkpoint:
    """A whole checkpoint.

    Attributes:
        made_with: What must be the same to go on: settings, data.
    """

    path: Path
    state: TrainState
    made_with: Mapping[str, object] = field(default_factory=dict)


def save_checkpoint(
    folder: Path,
    state: TrainState,
    weights: Mapping[str, Tensor],
    tensors: Mapping[str, Tensor],
    *,
    made_with: Mapping[str, object],
) -> Path:
    """Write a checkpoint into ``folder`` and remove all but the last ones; return its path."""
    path = folder / f"step-{state.step:08d}"
    if path.exists():
        # Torn, or of the same step: a whole one of this step is what comes now.
        shutil.rmtree(path)
    with replacing_folder(path) as temporary:
        write_tensors(temporary / MODEL, weights)
        write_tensors(temporary / TENSORS, tensors)
        write_json(
            temporary / TRAINER,
            {
                "format": FORMAT,
                "state": asdict(state),
                "made_with": dict(made_with),
                "sha256": {name: _sha256(temporary / name) for name in (MODEL, TENSORS)},
            },
        )
    # Later ones are damaged, or this run would have gone on from them.
    found = _found(folder)
    here = found.index(path)
    # A kill in the middle of a save leaves its temporary folder behind.
    unfinished = [*folder.glob(".step-*")]
    for other in (*found[: max(0, here + 1 - KEPT)], *found[here + 1 :], *unfinished):
        shutil.rmtree(other)
    return path


def latest_checkpoint(folder: Path) -> Checkpoint | None:
    """Return the last whole checkpoint in ``folder``; damaged ones are passed over and logged.

    Raises:
        NewerFormat: written by a newer matgen.
        BadOptions: written by an older one.
    """
    for path in reversed(_found(folder)):
        try:
            return _read(path)
        except NewerFormat:
            raise
        except BadFile as error:
            log.warning("passing over the damaged checkpoint %s: %s", path, error)
    return None


def read_weights(checkpoint: Checkpoint) -> dict[str, Tensor]:
    """Return the weights of a checkpoint, on the CPU."""
    return read_tensors(checkpoint.path / MODEL)


def read_trainer(checkpoint: Checkpoint) -> dict[str, Tensor]:
    """Return what the next step depends on besides the weights, on the CPU."""
    return read_tensors(checkpoint.path / TENSORS)


def check_same_run(checkpoint: Checkpoint, made_with: Mapping[str, object]) -> None:
    """Refuse to go on with settings or data that a checkpoint was not made with.

    Raises:
        BadOptions: names the first that differs.
    """
    before, now = _flat(checkpoint.made_with), _flat(made_with)
    for name in sorted(before.keys() | now.keys()):
        if before.get(name) != now.get(name):
            raise BadOptions(
                f"{checkpoint.path.parent.parent} holds a run with {name} = {before.get(name)!r}, "
                f"now it is {now.get(name)!r}; go on with the same, or train in another folder"
            )


def _read(path: Path) -> Checkpoint:
    told = read_json(path / TRAINER)
    written = told.get("format")
    if not isinstance(written, int):
        raise BadFile(f"{path / TRAINER} has no format number")
    if written > FORMAT:
        raise NewerFormat(f"{path} was written by a newer matgen; upgrade to go on with it")
    if written < FORMAT:
        raise BadOptions(
            f"{path} was written by an older matgen (format {written}, now {FORMAT}), which this "
            "one cannot go on with; start a new run from its weights: matgen train --from "
            f"{path.parent.parent}"
        )
    hashes: Any = told.get("sha256")  # JSON value
    state: Any = told.get("state")  # JSON value
    made_with: Any = told.get("made_with")  # JSON value
    if not all(isinstance(part, dict) for part in (hashes, state, made_with)):
        raise BadFile(f"{path / TRAINER} is damaged: it lacks sha256, state or made_with")
    for name, wanted in hashes.items():
        try:
            found = _sha256(path / name)
        except OSError as error:
            raise BadFile(f"cannot read {path / name}: {error}") from None
        if found != wanted:
            raise BadFile(f"{path / name} is not what was written")
    try:
        return Checkpoint(path, TrainState(**state), made_with)
    except TypeError as error:
        raise BadFile(f"{path / TRAINER} is damaged: {error}") from None


def _found(folder: Path) -> list[Path]:
    return sorted(folder.glob("step-*"))


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _flat(made_with: object, name: str = "") -> dict[str, object]:
    if not isinstance(made_with, dict):
        return {name: made_with}
    flat: dict[str, object] = {}
    for key, value in made_with.items():
        flat |= _flat(value, f"{name}.{key}" if name else str(key))
    return flat
