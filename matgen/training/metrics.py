"""``metrics.jsonl``: one line per logged step and per validation."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from matgen.atomic import write_text
from matgen.errors import BadFile
from matgen.training.checkpoints import TrainState
from matgen.training.progress import Validation


class MetricsLog:
    """Appends lines; what a run lost by going on from an earlier checkpoint is removed first."""

    def __init__(self, path: Path, *, after_step: int, writes: bool = True) -> None:
        """Open.

        Args:
            path: Made with its folder at the first line.
            after_step: Lines of later steps are from before a crash and will come again.
            writes: Otherwise everything is heard and nothing is written: another rank does.
        """
        self._path = path
        self._writes = writes
        self._losses: list[float] = []
        if writes and path.exists():
            kept = [line for line in _lines(path) if int(line["step"]) <= after_step]
            write_text(path, "".join(json.dumps(line) + "\n" for line in kept))

    def add_step(self, loss: float) -> None:
        """Remember the loss of a step for the next line; NaN where it was skipped."""
        if math.isfinite(loss):
            self._losses.append(loss)

    def write_step(
        self,
        state: TrainState,
        *,
        rate: float,
        norm: float,
        tokens_per_s: float,
        memory_bytes: int | None,
    ) -> None:
        """Write the mean loss since the last such line."""
        losses, self._losses = self._losses, []
        self._write(
            {
                "event": "step",
                "step": state.step,
                "epoch": state.epoch,
                "loss": sum(losses) / len(losses) if losses else None,
                "learning_rate": rate,
                "gradient_norm": norm if math.isfinite(norm) else None,
                "tokens": state.tokens,
                "tokens_per_s": round(tokens_per_s, 1),
                "seconds": round(state.seconds, 2),
                "skipped_steps": state.skipped_steps,
                "memory_mb": None if memory_bytes is None else round(memory_bytes / 1e6),
            }
        )

    def write_validation(self, state: TrainState, validation: Validation) -> None:
        """Write the losses of a validation."""
        self._write(
            {
                "event": "validation",
                "step": validation.step,
                "epoch": state.epoch,
                "loss": validation.loss,
                "given": validation.given,
                "free": validation.free,
                "kinds": dict(validation.kinds),
                "best": validation.best,
                "rate_scale": state.rate_scale,
                "seconds": round(state.seconds, 2),
            }
        )

    def _write(self, line: dict[str, object]) -> None:
        if not self._writes:
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")


def best_so_far(weights: Path) -> tuple[float, int]:
    """Return loss and step of the best weights of a run, as their file says; infinity if none.

    Raises:
        BadFile: not a weights file.
    """
    from safetensors import SafetensorError, safe_open

    if not weights.exists():
        return math.inf, 0
    try:
        with safe_open(weights, "pt") as file:
            told = file.metadata() or {}
        return float(told["loss"]), int(told["step"])
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise BadFile(
            f"{weights} is damaged ({error}); delete it, training writes it again"
        ) from None


def _lines(path: Path) -> list[dict[str, Any]]:  # JSON values
    """Return the whole lines; the last may have been cut by a crash."""
    lines = []
    for text in path.read_text(encoding="utf-8").splitlines():
        try:
            lines.append(json.loads(text))
        except json.JSONDecodeError:
            continue
    return lines
