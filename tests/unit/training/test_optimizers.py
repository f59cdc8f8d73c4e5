from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from matgen.training.optimizers import Optimizers
from tests.unit.small_model import Weight, small_model
from tests.unit.training.runs import Watcher, furthest, run, settings, weights


def named_groups(optimizer: str) -> dict[str, float]:
    """Return what each parameter's weight decay is, and mark those that Muon moves."""
    model = small_model(conditions=(Weight(),))
    chosen = settings(optimizer=optimizer, weight_decay=0.5, embedding_weight_decay=0.25)
    optimizers = Optimizers(model, chosen)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    return {
        names[id(p)]: group["weight_decay"] + (10.0 if isinstance(one, torch.optim.Muon) else 0.0)
        for one in optimizers._all()
        for group in one.param_groups
        for p in group["params"]
    }


def test_every_parameter_is_in_one_group_and_decays_as_its_kind_does() -> None:
    decay = named_groups("adamw")
    assert decay.keys() == dict(small_model(conditions=(Weight(),)).named_parameters()).keys()
    assert decay["language_model.embedding.weight"] == 0.25
    assert decay["conditioner.not_known_KD"] == 0.25
    assert decay["language_model.norm.weight"] == 0.0
    assert decay["conditioner.encoders.0.bias"] == 0.0
    assert decay["language_model.blocks.0.qkv.weight"] == 0.5
    assert decay["conditioner.encoders.0.weight"] == 0.5


def test_muon_moves_the_matrices_of_the_blocks_and_nothing_else() -> None:
    moved = {name for name, decay in named_groups("muon").items() if decay >= 10.0}
    parts = ("qkv", "attention_out", "gate_up", "ffn_out")
    blocks = "language_model.blocks"
    assert moved == {f"{blocks}.{i}.{part}.weight" for i in (0, 1) for part in parts}


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_decay_alone_shrinks_what_decays(optimizer: str) -> None:
    model = small_model(conditions=())
    chosen = settings(optimizer=optimizer, weight_decay=0.5, embedding_weight_decay=0.0)
    optimizers = Optimizers(model, chosen)
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizers.set_rate(0.1)
    optimizers.step(torch.tensor(False))
    for name, parameter in model.named_parameters():
        is_embedding = name.endswith(("embedding.weight", "token.weight", "_KD"))
        shrinks = parameter.ndim == 2 and not is_embedding
        expected = before[name] * (0.95 if shrinks else 1.0)
        assert torch.allclose(parameter, expected, atol=1e-6), name


def test_muon_learns_at_the_rate_that_serves_adamw(tmp_path: Path) -> None:
    ends = {}
    for optimizer in ("adamw", "muon"):
        watcher = Watcher()
        run(tmp_path / optimizer, watcher, optimizer=optimizer, epochs=8, learning_rate=5e-3)
        ends[optimizer] = watcher.validations[-1].loss
        assert watcher.validations[-1].loss < watcher.validations[0].loss - 0.2
    assert furthest(weights(tmp_path / "adamw"), weights(tmp_path / "muon")) > 1e-3
    assert abs(ends["adamw"] - ends["muon"]) < 0.3


def test_early_stopping_ends_a_run_that_gains_nothing(tmp_path: Path) -> None:
    watcher = Watcher()
    result = run(
        tmp_path, watcher, epochs=500, learning_rate=0.05, validate_every=0, early_stopping=3
    )
    losses = [validation.loss for validation in watcher.validations]
    assert not result.interrupted
    assert result.epoch < 500
    best = int(np.argmin(losses))
    assert len(losses) - 1 - best == 3
    assert result.best_loss == losses[best]
