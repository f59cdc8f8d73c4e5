"""Linear layers of a finished network in fewer bits, for sampling on the CPU; no gradients.

Weights are packed once into the blocked layout of torch's own kernels (FBGEMM). Activations and
results stay float32.

Axes: K inputs, N outputs.
"""

from __future__ import annotations

import warnings
from typing import Any, Final, Literal, TypeAlias

import torch
from torch import Tensor, nn

from matgen.errors import BadOptions

Bits: TypeAlias = Literal["float16", "int8"]

_LEVELS: Final = 63
"""Activations in int8 layers are -63 to 63 steps of their row's largest."""
_ZERO: Final = 64
"""What the kernel is given for 0. Activations then are 1 to 127: with all of 0 to 255, pairs of
products overflow the 16 bits in which processors without VNNI add them."""
_FEWEST: Final = 64 * 64
"""Weights of smaller layers stay as they are: nothing would be gained."""


def packed(network: nn.Module, bits: Bits) -> nn.Module:
    """Replace the linear layers inside a network; embeddings, norms and heads stay float32.

    Args:
        network: In float32 on the CPU; changed in place.
        bits: ``float16`` keeps weights to 11 bits, ``int8`` to 8 and activations to 7.

    Raises:
        BadOptions: this build of torch has no such kernels.
    """
    if "fbgemm" not in torch.backends.quantized.supported_engines:
        raise BadOptions(
            f"this build of torch has no {bits} kernels for this processor; use --precision fp32"
        )
    torch.backends.quantized.engine = "fbgemm"
    make = Float16Linear if bits == "float16" else Int8Linear
    for parent in list(network.modules()):
        for name, layer in list(parent.named_children()):
            if isinstance(layer, nn.Linear) and layer.weight.numel() >= _FEWEST:
                setattr(parent, name, make(layer))
    return network


class Float16Linear(nn.Module):
    """Weights in 16 bits, products in 32."""

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        bias = None if layer.bias is None else layer.bias.detach()
        weight_NK = layer.weight.detach().contiguous()
        self._packed: Any = torch.ops.quantized.linear_prepack_fp16(weight_NK, bias)

    def forward(self, x_K: Tensor) -> Tensor:
        """Return (…, N) float32."""
        y_N: Tensor = torch.ops.quantized.linear_dynamic_fp16(x_K.contiguous(), self._packed)
        return y_N


class Int8Linear(nn.Module):
    """Weights in 8 bits with a scale per output, activations in 7 with a scale per row.

    A scale per row, unlike torch's own one per batch, leaves a row's result independent of the
    rows beside it.
    """

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        weight_NK = layer.weight.detach().float()
        scale_N = (weight_NK.abs().amax(1) / 127).clamp(min=1e-12).double()
        zeros_N = torch.zeros(len(scale_N), dtype=torch.int64)
        with warnings.catch_warnings():
            # torch means to move training with quantised tensors elsewhere; the kernels stay.
            warnings.simplefilter("ignore", UserWarning)
            steps_NK = torch.quantize_per_channel(weight_NK, scale_N, zeros_N, 0, torch.qint8)
        self._packed: Any = torch.ops.quantized.linear_prepack(steps_NK, None)
        self._bias = None if layer.bias is None else layer.bias.detach().float()

    def forward(self, x_K: Tensor) -> Tensor:
        """Return (…, N) float32."""
        largest = x_K.abs().amax(-1, keepdim=True).clamp_(min=1e-12)
        y_N: Tensor = torch.ops.quantized.linear_with_input_q_dq_qweight_dq_output_fp32(
            x_K / largest, 1 / _LEVELS, _ZERO, self._packed
        )
        y_N = y_N * largest
        return y_N if self._bias is None else y_N + self._bias
