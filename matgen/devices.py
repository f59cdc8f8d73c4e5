"""Which device ``auto`` means; commands and ``Model.load`` decide, the engine is told."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from matgen.errors import BadOptions

if TYPE_CHECKING:
    from matgen.generation.model_decoder import Precision

_PRECISIONS: Final[dict[str, Precision]] = {
    "fp32": "float32",
    "bf16": "bfloat16",
    "fp16": "float16",
    "int8": "int8",
}


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
    if asked not in _PRECISIONS:
        raise BadOptions(f"--precision {asked}: write auto, {', '.join(_PRECISIONS)}")
    return _PRECISIONS[asked]
