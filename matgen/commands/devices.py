"""Which device ``auto`` means; commands decide, the library is told."""

from __future__ import annotations

from typing import TYPE_CHECKING

from matgen.errors import BadOptions

if TYPE_CHECKING:
    from matgen.generation.model_decoder import Precision


def pick_device(asked: str) -> str:
    """Return a torch device name.

    Raises:
        BadOptions: no such device here.
    """
    import torch

    if asked == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        kind = torch.device(asked).type
    except RuntimeError:
        raise BadOptions(f"--device {asked}: write auto, cpu, cuda or cuda:N") from None
    if kind == "cuda" and not torch.cuda.is_available():
        raise BadOptions(f"--device {asked}: this torch sees no CUDA device; use --device cpu")
    return asked


def pick_precision(asked: str, device: str) -> Precision:
    """Return the precision of weights for sampling.

    ``auto`` is bf16 on CUDA, and fp32 on the CPU, where small models are no slower in it and
    samples repeat more closely between machines.

    Raises:
        BadOptions: no such precision.
    """
    if asked == "auto":
        return "bfloat16" if device.startswith("cuda") else "float32"
    if asked == "fp32":
        return "float32"
    if asked == "bf16":
        return "bfloat16"
    raise BadOptions(f"--precision {asked}: write auto, fp32 or bf16")
