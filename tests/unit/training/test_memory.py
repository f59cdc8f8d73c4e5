from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from matgen.errors import BadOptions
from matgen.nn.crystal_model import CrystalModel
from matgen.training.hardware import ON_A_CPU
from matgen.training.memory import (
    TO_SPARE,
    ExpectedMemory,
    expected_memory,
    largest_batch,
    tokens_per_epoch,
)
from matgen.training.settings import TrainingSettings
from tests.unit.small_model import START, Sentences, small_spec


def expected(batch_tokens: int, **changes: Any) -> ExpectedMemory:
    chosen = {"batch_tokens": batch_tokens, "device": "cpu", "precision": "fp32", **changes}
    return expected_memory(
        small_spec(width=64, heads=4), TrainingSettings.model_validate(chosen)
    )  # fmt: skip


def test_weights_count_four_times_and_five_with_their_average() -> None:
    n = CrystalModel(small_spec(width=64, heads=4)).n_parameters
    assert expected(1000).weights == 16 * n
    assert expected(1000, ema_decay=0.9).weights == 20 * n


def test_a_step_takes_memory_for_its_parts_and_not_for_its_batch() -> None:
    small, large = (expected(n, micro_batch_tokens=n).step for n in (1_000, 100_000))
    assert large / small == pytest.approx(100, rel=0.1)
    assert expected(100_000, micro_batch_tokens=1_000).step == small


def test_ranks_share_the_batch() -> None:
    chosen = TrainingSettings(batch_tokens=4_000, micro_batch_tokens=4_000, device="cpu")
    one, four = (expected_memory(small_spec(), chosen, n_ranks=n) for n in (1, 4))
    assert four.step == pytest.approx(one.step / 4, rel=0.05)


@pytest.mark.parametrize("free", [10**12, 30_000_000])
def test_the_largest_batch_is_the_largest_that_fits(
    monkeypatch: pytest.MonkeyPatch, free: int
) -> None:
    spec = small_spec(width=64, heads=4)
    monkeypatch.setattr("matgen.training.memory.free_memory", lambda: free)
    chosen = TrainingSettings(device="cpu", precision="fp32")
    found = largest_batch(spec, chosen)
    room = TO_SPARE * free
    memory = expected_memory(spec, found)
    assert memory.weights + memory.step <= room
    twice = found.model_copy(
        update={"batch_tokens": 2 * found.batch_tokens, "micro_batch_tokens": 2**20}
    )
    more = expected_memory(spec, twice)
    assert more.weights + more.step > room or found.batch_tokens == ON_A_CPU
    assert (found.batch_tokens == ON_A_CPU) == (free == 10**12)


def test_no_memory_for_any_batch_is_said_in_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("matgen.training.memory.free_memory", lambda: 1_000_000)
    with pytest.raises(BadOptions, match="cpu has 1 MB free, which is too little to train"):
        largest_batch(small_spec(width=64, heads=4), TrainingSettings(device="cpu"))


MEASURE = """
import resource, sys
from pathlib import Path
from matgen.commands.allocator import keep_freed_memory
from matgen.training.loop import train
from matgen.training.memory import expected_memory
from tests.unit.small_model import Sentences, small_spec
from tests.unit.training.runs import Watcher, settings

keep_freed_memory()
spec = small_spec(width=256, heads=8, layers=6, ffn_width=512, dropout=0.1)
store = Sentences(6000)
# The longest sentences alone, as the expectation has it.
chosen = settings(batch_tokens=16_000, micro_batch_tokens=16_000, max_steps=3, epochs=3)
expected = expected_memory(spec, chosen).total
train(spec, store, Sentences(12), chosen, Path(sys.argv[1]), observer=Watcher())
print(expected, 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="peak memory in kB is Linux's")
def test_what_is_expected_is_what_training_takes_within_a_fifth(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, str(tmp_path)],
        capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    expected, taken = map(int, done.stdout.split())
    assert expected == pytest.approx(taken, rel=0.2)


def test_estimating_memory_draws_no_random_numbers() -> None:
    before = torch.get_rng_state()
    expected_memory(small_spec(), TrainingSettings())
    assert torch.equal(torch.get_rng_state(), before)


def test_an_epoch_learns_every_token_but_the_start_tokens() -> None:
    store = Sentences(9)
    assert tokens_per_epoch(store) == sum(int((ids != START).sum()) for ids in store.ids)
