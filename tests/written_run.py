"""Run directories written by hand, as training would write them, with numbers that are easy."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file


def step_line(step: int, **changes: Any) -> dict[str, Any]:
    """Return a logged step of 100 tokens and half a second a step."""
    return {
        "event": "step",
        "step": step,
        "epoch": step // 50,
        "loss": 5.0 - step / 100,
        "learning_rate": 1e-3,
        "gradient_norm": 0.5,
        "tokens": 100 * step,
        "tokens_per_s": 200.0,
        "seconds": step / 2,
        "skipped_steps": 0,
        "memory_mb": 500,
        **changes,
    }


def validation_line(step: int, loss: float, **changes: Any) -> dict[str, Any]:
    return {
        "event": "validation",
        "step": step,
        "epoch": step // 50,
        "loss": loss,
        "given": loss - 0.25,
        "free": loss + 0.25,
        "kinds": {"element": loss + 1.0, "lattice": loss - 1.0},
        "best": True,
        "seconds": step / 2,
        **changes,
    }


LINES = [
    validation_line(0, 5.0),
    *(step_line(step) for step in range(10, 101, 10)),
    validation_line(50, 4.5),
    validation_line(100, 4.0),
]


def write_run(
    folder: Path,
    *,
    lines: list[dict[str, Any]] | None = None,
    training: Mapping[str, Any] | None = None,
    ordering: str = "materium:high",
    created: str = "2026-03-01T12:00:00+00:00",
    checkpoint: Mapping[str, Any] | None = None,
    best: tuple[float, int] | None = None,
) -> Path:
    """Write a run of 100 steps of 100 tokens, an epoch being 50 steps; return its folder.

    Args:
        lines: Of metrics.jsonl, else ``LINES``.
        training: Training settings.
        checkpoint: Counters of a checkpoint, if there is to be one.
        best: Loss and step of model.safetensors, if there is to be one; it holds 12 numbers.
    """
    folder.mkdir(parents=True)
    told = LINES if lines is None else lines
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in told))
    component = {"revision": 1, "settings": {}}
    info = {
        "format": 1,
        "matgen": "0.1.0",
        "created": created,
        "model": {
            "representation": {**component, "use": "materium:atoms"},
            "ordering": {**component, "use": ordering},
            "backbone": {
                **component, "use": "materium:llama", "settings": {"layers": 2, "width": 32},
            },
            "conditions": [{**component, "use": "materium:density"}],
        },
        "dataset": {**component, "use": "toy:textbook"},
        "data": {
            split: {
                "fingerprint": split, "n_sequences": 100, "n_tokens": 5100, "dropped": {},
                "known": {"density": 90}, "range": {"density": [1.5, 20.0]},
            }
            for split in ("train", "val")
        },
        "training": {"epochs": 2, "learning_rate": 1e-3, **(training or {})},
        "plugins": [],
        "versions": {"python": "3.11.7", "torch": "2.13.0"},
    }  # fmt: skip
    (folder / "run.json").write_text(json.dumps(info))
    if best is not None:
        weights = {"a": np.zeros((3, 3), np.float32), "b": np.zeros(3, np.float32)}
        metadata = {"loss": repr(best[0]), "step": str(best[1])}
        save_file(weights, folder / "model.safetensors", metadata)
    if checkpoint is not None:
        path = folder / "checkpoints" / f"step-{checkpoint['step']:08d}"
        path.mkdir(parents=True)
        (path / "trainer.json").write_text(json.dumps({"format": 1, "state": checkpoint}))
    return folder
