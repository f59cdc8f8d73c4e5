from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from matgen.nn.conditioner import GIVEN, NOT_ASKED, NOT_KNOWN
from matgen.nn.language_model import Dense, Packed
from matgen.training.batches import Batcher, epoch_batches
from matgen.training.condition_dropout import dropped, random_keys
from matgen.training.settings import TrainingSettings
from tests.unit.small_model import Pair, Sentences, Weight

LENGTHS = st.lists(st.integers(3, 20), min_size=1, max_size=80).map(np.array)


@settings(max_examples=100, deadline=None)
@given(LENGTHS, st.integers(1, 200), st.booleans(), st.integers(0, 3))
def test_every_sequence_is_in_exactly_one_batch_of_an_epoch(
    lengths: np.ndarray, size: int, packed: bool, epoch: int
) -> None:
    batches = epoch_batches(lengths, size, seed=1, epoch=epoch, packed=packed)
    assert all(len(batch) for batch in batches)
    assert sorted(np.concatenate(batches)) == list(range(len(lengths)))
    for batch in batches:
        assert lengths[batch].sum() < size + 20 or len(batch) == 1
        assert packed or len(set(lengths[batch])) == 1


@pytest.mark.parametrize("packed", [False, True])
def test_batches_differ_between_epochs_and_seeds_and_come_again_for_the_same(packed: bool) -> None:
    lengths = np.random.default_rng(0).integers(4, 9, size=100)

    def order(seed: int, epoch: int) -> list[int]:
        batches = epoch_batches(lengths, 50, seed=seed, epoch=epoch, packed=packed)
        return list(np.concatenate(batches))

    assert order(0, 0) == order(0, 0)
    assert order(0, 0) != order(0, 1)
    assert order(0, 0) != order(1, 0)


def batcher(*, packed: bool = False, **changes: float) -> Batcher:
    chosen = TrainingSettings.model_validate(changes)
    return Batcher(Sentences(40), (Weight(), Pair()), chosen, packed)


def test_what_a_crystal_is_asked_does_not_depend_on_its_batch() -> None:
    made = batcher(packed=True)
    together = made.training(np.arange(40), 3).status_RK
    apart = torch.cat([made.training(np.array([i]), 3).status_RK for i in range(40)])
    assert torch.equal(together, apart)
    assert not torch.equal(together, made.training(np.arange(40), 4).status_RK)


def test_a_dropped_condition_is_not_asked_and_a_missing_feature_is_not_known() -> None:
    made = batcher(packed=True, condition_dropout=0.0, all_conditions_dropout=0.0)
    batch = made.training(np.arange(40), 0)
    for slot, label in enumerate(("weight", "pair")):
        raw = made.store.features(label, np.arange(40))
        wanted = np.where(np.isnan(raw).any(axis=1), NOT_KNOWN, GIVEN)
        assert batch.status_RK[:, slot].tolist() == wanted.tolist()
    alone = batcher(packed=True, condition_dropout=1.0).training(np.arange(40), 0)
    assert set(alone.status_RK.flatten().tolist()) == {NOT_ASKED}


def test_validation_asks_for_everything_or_for_nothing() -> None:
    made = batcher(packed=True)
    asked = made.validation(np.arange(40), asked=True).status_RK
    assert set(asked.flatten().tolist()) == {GIVEN, NOT_KNOWN}
    free = made.validation(np.arange(40), asked=False).status_RK
    assert set(free.flatten().tolist()) == {NOT_ASKED}


def test_layouts_count_the_slots_of_every_sequence() -> None:
    lengths = Sentences(40).lengths
    packed = batcher(packed=True).training(np.array([3, 8]), 0).layout
    assert isinstance(packed, Packed)
    assert packed.offsets.diff().tolist() == [lengths[3] + 2, lengths[8] + 2]
    twins = np.flatnonzero(lengths == lengths[3])
    dense = batcher().training(twins, 0).layout
    assert dense == Dense(len(twins), int(lengths[3]) + 2)


def test_conditions_are_dropped_as_often_as_the_settings_say_and_independently() -> None:
    n = 40_000
    lost = dropped(7, 2, np.arange(n), ("a", "b", "c"), each=0.5, together=0.1)
    # 0.55 = 0.1 + 0.9 / 2; all three: 0.1 + 0.9 / 8. Four standard errors are 0.01.
    assert lost.mean(axis=0) == pytest.approx([0.55] * 3, abs=0.01)
    assert lost.all(axis=1).mean() == pytest.approx(0.1 + 0.9 / 8, abs=0.01)
    only = dropped(7, 2, np.arange(n), ("a", "b"), each=0.5, together=0.0)
    assert (only[:, 0] & only[:, 1]).mean() == pytest.approx(0.25, abs=0.01)


def test_keys_depend_on_every_part_and_fill_all_bits() -> None:
    places = np.arange(4000)
    keys = random_keys(0, 0, places, "a")
    assert len(np.unique(keys)) == len(keys)
    for other in (
        random_keys(1, 0, places, "a"),
        random_keys(0, 1, places, "a"),
        random_keys(0, 0, places, "b"),
    ):
        assert not np.isin(other, keys).any()
    bits = (keys[:, None] >> np.arange(64, dtype=np.uint64)) & np.uint64(1)
    assert bits.mean(axis=0) == pytest.approx([0.5] * 64, abs=0.05)
