"""Complete training states on disk: whole or absent, never unpickled.

::

    checkpoints/step-00001000/
        model.safetensors       weights
        optimizer.safetensors   AdamW's averages, and torch's random states
        trainer.json            counters, settings, and a hash of each of the other files
"""

from __future__ import annotations

import hashlib
import logging
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from matgen.atomic import read_json, read_tensors, replacing_folder, write_json, write_tensors
from matgen.errors import BadFile, NewerFormat
from matgen.training.randomness import random_states, restore_random_states

log = logging.getLogger(__name__)

FORMAT = 1
KEPT = 2
"""Checkpoints that stay; the one before the last is there if the disk loses the last."""
MODEL, OPTIMIZER, TRAINER = "model.safetensors", "optimizer.safetensors", "trainer.json"
_RANDOM = "random."


@dataclass
class TrainState:
    """Where a run is.

    Attributes:
        step: Batches seen.
        epoch: Current epoch, from 0.
        batch: Next batch of the epoch.
        seconds: Training time so far.
        tokens: Crystal tokens seen.
        skipped_steps: Steps whose loss was not a number.
        rate_scale: Product of the learning rate's reductions.
        lowest: Lowest validation loss that the learning rate has seen; None before the first.
        unimproved: Validations since.
    """

    step: int = 0
    epoch: int = 0
    batch: int = 0
    seconds: float = 0.0
    tokens: int = 0
    skipped_steps: int = 0
    rate_scale: float = 1.0
    lowest: float | None = None
    unimproved: int = 0


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
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    *,
    made_with: Mapping[str, object],
    device: str,
) -> Path:
    """Write a checkpoint into ``folder`` and remove all but the last ones; return its path."""
    path = folder / f"step-{state.step:08d}"
    tensors = _optimizer_tensors(model, optimizer)
    tensors |= {_RANDOM + name: held for name, held in random_states(device).items()}
    if path.exists():
        # Torn, or of the same step: a whole one of this step is what comes now.
        shutil.rmtree(path)
    with replacing_folder(path) as temporary:
        write_tensors(temporary / MODEL, model.state_dict())
        write_tensors(temporary / OPTIMIZER, tensors)
        write_json(
            temporary / TRAINER,
            {
                "format": FORMAT,
                "state": asdict(state),
                "made_with": dict(made_with),
                "sha256": {name: _sha256(temporary / name) for name in (MODEL, OPTIMIZER)},
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
    """
    for path in reversed(_found(folder)):
        try:
            return _read(path)
        except NewerFormat:
            raise
        except BadFile as error:
            log.warning("passing over the damaged checkpoint %s: %s", path, error)
    return None


def restore(
    checkpoint: Checkpoint, model: nn.Module, optimizer: torch.optim.Optimizer, device: str
) -> None:
    """Put weights, averages and random states back.

    Raises:
        BadFile: of another network.
    """
    weights = read_tensors(checkpoint.path / MODEL)
    saved = read_tensors(checkpoint.path / OPTIMIZER)
    try:
        model.load_state_dict(weights)
        _restore_optimizer(model, optimizer, saved)
    except (KeyError, RuntimeError) as error:
        told = " ".join(str(error).split())[:300]
        raise BadFile(
            f"checkpoint {checkpoint.path} is of another network than this run's: {told}"
        ) from None
    states = {n.removeprefix(_RANDOM): t for n, t in saved.items() if n.startswith(_RANDOM)}
    restore_random_states(states, device)


def _read(path: Path) -> Checkpoint:
    told = read_json(path / TRAINER)
    written = told.get("format")
    if not isinstance(written, int):
        raise BadFile(f"{path / TRAINER} has no format number")
    if written > FORMAT:
        raise NewerFormat(f"{path} was written by a newer matgen; upgrade to go on with it")
    hashes: Any = told.get("sha256")  # JSON value
    state: Any = told.get("state")  # JSON value
    made_with: Any = told.get("made_with")  # JSON value
    for name, wanted in hashes.items():
        try:
            found = _sha256(path / name)
        except OSError as error:
            raise BadFile(f"cannot read {path / name}: {error}") from None
        if found != wanted:
            raise BadFile(f"{path / name} is not what was written")
    return Checkpoint(path, TrainState(**state), made_with)


def _found(folder: Path) -> list[Path]:
    return sorted(folder.glob("step-*"))


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _named_in_order(model: nn.Module, optimizer: torch.optim.Optimizer) -> list[str]:
    """Return the names of the parameters in the order in which the optimiser numbers them."""
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    return [names[id(p)] for group in optimizer.param_groups for p in group["params"]]


def _optimizer_tensors(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    names = _named_in_order(model, optimizer)
    return {
        f"{names[number]}:{what}": tensor
        for number, held in optimizer.state_dict()["state"].items()
        for what, tensor in held.items()
    }


def _restore_optimizer(
    model: nn.Module, optimizer: torch.optim.Optimizer, saved: Mapping[str, Tensor]
) -> None:
    number = {name: i for i, name in enumerate(_named_in_order(model, optimizer))}
    state: dict[int, dict[str, Tensor]] = {}
    for key, tensor in saved.items():
        name, _, what = key.rpartition(":")
        if name:
            state.setdefault(number[name], {})[what] = tensor
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": state, "param_groups": groups})
