from __future__ import annotations

import pytest
import torch
from torch import Tensor

from matgen.nn.kv_cache import KVCache
from matgen.nn.language_model import Dense, LanguageModel
from tests.unit.small_model import small_model


def network(**sizes: int) -> LanguageModel:
    return small_model(**sizes).language_model.eval()


def stream(rows: int, length: int, seed: int = 1) -> Tensor:
    return torch.randn(rows, length, 16, generator=torch.Generator().manual_seed(seed))


def full(model: LanguageModel, x_BLD: Tensor) -> Tensor:
    rows, length, _ = x_BLD.shape
    return model.hidden(x_BLD.flatten(0, 1), Dense(rows, length)).unflatten(0, (rows, length))


def close(found: Tensor, wanted: Tensor) -> None:
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("parts", [[9], [1] * 9, [4, 1, 3, 1]])
def test_cached_steps_give_the_hidden_states_of_the_whole_pass(parts: list[int]) -> None:
    model, x_BLD = network(), stream(3, 9)
    cache = model.new_cache(3, 9, dtype=torch.float32, device="cpu")
    found = torch.cat([model.step(x, None, cache) for x in x_BLD.split(parts, dim=1)], dim=1)
    close(found, full(model, x_BLD))
    assert cache.lengths.tolist() == [9, 9, 9]


@torch.no_grad()
def test_rows_may_take_different_numbers_of_positions_at_each_step() -> None:
    model, x_BLD = network(), stream(3, 7)
    wanted = full(model, x_BLD)
    cache = model.new_cache(3, 7, dtype=torch.float32, device="cpu")
    done = [0, 0, 0]
    # Row 0 fills up first and then takes nothing while the others go on.
    for counts in ([3, 0, 1], [4, 2, 3], [0, 4, 0], [0, 1, 3]):
        n = max(counts)
        x_BnD = torch.full((3, n, 16), 7.0)
        for row, count in enumerate(counts):
            x_BnD[row, :count] = x_BLD[row, done[row] : done[row] + count]
        h_BnD = model.step(x_BnD, torch.tensor(counts), cache)
        for row, count in enumerate(counts):
            close(h_BnD[row, :count], wanted[row, done[row] : done[row] + count])
            done[row] += count
        assert cache.lengths.tolist() == done
    assert done == [7, 7, 7]


@torch.no_grad()
def test_rows_that_are_taken_put_or_rewound_go_on_as_if_always_alone() -> None:
    model = network()
    first, second = stream(2, 8), stream(1, 8, seed=2)
    cache = model.new_cache(2, 8, dtype=torch.float32, device="cpu")
    model.step(first[:, :5], None, cache)
    forked = cache.take(torch.tensor([1, 0, 1]))
    forked.rewind(torch.tensor([5, 3, 2]))
    other = model.new_cache(1, 8, dtype=torch.float32, device="cpu")
    model.step(second[:, :4], None, other)
    forked.put(torch.tensor([1]), other)
    assert forked.lengths.tolist() == [5, 4, 2]
    rows = torch.stack([first[1], second[0], first[1]])
    x_BnD = torch.stack([rows[0, 5:8], rows[1, 4:7], rows[2, 2:5]])
    found, wanted = model.step(x_BnD, None, forked), full(model, rows)
    close(found, torch.stack([wanted[0, 5:8], wanted[1, 4:7], wanted[2, 2:5]]))
    # The cache they were taken from has not moved.
    close(model.step(first[:, 5:], None, cache), full(model, first)[:, 5:])


def test_a_rewind_never_lengthens_a_row() -> None:
    cache = KVCache.empty(1, 2, 4, 1, 2, dtype=torch.float32, device="cpu")
    cache.lengths = torch.tensor([3, 1])
    cache.rewind(torch.tensor([2, 4]))
    assert cache.lengths.tolist() == [2, 1]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@torch.no_grad()
def test_cached_steps_on_cuda_give_the_hidden_states_of_the_cpu() -> None:
    model, x_BLD = network(), stream(3, 9)
    wanted = full(model, x_BLD)
    model.cuda()
    cache = model.new_cache(3, 9, dtype=torch.float32, device="cuda")
    parts = x_BLD.cuda().split([4, 1, 4], dim=1)
    found = torch.cat([model.step(x, None, cache) for x in parts], dim=1)
    torch.testing.assert_close(found.cpu(), wanted, atol=1e-4, rtol=1e-4)
