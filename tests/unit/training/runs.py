"""Small runs on random sentences, and what is left of them."""

from __future__ import annotations

import json
import signal
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from matgen.atomic import read_tensors
from matgen.training.loop import train
from matgen.training.progress import Progress, TrainResult, Validation
from matgen.training.settings import TrainingSettings
from tests.unit.small_model import Sentences, small_spec


@dataclass
class Watcher:
    """Remembers what it hears, and sends a signal after a step if told so."""

    signal_after: int | None = None
    number: signal.Signals = signal.SIGINT
    steps: list[Progress] = field(default_factory=list)
    validations: list[Validation] = field(default_factory=list)
    checkpoints: list[Path] = field(default_factory=list)

    def on_step(self, progress: Progress) -> None:
        self.steps.append(progress)
        if progress.step == self.signal_after:
            signal.raise_signal(self.number)

    def on_validation(self, validation: Validation) -> None:
        self.validations.append(validation)

    def on_checkpoint(self, path: Path) -> None:
        self.checkpoints.append(path)


def settings(**changes: Any) -> TrainingSettings:
    chosen = {
        "epochs": 3,
        "batch_tokens": 60,
        "learning_rate": 1e-2,
        "warmup_steps": 5,
        "device": "cpu",
        "precision": "fp32",
        "validation_sequences": 10,
        "log_every": 3,
        **changes,
    }
    return TrainingSettings.model_validate(chosen)


def run(
    folder: Path, watcher: Watcher | None = None, *, dropout: float = 0.2, **changes: Any
) -> TrainResult:
    spec = small_spec(dropout=dropout, attention_dropout=dropout / 2)
    return train(
        spec,
        Sentences(60, seed=1),
        Sentences(12, seed=2),
        settings(**changes),
        folder,
        observer=watcher or Watcher(),
    )


def last_checkpoint(folder: Path) -> Path:
    return sorted((folder / "checkpoints").glob("step-*"))[-1]


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return read_tensors(last_checkpoint(folder) / "model.safetensors")


def trainer(folder: Path) -> dict[str, torch.Tensor]:
    return read_tensors(last_checkpoint(folder) / "trainer.safetensors")


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def furthest(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> float:
    """Return the largest difference between two sets of weights."""
    assert a.keys() == b.keys()
    return max(float((a[name].double() - b[name].double()).abs().max()) for name in a)


def metrics(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def validations(folder: Path) -> list[dict[str, Any]]:
    return [line for line in metrics(folder) if line["event"] == "validation"]
