from __future__ import annotations

import pytest
import torch

from matgen.nn.crystal_model import CrystalModel
from matgen.training.memory import expected_memory, tokens_per_epoch
from matgen.training.settings import TrainingSettings
from tests.unit.small_model import START, Sentences, small_spec


def test_memory_grows_with_the_batch_and_holds_four_copies_of_the_weights() -> None:
    spec = small_spec(width=64, heads=4)
    weights = 16 * CrystalModel(spec).n_parameters
    small, large = (
        expected_memory(spec, TrainingSettings(batch_tokens=n)) for n in (1_000, 100_000)
    )
    assert weights < small < large
    # Activations are proportional to the positions.
    assert (large - weights) / (small - weights) == pytest.approx(100, rel=0.1)


def test_estimating_memory_draws_no_random_numbers() -> None:
    before = torch.get_rng_state()
    expected_memory(small_spec(), TrainingSettings())
    assert torch.equal(torch.get_rng_state(), before)


def test_an_epoch_learns_every_token_but_the_start_tokens() -> None:
    store = Sentences(9)
    assert tokens_per_epoch(store) == sum(int((ids != START).sum()) for ids in store.ids)
