"""``metrics.jsonl`` read back: how a run went, as frozen values.

A run may be training while it is read, may have been killed in the middle of a line, and may have
been written by another version: what is no line of ours is counted and passed over.
"""

from __future__ import annotations

import json
import math
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import Any


class XAxis(StrEnum):
    """What a learning curve is drawn against."""

    TOKENS = "tokens"
    STEPS = "steps"
    MINUTES = "minutes"
    EPOCHS = "epochs"


@dataclass(frozen=True, slots=True)
class StepLine:
    """A logged step; NaN where the line has no number.

    Attributes:
        epoch: Whole epochs done.
        loss: Mean since the line before, nats per crystal token.
        gradient_norm: Before it is clipped.
        tokens: Crystal tokens seen.
        seconds: Training time, earlier sittings included.
        skipped_steps: So far.
        memory_mb: Most so far, of the process or of tensors on a CUDA device; 1 MB is 10⁶ bytes.
    """

    step: int
    epoch: int
    loss: float
    learning_rate: float
    gradient_norm: float
    tokens: float
    tokens_per_s: float
    seconds: float
    skipped_steps: int
    memory_mb: float


@dataclass(frozen=True, slots=True)
class ValidationLine:
    """A look at the validation sample; losses in nats per crystal token, NaN where there is none.

    Attributes:
        epoch: Whole epochs done.
        loss: Mean of ``given`` and ``free``.
        given: All known conditions given.
        free: None asked for.
        kinds: Kind of token to its loss, mean of both.
        seconds: Training time, earlier sittings included.
    """

    step: int
    epoch: int
    loss: float
    given: float
    free: float
    kinds: Mapping[str, float]
    seconds: float


@dataclass(frozen=True)
class Curves:
    """All lines of a run, in the order of their steps.

    Attributes:
        n_unreadable: Lines that could not be read; one that was cut at the end is none of them.
    """

    steps: tuple[StepLine, ...]
    validations: tuple[ValidationLine, ...]
    n_unreadable: int = 0

    @property
    def best(self) -> ValidationLine | None:
        """The lowest validation loss, the first of several; None if there is none."""
        finite = [line for line in self.validations if math.isfinite(line.loss)]
        return min(finite, key=lambda line: line.loss, default=None)

    @property
    def last(self) -> StepLine | ValidationLine | None:
        """The line with the highest step; None if there is none."""
        return max(self.lines, key=lambda line: line.step, default=None)

    @property
    def lines(self) -> list[StepLine | ValidationLine]:
        """All lines, of both kinds."""
        return [*self.steps, *self.validations]

    @property
    def kinds(self) -> tuple[str, ...]:
        """Kinds of token of the validations, in the order of their first mention."""
        return tuple(dict.fromkeys(kind for line in self.validations for kind in line.kinds))

    def tokens_at(self, step: int) -> float:
        """Return the tokens seen after a step, between two logged ones in proportion to steps.

        NaN before anything was logged, except for step 0.
        """
        if step == 0:
            return 0.0
        known = self._seen
        if len(known) == 1:
            return math.nan
        # Behind the last logged step the line of the last two goes on.
        after = min(max(bisect_right(known, step, key=lambda pair: pair[0]), 1), len(known) - 1)
        (step_0, tokens_0), (step_1, tokens_1) = known[after - 1], known[after]
        return tokens_0 + (tokens_1 - tokens_0) * (step - step_0) / (step_1 - step_0)

    def along(
        self,
        x_axis: XAxis,
        lines: Sequence[StepLine] | Sequence[ValidationLine],
        *,
        tokens_per_epoch: float,
    ) -> list[float]:
        """Return where these lines stand on an axis."""
        match x_axis:
            case XAxis.STEPS:
                return [float(line.step) for line in lines]
            case XAxis.MINUTES:
                return [line.seconds / 60 for line in lines]
            case XAxis.TOKENS:
                return [self.tokens_at(line.step) for line in lines]
            case XAxis.EPOCHS:
                return [self.tokens_at(line.step) / tokens_per_epoch for line in lines]

    @cached_property
    def _seen(self) -> list[tuple[int, float]]:
        """Steps and the tokens seen after them."""
        logged = [(s.step, s.tokens) for s in self.steps if s.step > 0]
        return [(0, 0.0), *((step, tokens) for step, tokens in logged if math.isfinite(tokens))]


def read_curves(path: Path) -> Curves:
    """Return what a ``metrics.jsonl`` holds; nothing if there is no such file."""
    if not path.is_file():
        return Curves((), ())
    text = path.read_text(encoding="utf-8", errors="replace")
    steps: dict[int, StepLine] = {}
    validations: dict[int, ValidationLine] = {}
    lines = list(_objects(text))
    for line in lines:
        # A step that was logged twice was taken twice, the second time from a checkpoint.
        if line is not None and line.get("event") == "step":
            steps[line["step"]] = _step_line(line)
        elif line is not None and line.get("event") == "validation":
            validations[line["step"]] = _validation_line(line)
    return Curves(
        tuple(steps[step] for step in sorted(steps)),
        tuple(validations[step] for step in sorted(validations)),
        n_unreadable=lines.count(None),
    )


def _objects(text: str) -> Iterator[dict[str, Any] | None]:  # JSON values
    """Yield each line's object; None for what is none and was not merely cut at the end."""
    lines = text.split("\n")
    for place, line in enumerate(lines, start=1):
        try:
            value = json.loads(line)
        except json.JSONDecodeError:
            if place < len(lines):
                yield None
            continue
        whole = isinstance(value, dict) and isinstance(value.get("step"), int)
        yield value if whole else None


def _step_line(line: Mapping[str, Any]) -> StepLine:  # JSON values
    return StepLine(
        step=line["step"],
        epoch=_count(line.get("epoch")),
        loss=_number(line.get("loss")),
        learning_rate=_number(line.get("learning_rate")),
        gradient_norm=_number(line.get("gradient_norm")),
        tokens=_number(line.get("tokens")),
        tokens_per_s=_number(line.get("tokens_per_s")),
        seconds=_number(line.get("seconds")),
        skipped_steps=_count(line.get("skipped_steps")),
        memory_mb=_number(line.get("memory_mb")),
    )


def _validation_line(line: Mapping[str, Any]) -> ValidationLine:  # JSON values
    kinds = line.get("kinds")
    return ValidationLine(
        step=line["step"],
        epoch=_count(line.get("epoch")),
        loss=_number(line.get("loss")),
        given=_number(line.get("given")),
        free=_number(line.get("free")),
        kinds={k: _number(v) for k, v in kinds.items()} if isinstance(kinds, dict) else {},
        seconds=_number(line.get("seconds")),
    )


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else math.nan


def _count(value: object) -> int:
    return value if isinstance(value, int) else 0
