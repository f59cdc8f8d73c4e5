"""What one step does, and what a bad one leaves alone."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from matgen.errors import BadOptions, UserError
from matgen.model_spec import ModelSpec
from matgen.nn.crystal_model import CrystalModel
from matgen.nn.language_model import Layout
from matgen.roles.representation import Vocabulary
from matgen.training.batches import Batcher
from matgen.training.ema import Ema
from matgen.training.hardware import resolve_hardware
from matgen.training.loop import train
from matgen.training.ranks import Ranks
from matgen.training.settings import TrainingSettings
from matgen.training.step import CALM_STEPS, Learner, Objective
from matgen_materium.llama import Llama
from matgen_materium.llama_network import LlamaNetwork
from tests.unit.small_model import Sentences, small_model, small_spec
from tests.unit.training.runs import Watcher, furthest, metrics, run, same, settings, weights


def learner(model: CrystalModel, chosen: TrainingSettings) -> Learner:
    objective = Objective(model, chosen, Sentences.kind_names, compiled=False)
    return Learner(objective, chosen, resolve_hardware(chosen), Ranks())


def taken(
    learns: Learner, chosen: TrainingSettings, rows: NDArray[np.int64], step: int = 0
) -> Tensor:
    store = Sentences(20)
    model_batcher = Batcher(store, small_spec().slotted, chosen, packed=True)
    told = learns.learn(
        [model_batcher.training(rows, 0)],
        n_targets=model_batcher.n_targets(rows),
        step=step,
        rate=1e-2,
        unwanted=lambda: False,
    )
    assert told is not None
    return told


def copied(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in tensors.items()}


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_a_step_in_parts_is_the_step_at_once(tmp_path: Path, optimizer: str) -> None:
    chosen: dict[str, Any] = {"dropout": 0.0, "optimizer": optimizer, "batch_tokens": 200}
    run(tmp_path / "once", **chosen)
    run(tmp_path / "parts", **chosen, micro_batch_tokens=15)
    once, parts = weights(tmp_path / "once"), weights(tmp_path / "parts")
    # Muon takes its steps from bfloat16 products, which round sums taken in another order apart.
    assert furthest(once, parts) < (2e-5 if optimizer == "adamw" else 2e-2)
    told = [[line["loss"] for line in metrics(tmp_path / name)] for name in ("once", "parts")]
    assert told[0] == pytest.approx(told[1], rel=1e-5 if optimizer == "adamw" else 1e-2)


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
@pytest.mark.parametrize("poison", [math.nan, math.inf])
def test_a_bad_step_changes_neither_weights_nor_averages(optimizer: str, poison: float) -> None:
    chosen = settings(optimizer=optimizer, ema_decay=0.5)
    model = small_model()
    learns = learner(model, chosen)
    for step in range(2):
        assert taken(learns, chosen, np.arange(5), step)[2] == 0
    before = copied(model.state_dict()), copied(learns.tensors())
    hook = model.register_forward_pre_hook(lambda *_: None)
    losses = model.token_losses

    def poisoned(*args: Any, **kwargs: Any) -> Any:
        found = losses(*args, **kwargs)
        return type(found)(found.token_N * poison, found.value_N, found.kinds_N)

    learns._joined._losses = poisoned  # type: ignore[assignment]
    told = taken(learns, chosen, np.arange(5), 2)
    hook.remove()
    assert told[2] == 1
    assert same(model.state_dict(), before[0])
    after = learns.tensors()
    # The average of the weights takes in the weights as they are, at every step.
    held = {name for name in after if not name.startswith("ema/")}
    assert same({n: after[n] for n in held}, {n: before[1][n] for n in held})


def test_a_spike_is_skipped_once_it_is_known_what_is_usual() -> None:
    chosen = settings(spike_factor=10.0)
    model = small_model()
    learns = learner(model, chosen)
    objective = learns._joined
    assert isinstance(objective, Objective)
    objective._weighted = True
    skipped = []
    for step in range(CALM_STEPS + 3):
        # Early on a long gradient is no spike yet; later it is.
        objective.kind_weights.fill_(1000.0 if step in {3, CALM_STEPS + 1} else 1.0)
        skipped.append(bool(taken(learns, chosen, np.arange(5), step)[2]))
    assert [step for step, bad in enumerate(skipped) if bad] == [CALM_STEPS + 1]


class LittleMemory(Llama):
    """A network that has no memory for more positions than it says."""

    name = "little_memory"
    room: int = 40

    def build(self, vocabulary: Vocabulary, max_positions: int) -> LlamaNetwork:
        class Network(LlamaNetwork):
            def hidden(network, x_TD: Tensor, layout: Layout) -> Tensor:  # noqa: N805
                if network.training and len(x_TD) > self.room:
                    raise torch.OutOfMemoryError("no memory")
                return super().hidden(x_TD, layout)

        return Network(self, vocabulary, max_positions)


def in_little_memory(room: int) -> ModelSpec:
    spec = small_spec()
    backbone = LittleMemory(room=room, layers=2, heads=2, width=16, ffn_width=24, dropout=0.0)
    return ModelSpec(spec.representation, spec.ordering, backbone, spec.conditions)


def test_running_out_of_memory_halves_the_parts_and_changes_nothing_else(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store, chosen = Sentences(60, seed=1), settings(batch_tokens=200)
    for name, spec in (("plenty", in_little_memory(10_000)), ("little", in_little_memory(60))):
        train(spec, store, store, chosen, tmp_path / name, observer=Watcher())
    assert "out of memory: 50 positions at a time from here on" in caplog.text
    assert caplog.text.count("out of memory") == 2  # 200, 100, 50
    assert furthest(weights(tmp_path / "plenty"), weights(tmp_path / "little")) < 2e-5


def test_a_crystal_that_alone_does_not_fit_ends_the_run_in_a_sentence(tmp_path: Path) -> None:
    store = Sentences(60, seed=1)
    with pytest.raises(UserError, match="a single crystal of 11 positions needs more memory"):
        train(in_little_memory(3), store, store, settings(), tmp_path, observer=Watcher())


def test_a_kind_weight_of_zero_teaches_nothing_of_that_kind(tmp_path: Path) -> None:
    watchers = {}
    for name, weight in (("all", 1.0), ("no lengths", 0.0)):
        watchers[name] = Watcher()
        run(tmp_path / name, watchers[name], epochs=6, kind_weights={"length": weight})
    end = {name: watcher.validations[-1].kinds for name, watcher in watchers.items()}
    begin = watchers["all"].validations[0].kinds
    assert end["no lengths"]["word"] < begin["word"] - 0.1
    assert end["all"]["length"] < begin["length"] - 0.3
    assert end["no lengths"]["length"] > end["all"]["length"] + 0.3


def test_a_kind_that_does_not_exist_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(BadOptions, match="names 'lenght', which is no kind of token here; known"):
        run(tmp_path, kind_weights={"lenght": 2.0})


def test_label_smoothing_is_that_of_torch_and_absent_from_validation(tmp_path: Path) -> None:
    model = small_model(continuous=False, conditions=())
    store = Sentences(8, continuous=False)
    batch = Batcher(store, (), settings(), packed=True).training(np.arange(8), 0)
    plain = model.token_losses(batch).token_N
    smooth = model.token_losses(batch, label_smoothing=0.2).token_N
    h_TD = model.language_model.hidden(model.embed_stream(batch), batch.layout)
    log_p = model.language_model.logits(h_TD).log_softmax(-1)
    ends = np.cumsum(store.lengths) - 1
    predicts = np.setdiff1d(np.arange(len(batch.ids_T)), ends)
    uniform = -log_p[predicts].mean(dim=1)
    assert torch.allclose(smooth, 0.8 * plain + 0.2 * uniform, atol=1e-5)
    watcher = Watcher()
    run(tmp_path, watcher, label_smoothing=0.9, epochs=1)
    first = Watcher()
    run(tmp_path / "plain", first, epochs=1)
    assert watcher.validations[0].loss == first.validations[0].loss


def test_the_average_of_the_weights_is_the_one_written_down() -> None:
    model = torch.nn.Linear(1, 1, bias=False)
    ema = Ema(model, decay=0.5)
    average = float(model.weight.detach())
    for step, value in enumerate((1.0, -2.0, 3.0), start=1):
        with torch.no_grad():
            model.weight.fill_(value)
        ema.update(step)
        decay = min(0.5, (1 + step) / (10 + step))
        average = decay * average + (1 - decay) * value
    assert float(ema.tensors()["weight"]) == pytest.approx(average, rel=1e-6)
    with ema.lent():
        assert model.weight.item() == pytest.approx(average, rel=1e-6)
    assert model.weight.item() == 3.0


def test_the_model_file_has_the_average_and_the_checkpoint_the_weights(tmp_path: Path) -> None:
    from matgen.atomic import read_tensors
    from tests.unit.training.runs import trainer

    run(tmp_path, ema_decay=0.9, epochs=2)
    kept, state, raw = read_tensors(tmp_path / "model.safetensors"), trainer(tmp_path), weights(
        tmp_path
    )  # fmt: skip
    average = {n.removeprefix("ema/"): t for n, t in state.items() if n.startswith("ema/")}
    assert same({name: kept[name] for name in average}, average)
    assert furthest({n: raw[n] for n in average}, average) > 1e-4
