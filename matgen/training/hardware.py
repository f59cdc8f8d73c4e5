"""What "auto" stands for on this machine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

import torch

from matgen.errors import BadOptions
from matgen.training.host_memory import peak_resident_memory
from matgen.training.settings import TrainingSettings

ON_A_CPU: Final = 4096
"""Positions that go through the network at once: more gain no speed and take memory."""
MOST_ON_CUDA: Final = 65_536


@dataclass(frozen=True)
class Hardware:
    """Where and how a run computes.

    Attributes:
        device: A torch device, never "auto".
        bf16: Products in bfloat16 (autocast), else everything in float32.
        packed: Sequences of all lengths in one stream, else of one length per step.
        compiled: The network goes through torch.compile.
        positions_at_once: How many go through the network at once; on CUDA, if memory lets them.
    """

    device: str
    bf16: bool
    packed: bool
    compiled: bool
    positions_at_once: int

    @property
    def batching(self) -> Literal["packed", "equal_length"]:
        """The settings' name for it."""
        return "packed" if self.packed else "equal_length"

    def autocast(self) -> torch.autocast:
        """Return the context in which the network runs."""
        return torch.autocast(
            torch.device(self.device).type, dtype=torch.bfloat16, enabled=self.bf16
        )

    def peak_memory(self) -> int | None:
        """Return the most bytes that tensors held on a CUDA device; of the process, on a CPU.

        None where the system does not tell.
        """
        if self.device.startswith("cuda"):
            return torch.cuda.max_memory_allocated(self.device)
        return peak_resident_memory()


def resolve_hardware(settings: TrainingSettings) -> Hardware:
    """Return what the settings mean here.

    Raises:
        BadOptions: a device that is not there.
    """
    device = settings.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device.startswith("cuda"):
        index = torch.device(device).index or 0
        if index >= torch.cuda.device_count():
            raise BadOptions(
                f"device {device!r} is not there: torch sees {torch.cuda.device_count()} CUDA "
                "devices; choose cpu or auto, or install a CUDA build of torch"
            )
    bf16 = settings.precision == "bf16" or (
        settings.precision == "auto" and _has_fast_bf16(torch.device(device))
    )
    packed = settings.batching != "equal_length"
    cuda = device.startswith("cuda")
    compiled = settings.compile == "on" or (settings.compile == "auto" and cuda)
    positions = settings.micro_batch_tokens
    if positions == "auto":
        positions = MOST_ON_CUDA if cuda else ON_A_CPU
    return Hardware(device, bf16, packed, compiled, positions)


def _has_fast_bf16(device: torch.device) -> bool:
    if device.type == "cuda":
        # 8.0 is Ampere: older devices emulate bfloat16.
        return torch.cuda.get_device_capability(device) >= (8, 0)
    # torch has no public question for this before 2.12, and 2.10 is supported.
    avx512 = torch.cpu._is_avx512_bf16_supported()  # noqa: SLF001
    amx = torch.cpu._is_amx_tile_supported()  # noqa: SLF001
    return bool(avx512 or amx)
