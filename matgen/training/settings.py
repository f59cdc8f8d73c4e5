"""How a model is trained, in one frozen value."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class TrainingSettings(BaseModel):
    """Settings of a training run; what defines the model itself is in its components."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    epochs: int = Field(default=50, ge=1)
    """Passes over the training set."""
    max_steps: int | None = Field(default=None, ge=1)
    """Stop after this many steps, if earlier than the epochs; None: no such limit."""
    max_minutes: float | None = Field(default=None, gt=0)
    """Stop after this much training time, earlier sittings of a resumed run included; None: no such
    limit."""
    batch_tokens: int = Field(default=8192, ge=1)
    """Positions (tokens and condition slots) per step, about."""
    batching: Literal["auto", "equal_length", "packed"] = "auto"
    """How sequences share a step without padding: ``packed``: all lengths in one stream, sorted,
    attention once per length where no variable-length kernel exists; ``equal_length``: one length
    per step, which lets the model forget how long crystals are. auto is packed."""
    learning_rate: float = Field(default=4e-4, gt=0)
    """AdamW's, after the warm-up."""
    warmup_steps: int = Field(default=100, ge=0)
    """Steps over which the learning rate rises from zero, linearly."""
    betas: tuple[float, float] = (0.9, 0.95)
    """AdamW's averaging of gradients and of their squares, each at least 0 and below 1."""
    weight_decay: float = Field(default=0.05, ge=0)
    """AdamW's, on matrices only."""
    gradient_clip: float | None = Field(default=1.0, gt=0)
    """Largest norm of the gradient; None: not clipped."""
    schedule: Literal["plateau", "linear"] = "plateau"
    """After the warm-up: ``plateau`` lowers the rate when validation stalls (the paper), ``linear``
    lets it fall to zero at the last step of ``max_steps`` or ``epochs``."""
    plateau_patience: int = Field(default=3, ge=1)
    """The learning rate falls when the validation loss has not fallen for this many epochs."""
    plateau_factor: float = Field(default=0.5, gt=0, le=1)
    """What the learning rate is multiplied by then; 1 keeps it."""
    condition_dropout: float = Field(default=0.5, ge=0, le=1)
    """Probability that a crystal trains without a condition, for each condition on its own."""
    all_conditions_dropout: float = Field(default=0.1, ge=0, le=1)
    """Probability that a crystal trains without any, on top: the unconditional model's share."""
    validate_every: int = Field(default=200, ge=0)
    """Steps between validations, besides the first step's and every epoch's end; 0: only those."""
    validation_sequences: int = Field(default=2048, ge=1)
    """Sequences of the validation set to look at, always the same ones."""
    log_every: int = Field(default=20, ge=1)
    """Steps between lines in metrics.jsonl."""
    checkpoint_every: int = Field(default=1000, ge=1)
    """Most steps between checkpoints."""
    checkpoint_minutes: float = Field(default=10.0, gt=0)
    """Most minutes between checkpoints."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """Number format of the products. auto takes bf16 where the hardware has it: CUDA devices and
    CPUs with AVX512-BF16 or AMX."""
    device: str = Field(default="auto", pattern=r"^(auto|cpu|cuda(:\d+)?)$")
    """Where to train; auto takes the first CUDA device, else the CPU."""
    threads: int | None = Field(default=None, ge=1)
    """CPU threads of torch; None leaves the number it has."""
    seed: int = Field(default=0, ge=0, lt=2**31)
    """Selects first weights, order of batches, and what is dropped."""
