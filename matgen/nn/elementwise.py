"""What a network does between its products: norms, turns and dropout.

Every function has one meaning and two ways. Where ``by_hand`` says so they have gradients written
out here, which pass over the numbers half as often as those that torch puts together, and dropout
takes its random bits by the word; a fifth of a training step on a CPU and more goes into such
passes. Everywhere else they are torch's own, which a compiler can fuse.

Axes: T rows, D width.
"""

from __future__ import annotations

from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.nn.functional import dropout, rms_norm

_DRAWS: Final = 65_536
"""Numbers that 16 random bits can make."""


def by_hand(x: Tensor) -> bool:
    """Whether this is eager training on a CPU in full precision."""
    return (
        x.is_cpu
        and x.dtype in {torch.float32, torch.float64}
        and torch.is_grad_enabled()
        and not torch.compiler.is_compiling()
    )


class RmsNorm(nn.Module):
    """Each vector divided by the root of its mean square, times a learned weight per number.

    Source: Zhang and Sennrich, arXiv:1910.07467, equation 4, as torch's ``nn.RMSNorm``.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x_D: Tensor) -> Tensor:
        """Return (…, D)."""
        if not by_hand(x_D):
            return rms_norm(x_D, self.weight.shape, self.weight)
        rows_TD = x_D.reshape(-1, x_D.shape[-1])
        normed_TD: Tensor = _RmsNorm.apply(rows_TD, self.weight)  # type: ignore[no-untyped-call]  # torch leaves it untyped
        return normed_TD.view_as(x_D)


def dropped(x: Tensor, p: float) -> Tensor:
    """Return x with each number set to 0 with probability p, the others divided by 1 - p."""
    if p == 0.0:
        return x
    return x * _kept(x, p) if by_hand(x) else dropout(x, p)


def add_dropped(x: Tensor, y: Tensor, p: float) -> Tensor:
    """Return x + ``dropped(y, p)``."""
    if p == 0.0:
        return x + y
    return torch.addcmul(x, y.to(x.dtype), _kept(x, p)) if by_hand(x) else x + dropout(y, p)


def _kept(like: Tensor, p: float) -> Tensor:
    """Return 0 with probability p, else what makes the mean 1.

    16 random bits a number are four times as fast as torch's generator of single draws on a CPU;
    they round p to 1/65,536.
    """
    n = like.numel()
    words = torch.empty(-(-n // 4), dtype=torch.int64).random_(-(2**63), None)
    bits = words.view(torch.int16)[:n].view(like.shape)
    n_lost = min(round(p * _DRAWS), _DRAWS - 1)
    kept = torch.ge(bits, n_lost - _DRAWS // 2, out=torch.empty_like(like))
    scaled: Tensor = kept.mul_(_DRAWS / (_DRAWS - n_lost))
    return scaled


class _RmsNorm(Function):
    @staticmethod
    def forward(ctx: Any, x_TD: Tensor, weight_D: Tensor) -> Tensor:
        norm_T1 = torch.linalg.vector_norm(x_TD, dim=-1, keepdim=True)
        eps = torch.finfo(x_TD.dtype).eps
        scale_T1 = (norm_T1.square() / x_TD.shape[-1] + eps).rsqrt()
        ctx.save_for_backward(x_TD, weight_D, scale_T1)
        normed_TD: Tensor = (x_TD * scale_T1).mul_(weight_D)
        return normed_TD

    @staticmethod
    def backward(ctx: Any, grad_TD: Tensor) -> tuple[Tensor, Tensor]:
        x_TD, weight_D, scale_T1 = ctx.saved_tensors
        along_TD = grad_TD * x_TD
        pull_T1 = torch.mv(along_TD, weight_D)[:, None] * scale_T1**3 / x_TD.shape[-1]
        grad_x_TD = (grad_TD * weight_D).mul_(scale_T1).addcmul_(x_TD, pull_T1, value=-1)
        return grad_x_TD, torch.mv(along_TD.T, scale_T1[:, 0])
