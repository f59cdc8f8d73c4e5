from __future__ import annotations

import math
import shutil
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from matgen.atomic import read_tensors
from matgen.data.batch import Gathered
from matgen.errors import BadOptions, UserError
from matgen.nn.crystal_model import CrystalModel
from matgen.training.loop import train
from tests.unit.small_model import Sentences, small_spec
from tests.unit.training.runs import (
    Watcher,
    metrics,
    run,
    same,
    settings,
    trainer,
    validations,
    weights,
)


def test_it_learns_sixty_four_sentences_by_heart(tmp_path: Path) -> None:
    store = Sentences(64, continuous=False)
    # A model that knows them by heart still has to guess which one comes: the entropy of the list.
    counts = Counter(tuple(ids) for ids in store.ids)
    entropy = sum(n / 64 * math.log(64 / n) for n in counts.values())
    floor = 64 * entropy / (store.lengths.sum() - 64)
    spec = small_spec(continuous=False, conditions=(), width=48, heads=4, ffn_width=96)
    chosen = settings(
        epochs=300,
        batch_tokens=10_000,
        batching="packed",
        learning_rate=5e-3,
        weight_decay=0.0,
        validate_every=1000,
        validation_sequences=64,
    )
    watcher = Watcher()
    train(spec, store, store, chosen, tmp_path, observer=watcher)
    assert watcher.steps[0].loss > 2.5 * floor
    assert floor - 1e-4 < watcher.validations[-1].loss < 1.1 * floor


def test_values_are_learned_together_with_tokens(tmp_path: Path) -> None:
    watcher = Watcher()
    run(tmp_path, watcher, epochs=8, validate_every=30)
    assert watcher.validations[-1].loss < watcher.validations[0].loss
    # A value spread evenly over 7 units costs log 7 nats at best.
    assert watcher.validations[-1].kinds["length"] == pytest.approx(np.log(7), abs=1.0)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize(
    "chosen",
    [
        {"batching": "equal_length"},
        {"batching": "packed"},
        {"micro_batch_tokens": 20},
        {"optimizer": "muon", "ema_decay": 0.9, "schedule": "wsd"},
        {"schedule": "cosine", "label_smoothing": 0.1, "kind_weights": {"word": 2.0}},
    ],
    ids=["equal_length", "packed", "in parts", "muon", "weighted"],
)
def test_a_run_interrupted_in_mid_epoch_goes_on_to_the_very_same_weights(
    tmp_path: Path, number: signal.Signals, chosen: dict[str, object]
) -> None:
    whole = run(tmp_path / "whole", **chosen)
    first = run(tmp_path / "parts", Watcher(signal_after=5, number=number), **chosen)
    assert first.interrupted
    assert first.step == 5
    second = run(tmp_path / "parts", Watcher(signal_after=12, number=number), **chosen)
    assert (second.interrupted, second.step) == (True, 12)
    last = run(tmp_path / "parts", **chosen)
    assert not last.interrupted
    assert last.step == whole.step
    assert same(weights(tmp_path / "parts"), weights(tmp_path / "whole"))
    assert same(trainer(tmp_path / "parts"), trainer(tmp_path / "whole"))


class Signalling(Sentences):
    """Sends a signal when it is read for the n-th time."""

    def __init__(self, n: int, seed: int, at: int) -> None:
        super().__init__(n, seed)
        self._left = at

    def gather(self, indices: NDArray[np.int64], *, epoch: int) -> Gathered:
        self._left -= 1
        if self._left == 0:
            signal.raise_signal(signal.SIGTERM)
        return super().gather(indices, epoch=epoch)


# A look reads the validation set several times: given and not given, in batches of 30 positions.
@pytest.mark.parametrize("at", [1, 3, 13, 21])
def test_a_run_stopped_in_the_middle_of_a_look_looks_again_when_it_goes_on(
    tmp_path: Path, at: int
) -> None:
    chosen = settings(
        validate_every=4, plateau_patience=1, micro_batch_tokens=30, early_stopping=50,
    )  # fmt: skip
    spec, store = small_spec(dropout=0.2), Sentences(60, seed=1)
    train(spec, store, Sentences(12, seed=2), chosen, tmp_path / "whole", observer=Watcher())
    stopped = train(
        spec, store, Signalling(12, 2, at), chosen, tmp_path / "parts", observer=Watcher()
    )
    assert stopped.interrupted
    if stopped.step:
        assert all(line["step"] != stopped.step for line in validations(tmp_path / "parts"))
    train(spec, store, Sentences(12, seed=2), chosen, tmp_path / "parts", observer=Watcher())
    told = [
        [(line["step"], line["loss"], line["rate_scale"], line["best"]) for line in validations(f)]
        for f in (tmp_path / "whole", tmp_path / "parts")
    ]
    assert told[0] == told[1]
    assert same(weights(tmp_path / "parts"), weights(tmp_path / "whole"))


def test_a_step_of_many_parts_is_given_up_when_a_stop_is_wanted(tmp_path: Path) -> None:
    chosen = settings(batch_tokens=400, micro_batch_tokens=20)
    spec, val = small_spec(dropout=0.2), Sentences(12, seed=2)
    train(spec, Sentences(60, 1), val, chosen, tmp_path / "whole", observer=Watcher())
    # Batches are made ahead: the signal comes while the parts of the first step are learned.
    stopped = train(
        spec, Signalling(60, 1, 25), val, chosen, tmp_path / "parts", observer=Watcher()
    )
    assert stopped.interrupted
    train(spec, Sentences(60, 1), val, chosen, tmp_path / "parts", observer=Watcher())
    assert same(weights(tmp_path / "parts"), weights(tmp_path / "whole"))
    assert same(trainer(tmp_path / "parts"), trainer(tmp_path / "whole"))


def test_a_run_stopped_by_its_step_limit_goes_on_to_the_very_same_weights(tmp_path: Path) -> None:
    run(tmp_path / "whole", validate_every=4, plateau_patience=1)
    run(tmp_path / "parts", validate_every=4, plateau_patience=1, max_steps=7)
    run(tmp_path / "parts", validate_every=4, plateau_patience=1)
    assert same(weights(tmp_path / "parts"), weights(tmp_path / "whole"))
    told = [
        [(line["step"], line["loss"], line["rate_scale"]) for line in validations(tmp_path / name)]
        for name in ("whole", "parts")
    ]
    # The look at step 7 is for the record alone.
    assert told[0] == [line for line in told[1] if line[0] != 7]


def test_global_random_state_is_left_as_it_was(tmp_path: Path) -> None:
    before = torch.get_rng_state()
    run(tmp_path, epochs=1)
    assert torch.equal(torch.get_rng_state(), before)


def test_another_seed_gives_other_weights_and_the_same_seed_the_same(tmp_path: Path) -> None:
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        run(tmp_path / name, epochs=1, seed=seed)
    assert same(weights(tmp_path / "a"), weights(tmp_path / "b"))
    assert not same(weights(tmp_path / "a"), weights(tmp_path / "c"))


def test_the_last_two_checkpoints_stay(tmp_path: Path) -> None:
    watcher = Watcher()
    result = run(tmp_path, watcher, checkpoint_every=4)
    kept = sorted((tmp_path / "checkpoints").iterdir())
    assert kept == watcher.checkpoints[-2:]
    assert kept[-1].name == f"step-{result.step:08d}"


@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("file", ["model.safetensors", "trainer.safetensors", "trainer.json"])
def test_a_torn_checkpoint_is_passed_over_with_a_message(
    tmp_path: Path, file: str, missing: bool, caplog: pytest.LogCaptureFixture
) -> None:
    run(tmp_path / "whole", checkpoint_every=4)
    run(tmp_path / "torn", checkpoint_every=4, max_steps=10)
    last = sorted((tmp_path / "torn" / "checkpoints").iterdir())[-1]
    torn = last / file
    torn.write_bytes(torn.read_bytes()[:-10])
    if missing:
        torn.unlink()
    watcher = Watcher()
    run(tmp_path / "torn", watcher, checkpoint_every=4)
    assert watcher.steps[0].step == 9
    assert str(last) in caplog.text
    assert same(weights(tmp_path / "torn"), weights(tmp_path / "whole"))


def test_metrics_have_each_step_once_even_after_a_lost_checkpoint(tmp_path: Path) -> None:
    run(tmp_path, checkpoint_every=4, max_steps=10)
    shutil.rmtree(sorted((tmp_path / "checkpoints").iterdir())[-1])
    run(tmp_path, checkpoint_every=4)
    steps = [line["step"] for line in metrics(tmp_path) if line["event"] == "step"]
    assert steps == sorted(set(steps))
    assert steps[0] == 3


def test_a_finished_run_is_left_alone(tmp_path: Path) -> None:
    done = run(tmp_path, epochs=1)
    before = weights(tmp_path)
    watcher = Watcher()
    again = run(tmp_path, watcher, epochs=1)
    assert watcher.steps == []
    assert (again.step, again.best_loss) == (done.step, done.best_loss)
    assert same(weights(tmp_path), before)


def test_the_model_file_has_the_weights_of_the_lowest_validation_loss(tmp_path: Path) -> None:
    watcher = Watcher()
    result = run(tmp_path, watcher, epochs=4, validate_every=3, learning_rate=0.1)
    best = min(watcher.validations, key=lambda v: v.loss)
    assert (result.best_loss, result.best_step) == (best.loss, best.step)
    model = CrystalModel(small_spec(dropout=0.2))
    model.load_state_dict(read_tensors(tmp_path / "model.safetensors"))
    from matgen.training.hardware import resolve_hardware
    from matgen.training.validation import Validator

    chosen = settings()
    validator = Validator(model.spec, Sentences(12, seed=2), chosen, resolve_hardware(chosen))
    assert validator.losses(model).loss == pytest.approx(best.loss, rel=1e-6)
    assert best.loss == pytest.approx((best.given + best.free) / 2)
    assert set(best.kinds) == {"frame", "word", "length"}


def test_the_learning_rate_warms_up_and_halves_on_a_plateau(tmp_path: Path) -> None:
    watcher = Watcher()
    # The rate is so small that weights move below what validation losses can show, but upward
    # noise is a plateau too: patience one halves whenever the loss has not fallen.
    run(
        tmp_path, watcher, learning_rate=1e-30, validate_every=2, plateau_patience=1, warmup_steps=2
    )
    rates = [progress.learning_rate for progress in watcher.steps]
    assert rates[:4] == pytest.approx([0.5e-30, 1e-30, 1e-30, 1e-30])
    # First validation sets the mark at step 2; each later one halves.
    assert rates[4:8] == pytest.approx([0.5e-30, 0.5e-30, 0.25e-30, 0.25e-30])


class Poisoned(Sentences):
    """Values of some sequences are not finite, so their losses are not either."""

    def __init__(self, n: int, bad: range) -> None:
        super().__init__(n, seed=1)
        self._bad = bad

    def gather(self, indices: NDArray[np.int64], *, epoch: int) -> Gathered:
        gathered = super().gather(indices, epoch=epoch)
        assert gathered.values is not None
        if epoch >= 1 and any(int(i) in self._bad for i in indices):
            gathered.values[:] = np.inf
        return gathered


def test_a_step_without_a_finite_loss_is_skipped_and_counted(tmp_path: Path) -> None:
    watcher = Watcher()
    result = train(
        small_spec(), Poisoned(60, range(1)), Sentences(12), settings(), tmp_path, observer=watcher
    )
    assert result.skipped_steps == 2
    assert sum(np.isnan(progress.loss) for progress in watcher.steps) == 2
    assert all(bool(torch.isfinite(w).all()) for w in weights(tmp_path).values())


def run_until_the_end_of_the_first_epoch(folder: Path) -> dict[str, torch.Tensor]:
    train(
        small_spec(), Poisoned(60, range(60)), Sentences(12), settings(epochs=1), folder,
        observer=Watcher(),
    )  # fmt: skip
    return weights(folder)


def test_ten_such_steps_in_a_row_end_the_run_and_leave_the_last_good_checkpoint(
    tmp_path: Path,
) -> None:
    watcher = Watcher()
    with pytest.raises(UserError, match="10 steps in a row"):
        train(
            small_spec(),
            Poisoned(60, range(60)),
            Sentences(12),
            settings(checkpoint_every=1),
            tmp_path,
            observer=watcher,
        )
    kept = sorted((tmp_path / "checkpoints").iterdir())
    assert kept == watcher.checkpoints[-2:]
    assert all(bool(torch.isfinite(w).all()) for w in weights(tmp_path).values())
    # The first epoch was sound; nothing has changed since.
    sound = run_until_the_end_of_the_first_epoch(tmp_path / "sound")
    assert same(weights(tmp_path), sound)


def test_going_on_with_other_settings_or_data_is_refused_by_name(tmp_path: Path) -> None:
    run(tmp_path, max_steps=2)
    with pytest.raises(BadOptions, match=r"settings\.learning_rate = 0\.01, now it is 0\.02"):
        run(tmp_path, learning_rate=0.02)
    with pytest.raises(BadOptions, match="train = 'sentences-60-1'"):
        train(
            small_spec(dropout=0.2, attention_dropout=0.1),
            Sentences(61, seed=1),
            Sentences(12, seed=2),
            settings(),
            tmp_path,
            observer=Watcher(),
        )


def test_an_empty_training_set_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadOptions, match="training set is empty"):
        train(small_spec(), Sentences(0), Sentences(1), settings(), tmp_path, observer=Watcher())


def test_a_device_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadOptions, match="cuda:97"):
        run(tmp_path, device="cuda:97")


def test_a_time_limit_ends_the_run(tmp_path: Path) -> None:
    result = run(tmp_path, epochs=10_000, max_minutes=0.005)
    assert not result.interrupted
    assert (tmp_path / "model.safetensors").exists()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_training_on_cuda_goes_on_after_an_interruption(tmp_path: Path, precision: str) -> None:
    chosen = {"device": "cuda", "precision": precision}
    store = Sentences(60, seed=1)
    spec = small_spec(width=64, heads=4)
    first = train(
        spec, store, store, settings(**chosen), tmp_path, observer=Watcher(signal_after=5)
    )
    assert first.interrupted
    watcher = Watcher()
    last = train(spec, store, store, settings(**chosen), tmp_path, observer=watcher)
    assert watcher.steps[0].step == 6
    assert last.best_loss < watcher.steps[0].loss


def test_the_loop_loads_no_crystal_library() -> None:
    heavy = ("pymatgen", "spglib", "ase")
    code = f"import sys, matgen.training.loop; sys.exit(any(n in sys.modules for n in {heavy}))"
    finished = subprocess.run([sys.executable, "-c", code], check=False)
    assert finished.returncode == 0
