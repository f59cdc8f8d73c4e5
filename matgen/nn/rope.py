"""Rotary position embedding: queries and keys turned by angles that grow with the position.

Source: Su et al., arXiv:2104.09864, section 3.2, in the half-split pairing of Llama.

Axes: T positions of a flat stream, B rows, n new positions, H heads, d width of a head.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from matgen.nn.elementwise import by_hand
from matgen.nn.language_model import Dense, Layout


def positions(layout: Layout, n_positions: int, device: torch.device) -> Tensor:
    """Return (T,) int64 places from 0 within each sequence; condition slots count.

    Args:
        layout: Where the sequences are.
        n_positions: T; known to the caller, so that a GPU need not be asked.
        device: Of the stream.
    """
    if isinstance(layout, Dense):
        return torch.arange(layout.length, device=device).repeat(layout.rows)
    offsets = layout.offsets.long()
    starts = torch.repeat_interleave(offsets[:-1], offsets.diff(), output_size=n_positions)
    return torch.arange(n_positions, device=device) - starts


def rotations(positions: Tensor, head_width: int, base: float) -> tuple[Tensor, Tensor]:
    """Return cosines and sines, (…, 1, d/2) float32, of (…) positions.

    Computed anew for each pass: a table kept in the network would lose its precision when the
    network is cast to 16 bits.

    Args:
        positions: Any shape, int64.
        head_width: d, even.
        base: Ratio of the slowest to the fastest wavelength.
    """
    pairs = torch.arange(0, head_width, 2, device=positions.device, dtype=torch.float32)
    angles = positions[..., None, None].float() * base ** (-pairs / head_width)
    return angles.cos(), angles.sin()


def rotate(x: Tensor, rotation: tuple[Tensor, Tensor]) -> Tensor:
    """Return (…, H, d) queries or keys, turned; same number format as they came.

    Args:
        x: Queries or keys.
        rotation: What ``rotations`` gives for the (…) positions.
    """
    cos, sin = (part.to(x.dtype) for part in rotation)
    if by_hand(x):
        turned: Tensor = _Turn.apply(x, cos, sin)  # type: ignore[no-untyped-call]  # torch leaves it untyped
        return turned
    first, second = x.chunk(2, dim=-1)
    return torch.cat((first * cos - second * sin, second * cos + first * sin), dim=-1)


class _Turn(Function):
    """Written into place; the gradient is turned the other way."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        ctx.save_for_backward(cos, sin)
        return _turned(x, cos, sin)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        cos, sin = ctx.saved_tensors
        return _turned(grad, cos, -sin), None, None


def _turned(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    first, second = x.chunk(2, dim=-1)
    turned = x * torch.cat((cos, cos), dim=-1)
    turned_first, turned_second = turned.chunk(2, dim=-1)
    turned_first.addcmul_(second, sin, value=-1)
    turned_second.addcmul_(first, sin)
    return turned
