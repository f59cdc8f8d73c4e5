"""A run directory as its files tell it: read without its plugins, without torch, at any moment.

``matgen.run_dir.load_run`` reads a run to use its model; this is for looking at one, or at many.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import Any

from matgen.atomic import read_json
from matgen.errors import BadFile, NewerFormat
from matgen.run_dir import FORMAT
from matgen.training.curves import Curves, read_curves


class RunState(StrEnum):
    """How far a run is, going by what is on disk."""

    FINISHED = "finished"
    CAN_GO_ON = "can go on"
    NO_CHECKPOINT = "no checkpoint yet"
    WEIGHTS_ONLY = "weights only"
    DAMAGED = "damaged"


@dataclass(frozen=True, slots=True)
class Weights:
    """What the header of ``model.safetensors`` says.

    Attributes:
        n_parameters: Numbers in the file.
        loss: Validation loss they had; NaN if it does not say.
        step: When they had it.
    """

    n_parameters: int
    loss: float
    step: int


@dataclass(frozen=True, eq=False)
class StoredRun:
    """A run directory whose ``run.json`` could be read.

    Attributes:
        info: The whole of run.json.
        has_log: Whether there is a metrics.jsonl, be it empty.
        weights: None if there are none, or they are damaged.
        checkpoint: Counters of the newest checkpoint that can be read; empty if there is none.
        problems: What is damaged, a sentence each.
    """

    folder: Path
    info: Mapping[str, Any]  # JSON values
    curves: Curves
    has_log: bool
    weights: Weights | None
    checkpoint: Mapping[str, float]
    problems: tuple[str, ...]

    @property
    def created(self) -> datetime:
        """When it was started; when run.json was written, if that does not say."""
        try:
            return datetime.fromisoformat(self.info["created"]).astimezone(UTC)
        except (KeyError, TypeError, ValueError):
            return last_written(self.folder)

    @property
    def state(self) -> RunState:
        """How far it is."""
        if not self.checkpoint:
            # Training logs before it saves; what has no log was copied for its weights.
            copied = self.weights is not None and not self.has_log
            return RunState.WEIGHTS_ONLY if copied else RunState.NO_CHECKPOINT
        return RunState.FINISHED if self._is_over() else RunState.CAN_GO_ON

    @property
    def step(self) -> int:
        """Steps taken."""
        logged = self.curves.last.step if self.curves.last else 0
        return max(logged, int(self.checkpoint.get("step", 0)))

    @property
    def epoch(self) -> int:
        """Whole epochs done."""
        logged = self.curves.last.epoch if self.curves.last else 0
        return max(logged, int(self.checkpoint.get("epoch", 0)))

    @property
    def seconds(self) -> float:
        """Training time."""
        logged = [line.seconds for line in self.curves.lines if math.isfinite(line.seconds)]
        return max(0.0, float(self.checkpoint.get("seconds", 0.0)), *logged)

    @property
    def tokens(self) -> float:
        """Crystal tokens seen; NaN if nothing was logged."""
        if self.checkpoint.get("step") == self.step:
            return float(self.checkpoint.get("tokens", math.nan))
        return self.curves.tokens_at(self.step)

    @property
    def n_skipped(self) -> int:
        """Steps without an update."""
        logged = [line.skipped_steps for line in self.curves.steps]
        return max(0, int(self.checkpoint.get("skipped_steps", 0)), *logged)

    @cached_property
    def best(self) -> tuple[float, int] | None:
        """Lowest validation loss, nats per token, and its step; None before the first."""
        if self.weights is not None and math.isfinite(self.weights.loss):
            return self.weights.loss, self.weights.step
        line = self.curves.best
        return (line.loss, line.step) if line else None

    @property
    def tokens_per_epoch(self) -> float:
        """Crystal tokens of the training set, start tokens left out; NaN if run.json lacks them."""
        train = self.info["data"]["train"]
        try:
            return float(train["n_tokens"] - train["n_sequences"])
        except (KeyError, TypeError):
            return math.nan

    @property
    def base(self) -> Mapping[str, Any]:  # JSON values
        """What run.json says of the run that this one started from; empty if from none."""
        told = self.info.get("from")
        return told if isinstance(told, dict) else {}

    def component(self, role: str) -> tuple[str, Mapping[str, Any]]:  # JSON values
        """Return qualified name and settings of the dataset or of a part of the model."""
        saved = self.info["dataset"] if role == "dataset" else self.info["model"].get(role, {})
        settings = saved.get("settings")
        return str(saved.get("use", "")), settings if isinstance(settings, dict) else {}

    def _is_over(self) -> bool:
        """Whether the last checkpoint is where the settings in run.json end the run."""
        return (
            self.checkpoint.get("epoch", 0) >= self._limit("epochs")
            or self.checkpoint.get("step", 0) >= self._limit("max_steps")
            or self.checkpoint.get("seconds", 0.0) >= 60 * self._limit("max_minutes")
            or self.checkpoint.get("without_gain", 0) >= self._limit("early_stopping")
        )

    def _limit(self, name: str) -> float:
        value = self.info["training"].get(name)
        return value if isinstance(value, int | float) else math.inf


def read_run(folder: Path) -> StoredRun:
    """Read a run directory.

    Raises:
        BadFile: none, or its run.json is damaged.
        NewerFormat: written by a newer matgen.
    """
    path = folder / "run.json"
    if not path.exists():
        raise BadFile(f"{folder} is no run directory (no run.json in it)")
    info = read_json(path)
    written = info.get("format")
    if isinstance(written, int) and written > FORMAT:
        raise NewerFormat(
            f"{folder} was written by matgen {info.get('matgen')} (format {written}; this "
            f"installation reads up to {FORMAT}): pip install --upgrade matgen"
        )
    if lacking := list(_lacking(info)):
        raise BadFile(f"{path} is damaged: it lacks {', '.join(lacking)}")
    problems: list[str] = []
    log = folder / "metrics.jsonl"
    curves = read_curves(log)
    if curves.n_unreadable:
        problems.append(f"metrics.jsonl: {curves.n_unreadable} lines cannot be read")
    weights = _weights(folder / "model.safetensors", problems)
    checkpoint = _newest_checkpoint(folder / "checkpoints", problems)
    return StoredRun(folder, info, curves, log.exists(), weights, checkpoint, tuple(problems))


def last_written(folder: Path) -> datetime:
    """Return when run.json was written, or the folder where there is none."""
    path = folder / "run.json"
    return datetime.fromtimestamp((path if path.exists() else folder).stat().st_mtime, UTC)


def _lacking(info: Mapping[str, Any]) -> Iterator[str]:  # JSON values
    """Yield the parts that every run.json has and this one lacks."""
    whole = [key for key in ("model", "dataset", "data", "training") if _is_object(info.get(key))]
    yield from (key for key in ("model", "dataset", "data", "training") if key not in whole)
    if "model" in whole:
        model = info["model"]
        roles = ("representation", "ordering", "backbone")
        yield from (f"model.{role}" for role in roles if not _is_object(model.get(role)))
        conditions = model.get("conditions")
        if not isinstance(conditions, list) or not all(map(_is_object, conditions)):
            yield "model.conditions"
    if "data" in whole:
        splits = ("train", "val")
        yield from (f"data.{split}" for split in splits if not _is_object(info["data"].get(split)))


def _is_object(value: object) -> bool:
    return isinstance(value, dict)


def _weights(path: Path, problems: list[str]) -> Weights | None:
    from safetensors import SafetensorError, safe_open

    if not path.exists():
        return None
    try:
        with safe_open(path, "np") as file:
            told = file.metadata() or {}
            shapes = [file.get_slice(name).get_shape() for name in file.keys()]  # noqa: SIM118 - no mapping
        loss, step = float(told.get("loss", "nan")), int(told.get("step", "0"))
    except (OSError, SafetensorError, ValueError) as error:
        problems.append(f"{path.name} is damaged ({error})")
        return None
    return Weights(sum(math.prod(shape) for shape in shapes), loss, step)


def _newest_checkpoint(folder: Path, problems: list[str]) -> Mapping[str, float]:
    """Return the counters of the newest checkpoint that can be read."""
    for path in sorted(folder.glob("step-*"), reverse=True):
        try:
            state = read_json(path / "trainer.json").get("state")
        except BadFile as error:
            problems.append(str(error))
            continue
        if isinstance(state, dict):
            return {name: n for name, n in state.items() if isinstance(n, int | float)}
        problems.append(f"{path / 'trainer.json'} has no counters")
    return {}
