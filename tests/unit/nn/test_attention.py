from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from matgen.nn.attention import attention, cached_attention, step_mask
from matgen.nn.language_model import Dense, Packed
from matgen.nn.rope import positions, rotate, rotations


def plain(q: Tensor, k: Tensor, v: Tensor, lengths: list[int]) -> Tensor:
    """Softmax attention position by position, as in the textbook."""
    out = torch.zeros_like(q)
    first = 0
    for length in lengths:
        for i in range(first, first + length):
            for h in range(q.shape[1]):
                scores = k[first : i + 1, h] @ q[i, h] / math.sqrt(q.shape[2])
                weights = torch.exp(scores - scores.max())
                out[i, h] = (weights / weights.sum()) @ v[first : i + 1, h]
        first += length
    return out


def packed(lengths: list[int]) -> Packed:
    offsets = torch.tensor([0, *lengths]).cumsum(0).int()
    return Packed(offsets, max(lengths))


def qkv(n: int, *, heads: int = 2, width: int = 4, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    q, k, v = torch.randn(3, n, heads, width, generator=generator)
    return q, k, v


@pytest.mark.parametrize("lengths", [[5, 5, 2, 7], [1], [3, 1, 3, 3], [4, 4, 4]])
def test_packed_attention_is_softmax_attention_inside_each_sequence(lengths: list[int]) -> None:
    q, k, v = qkv(sum(lengths))
    found = attention(q, k, v, packed(lengths), dropout_p=0.5, training=False)
    torch.testing.assert_close(found, plain(q, k, v, lengths), atol=1e-5, rtol=1e-5)


def test_dense_attention_is_softmax_attention_inside_each_row() -> None:
    q, k, v = qkv(12)
    found = attention(q, k, v, Dense(3, 4), dropout_p=0.5, training=False)
    torch.testing.assert_close(found, plain(q, k, v, [4, 4, 4]), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("layout", [Dense(2, 6), packed([6, 6]), packed([5, 7])])
def test_attention_weights_are_dropped_only_while_training(layout: Dense | Packed) -> None:
    q, k, v = qkv(12)
    still = attention(q, k, v, layout, dropout_p=0.9, training=False)
    dropped = attention(q, k, v, layout, dropout_p=0.9, training=True)
    assert torch.equal(still, attention(q, k, v, layout, dropout_p=0.0, training=True))
    assert not torch.allclose(still, dropped)


def test_cached_attention_reads_what_is_held_and_the_new_ones_before() -> None:
    q, k, v = qkv(8)
    whole = plain(q, k, v, [8])
    # Row 0 holds 5 positions and gets 3, row 1 holds 2 and gets 3; the rest is rubbish.
    rubbish = torch.full((1, 2, 4), 100.0)
    k_BC = torch.stack([k, torch.cat([k[:5], rubbish.expand(3, 2, 4)])])
    v_BC = torch.stack([v, torch.cat([v[:5], rubbish.expand(3, 2, 4)])])
    q_Bn = torch.stack([q[5:8], q[2:5]])
    k_BHC, v_BHC = k_BC.transpose(1, 2), v_BC.transpose(1, 2)
    found = cached_attention(q_Bn, k_BHC, v_BHC, step_mask(torch.tensor([5, 2]), 3, 8))
    wanted = torch.stack([whole[5:8], whole[2:5]])
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-5)


def test_positions_start_anew_in_every_sequence_of_either_layout() -> None:
    device = torch.device("cpu")
    assert positions(packed([3, 1, 2]), 6, device).tolist() == [0, 1, 2, 0, 0, 1]
    assert positions(Dense(2, 3), 6, device).tolist() == [0, 1, 2, 0, 1, 2]


def test_rotated_products_depend_on_the_distance_alone() -> None:
    q, k, _ = qkv(1, width=8)

    def product(i: int, j: int) -> Tensor:
        at = [rotations(torch.tensor([place]), 8, 10_000.0) for place in (i, j)]
        return (rotate(q, at[0]) * rotate(k, at[1])).sum(-1)

    torch.testing.assert_close(product(3, 1), product(43, 41), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(product(0, 0), (q * k).sum(-1))
    assert not torch.allclose(product(3, 1), product(3, 2))


def test_rotations_are_those_of_the_paper() -> None:
    cos, sin = rotations(torch.tensor([7]), 6, 100.0)
    angles = [7 / 100.0 ** (2 * pair / 6) for pair in range(3)]
    torch.testing.assert_close(cos[0, 0], torch.tensor([math.cos(a) for a in angles]))
    torch.testing.assert_close(sin[0, 0], torch.tensor([math.sin(a) for a in angles]))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_packed_attention_on_cuda_is_that_of_the_cpu(dtype: torch.dtype) -> None:
    lengths = [50, 90, 14, 14, 38]
    q, k, v = qkv(sum(lengths), heads=4, width=32)
    offsets = packed(lengths)
    wanted = attention(q, k, v, offsets, dropout_p=0.0, training=True)
    moved = Packed(offsets.offsets.cuda(), offsets.max_length)
    q, k, v = (x.cuda().to(dtype).requires_grad_() for x in (q, k, v))
    found = attention(q, k, v, moved, dropout_p=0.0, training=True)
    found.float().sum().backward()
    # bfloat16 keeps 8 bits of the values, so sums of weights times values are good to about 1 %.
    tolerance = 2e-2 if dtype == torch.bfloat16 else 1e-4
    torch.testing.assert_close(found.float().cpu(), wanted, atol=tolerance, rtol=tolerance)
    assert q.grad is not None
    assert bool(torch.isfinite(q.grad).all())
