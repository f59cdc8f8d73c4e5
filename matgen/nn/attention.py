"""Causal attention: one function for training streams, one for cached steps.

Axes: T positions of a flat stream, H heads, d width of a head, B rows, n new positions of a cached
step, C positions a cache reads.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from typing import Any, Final, TypeAlias

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from matgen.nn.language_model import Dense, Layout, Packed

log = logging.getLogger(__name__)

_HALVES: Final = frozenset({torch.float16, torch.bfloat16})
_MANY_ROWS: Final = 16
"""Rows from which on two batched products over a cache are faster than one fused kernel."""

PackedKernel: TypeAlias = "Callable[[Tensor, Tensor, Tensor, Packed, float], Tensor]"
"""(T, H, d) queries, keys and values, layout, dropout probability → (T, H, d)."""


def attention(
    q_THd: Tensor,
    k_THd: Tensor,
    v_THd: Tensor,
    layout: Layout,
    *,
    dropout_p: float,
    training: bool,
) -> Tensor:
    """Return (T, H, d): each position attends to itself and what precedes it in its sequence.

    Args:
        q_THd: Queries; keys and values alike.
        k_THd: Keys.
        v_THd: Values.
        layout: Where the sequences of the stream are.
        dropout_p: Probability of dropping an attention weight while training.
        training: Without it nothing is dropped.
    """
    p = dropout_p if training else 0.0
    if isinstance(layout, Dense):
        return _dense(q_THd, k_THd, v_THd, layout, p)
    kernel = _packed_kernel(q_THd.device.type, q_THd.dtype, drops=p > 0)
    return kernel(q_THd, k_THd, v_THd, layout, p)


def step_mask(lengths_B: Tensor, n: int, capacity: int) -> Tensor:
    """Return (B, 1, n, C) bool: what each of n new positions may read in a cache.

    New position i of a row sees the ``lengths`` positions held before the step and the new ones up
    to itself, which the cache already holds.

    Args:
        lengths_B: Positions held before the step, (B,) int64.
        n: New positions per row.
        capacity: C.
    """
    steps_n = torch.arange(n, device=lengths_B.device)
    places_C = torch.arange(capacity, device=lengths_B.device)
    return (places_C <= (lengths_B[:, None] + steps_n)[:, :, None])[:, None]


def cached_attention(q_BnHd: Tensor, k_BHCd: Tensor, v_BHCd: Tensor, mask_B1nC: Tensor) -> Tensor:
    """Return (B, n, H, d) for queries of new positions over a cache that holds them already.

    Args:
        q_BnHd: Queries of the new positions.
        k_BHCd: Keys in the cache.
        v_BHCd: Values in the cache.
        mask_B1nC: What ``step_mask`` gives; one mask serves every layer of a step.
    """
    q_BHnd = q_BnHd.transpose(1, 2)
    on_cpu = q_BnHd.device.type == "cpu" and q_BnHd.dtype == torch.float32
    if on_cpu and q_BnHd.shape[0] >= _MANY_ROWS:
        # The fused kernel takes half as long again there: benchmarks/decode_kernels.py.
        scores_BHnC = torch.matmul(q_BHnd * q_BnHd.shape[-1] ** -0.5, k_BHCd.transpose(2, 3))
        scores_BHnC.masked_fill_(~mask_B1nC, -torch.inf)
        return torch.matmul(scores_BHnC.softmax(-1), v_BHCd).transpose(1, 2)
    attended_BHnd = scaled_dot_product_attention(q_BHnd, k_BHCd, v_BHCd, attn_mask=mask_B1nC)
    return attended_BHnd.transpose(1, 2)


def _dense(q_THd: Tensor, k_THd: Tensor, v_THd: Tensor, layout: Dense, p: float) -> Tensor:
    shape = (layout.rows, layout.length, *q_THd.shape[1:])
    q, k, v = (x_THd.reshape(shape).transpose(1, 2) for x_THd in (q_THd, k_THd, v_THd))
    if q.is_cpu and q.dtype in _HALVES and q.requires_grad:
        # The gradient of the fused kernel takes five times as long in 16 bits as in 32.
        with torch.autocast("cpu", enabled=False):
            attended_BHLd = scaled_dot_product_attention(
                q.float(), k.float(), v.float(), dropout_p=p, is_causal=True
            ).to(q.dtype)
    else:
        attended_BHLd = scaled_dot_product_attention(q, k, v, dropout_p=p, is_causal=True)
    return attended_BHLd.transpose(1, 2).flatten(0, 1)


@cache
def _packed_kernel(device_type: str, dtype: torch.dtype, *, drops: bool) -> PackedKernel:
    """Return the fastest exact kernel, chosen once per device, number format and dropout.

    Both CUDA kernels take 16-bit numbers only, and torch's own has no dropout; what they cannot do
    goes through one dense call per length, which can do everything.
    """
    kernel: PackedKernel = _by_length
    if device_type == "cuda" and dtype in _HALVES:
        if find_spec("flash_attn") is not None:
            kernel = _flash_attn
        elif not drops:
            kernel = _torch_varlen()
    log.debug(
        "packed attention on %s in %s, dropout %s: %s",
        device_type,
        dtype,
        drops,
        kernel.__name__,
    )
    return kernel


def _by_length(q_THd: Tensor, k_THd: Tensor, v_THd: Tensor, layout: Packed, p: float) -> Tensor:
    """One dense call per run of neighbours of equal length; fast where the stream is sorted."""
    parts = _runs(layout.offsets)
    sizes = [part.rows * part.length for part in parts]
    # Split, not sliced: the gradient of a slice is as long as the whole stream, for every run.
    qs, ks, vs = (torch.split(x_THd, sizes) for x_THd in (q_THd, k_THd, v_THd))
    cuts = zip(qs, ks, vs, parts, strict=True)
    attended = [_dense(q, k, v, part, p) for q, k, v, part in cuts]
    return torch.cat(attended) if attended else torch.zeros_like(q_THd)


def _runs(offsets: Tensor) -> list[Dense]:
    """Return the runs of neighbouring sequences of one length."""
    lengths, counts = torch.unique_consecutive(offsets.diff(), return_counts=True)
    return [
        Dense(rows, length) for rows, length in zip(counts.tolist(), lengths.tolist(), strict=True)
    ]


def _flash_attn(q_THd: Tensor, k_THd: Tensor, v_THd: Tensor, layout: Packed, p: float) -> Tensor:
    from flash_attn import flash_attn_varlen_func

    attended: Tensor = flash_attn_varlen_func(
        q_THd,
        k_THd,
        v_THd,
        layout.offsets,
        layout.offsets,
        layout.max_length,
        layout.max_length,
        dropout_p=p,
        causal=True,
    )
    return attended


def _torch_varlen() -> PackedKernel:
    """Return torch's own kernel; 2.10 says "causal" by a flag, later versions by a window."""
    from torch.nn.attention.varlen import varlen_attn

    windowed = "window_size" in inspect.signature(varlen_attn).parameters
    # Any: the keyword differs between versions, so no one signature describes it.
    causal: dict[str, Any] = {"window_size": (-1, 0)} if windowed else {"is_causal": True}

    def kernel(q_THd: Tensor, k_THd: Tensor, v_THd: Tensor, layout: Packed, p: float) -> Tensor:
        assert p == 0.0
        attended = varlen_attn(
            q_THd,
            k_THd,
            v_THd,
            layout.offsets,
            layout.offsets,
            layout.max_length,
            layout.max_length,
            **causal,
        )
        assert isinstance(attended, Tensor)
        return attended

    return kernel
