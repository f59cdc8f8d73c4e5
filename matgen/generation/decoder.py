"""What samplers drive: a model with its conditions and device bound, a row per sequence.

Axes: B rows, n tokens appended at once, V vocabulary.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from matgen.records import PropertyValue, Tokens

if TYPE_CHECKING:
    from torch import Tensor

    from matgen.nn.value_head import ValueDistribution


@dataclass(frozen=True, eq=False)
class Request:
    """One sample to draw.

    Attributes:
        index: Its place in the request stream; selects its random numbers.
        prompt: Tokens it starts from, the start token first.
        conditions: Label to value of the conditions asked for; the others are "not asked".
    """

    index: int
    prompt: Tokens
    conditions: Mapping[str, PropertyValue] = field(default_factory=dict)


class Decoder(ABC):
    """Rows of growing sequences. Mutable; every method acts on all rows unless it takes some."""

    @property
    @abstractmethod
    def rows(self) -> int:
        """B, the number of rows."""

    @property
    @abstractmethod
    def lengths(self) -> Tensor:
        """(B,) int64 tokens in each row, condition slots not counted."""

    @property
    @abstractmethod
    def device(self) -> str:
        """Where the tensors live."""

    @property
    def continuous(self) -> tuple[int, ...]:
        """Ids of the tokens that carry a value, so that samplers know which to draw one for."""
        return ()

    @abstractmethod
    def begin(self, requests: Sequence[Request]) -> None:
        """Start afresh with one row per request, conditions and prompts read."""

    @abstractmethod
    def replace(self, rows: Tensor, requests: Sequence[Request]) -> None:
        """Start other requests in these rows, (R,) int64; the other rows go on untouched."""

    @abstractmethod
    def logits(self) -> Tensor:
        """Return (B, V) float32 logits of each row's next token."""

    @abstractmethod
    def value_distribution(self, ids: Tensor) -> ValueDistribution:
        """Return the distribution of each row's next value, were its next token ``ids`` (B,)."""

    @abstractmethod
    def append(
        self, ids: Tensor, values: Tensor | None = None, counts: Tensor | None = None
    ) -> None:
        """Add tokens to every row.

        Args:
            ids: (B, n) int64.
            values: (B, n) float32 where continuous tokens exist.
            counts: (B,) int64, how many of the n each row takes (None: all n).
        """

    @abstractmethod
    def take(self, rows: Tensor) -> None:
        """Keep only these rows, (R,) int64, in this order."""

    @abstractmethod
    def fork(self, rows: Tensor, n: int) -> None:
        """Become ``n`` copies of each of these rows, copies of one row side by side."""

    @abstractmethod
    def rewind(self, lengths: Tensor) -> None:
        """Cut each row back to (B,) int64 tokens; never into the conditions.

        At least the first token of a row stays, so that logits are always defined.
        """
