from __future__ import annotations

import pytest
import torch
from torch import nn

from matgen.nn.packed_linear import Bits, Float16Linear, Int8Linear, packed


def layer(*, bias: bool) -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(256, 96, bias=bias)


@torch.inference_mode()
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(
    # 11 bits of a weight are kept; 8-bit weights with 7-bit activations of normal numbers, whose
    # largest is 3 to 4 times their spread, leave about 2 %.
    ("kind", "error"),
    [(Float16Linear, 1e-3), (Int8Linear, 0.03)],
)
def test_products_are_those_of_float32_to_the_bits_kept(
    kind: type[Float16Linear | Int8Linear], error: float, *, bias: bool
) -> None:
    exact = layer(bias=bias)
    x = torch.randn(2, 40, 256)
    wanted = exact(x)
    off = (kind(exact)(x) - wanted).std() / wanted.std()
    assert 0 < float(off) < error


@torch.inference_mode()
@pytest.mark.parametrize("kind", [Float16Linear, Int8Linear])
def test_a_row_does_not_depend_on_the_rows_beside_it(
    kind: type[Float16Linear | Int8Linear],
) -> None:
    rough = kind(layer(bias=False))
    x = torch.randn(8, 256)
    beside = torch.cat([x[:1], 100 * x[1:]])
    torch.testing.assert_close(rough(x)[0], rough(beside)[0])
    assert torch.equal(rough(torch.zeros(1, 256)), torch.zeros(1, 96))


@pytest.mark.parametrize("bits", ["float16", "int8"])
def test_only_large_linear_layers_are_packed(bits: Bits) -> None:
    network = nn.Sequential(nn.Embedding(300, 256), layer(bias=True), nn.Linear(8, 8))
    kinds = [type(module) for module in packed(network, bits).children()]
    assert kinds == [nn.Embedding, Float16Linear if bits == "float16" else Int8Linear, nn.Linear]
