"""How a model is trained, in one frozen value."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveInt


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
    """Positions (tokens and condition slots) per step, about; over all devices together."""
    micro_batch_tokens: PositiveInt | Literal["auto"] = "auto"
    """Positions that go through the network at once, about; a step adds up the gradients of as many
    such parts as it needs. Changes memory and speed, not what is learned. auto: 4,096 on a CPU, on
    CUDA all that fits; either is halved when memory runs out."""
    batching: Literal["auto", "equal_length", "packed"] = "auto"
    """How sequences share a step without padding: ``packed``: all lengths in one stream, sorted,
    attention once per length where no variable-length kernel exists; ``equal_length``: one length
    per step, which lets the model forget how long crystals are. auto is packed."""
    optimizer: Literal["adamw", "muon"] = "adamw"
    """``adamw`` (the paper) for everything; ``muon``: the blocks' matrices by Muon, all else by
    AdamW, one learning rate for both."""
    learning_rate: float = Field(default=4e-4, gt=0)
    """After the warm-up, at its highest."""
    warmup_steps: int = Field(default=100, ge=0)
    """Steps over which the learning rate rises from zero, linearly."""
    betas: tuple[float, float] = (0.9, 0.95)
    """AdamW's averaging of gradients and of their squares, each at least 0 and below 1."""
    weight_decay: float = Field(default=0.05, ge=0)
    """Of matrices, per step times the learning rate; vectors (norms, biases) never decay."""
    embedding_weight_decay: float = Field(default=0.05, ge=0)
    """The same for the vectors of tokens and of condition slots."""
    gradient_clip: float | None = Field(default=1.0, gt=0)
    """Largest norm of the gradient; None: not clipped."""
    spike_factor: float | None = Field(default=20.0, gt=1)
    """A step whose gradient is this many times longer than usual is skipped, like one that is not
    finite; None: only those that are not finite."""
    most_bad_steps: int = Field(default=10, ge=1)
    """Skipped steps in a row after which the run is given up, saved as it was before them."""
    ema_decay: float | None = Field(default=None, gt=0, lt=1)
    """Validate and keep an exponential moving average of the weights, with this decay a step (0.999
    averages over the last 1,000); None: the weights as they are."""
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    """Share of the target's probability that is spread over all tokens; in training only."""
    kind_weights: dict[str, float] = Field(default_factory=dict)
    """Kind of token to the weight of its loss in training, 1 where none is named:
    ``{coordinate=2.0}``. Validation weighs all alike."""
    schedule: Literal["plateau", "linear", "cosine", "wsd"] = "plateau"
    """After the warm-up: ``plateau`` lowers the rate when validation stalls (the paper); the others
    lower it as the run goes on: ``linear`` and ``cosine`` from the start, ``wsd`` (warmup, stable,
    decay) in the last part only. The end is that of ``max_steps``, ``epochs`` or ``max_minutes``,
    whichever comes first; where a time limit comes first the rate follows the clock, and a resumed
    run is no longer the same to the bit."""
    decay_share: float = Field(default=0.2, gt=0, le=1)
    """Share of a ``wsd`` run in which the rate falls, linearly."""
    final_rate: float = Field(default=0.0, ge=0, le=1)
    """What is left of the rate at the end of a ``linear``, ``cosine`` or ``wsd`` schedule."""
    plateau_patience: int = Field(default=3, ge=1)
    """The learning rate falls when the validation loss has not fallen for this many epochs."""
    plateau_factor: float = Field(default=0.5, gt=0, le=1)
    """What the learning rate is multiplied by then; 1 keeps it."""
    early_stopping: int | None = Field(default=None, ge=1)
    """End the run when this many validations in a row brought no lower loss; None: never."""
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
    compile: Literal["auto", "on", "off"] = "auto"
    """Whether the network goes through torch.compile; auto: on CUDA only, where it is faster."""
    device: str = Field(default="auto", pattern=r"^(auto|cpu|cuda(:\d+)?)$")
    """Where to train; auto takes the first CUDA device, else the CPU."""
    threads: int | None = Field(default=None, ge=1)
    """CPU threads of torch; None leaves the number it has."""
    seed: int = Field(default=0, ge=0, lt=2**31)
    """Selects first weights, order of batches, and what is dropped."""
