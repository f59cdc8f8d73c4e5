"""What training reads: a store of sequences, what it gives for a selection, and a batch of tensors.

Axes: n sequences of a store, T tokens of a selection, R rows (sequences) of a selection, K slots.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

    from matgen.nn.language_model import Layout


@dataclass(frozen=True, eq=False, slots=True)
class Gathered:
    """The tokens of chosen sequences, one sequence after another.

    Attributes:
        ids: (T,) int64.
        values: (T,) float32, or None where the representation has no continuous tokens.
        kinds: (T,) int64 indices into the store's ``kind_names``.
    """

    ids: NDArray[np.int64]
    values: NDArray[np.float32] | None
    kinds: NDArray[np.int64]


class SequenceStore(Protocol):
    """Encoded crystals with the features of their conditions."""

    def __len__(self) -> int:
        """Return n."""
        ...

    @property
    def lengths(self) -> NDArray[np.int32]:
        """(n,) tokens per sequence, start and end included; the same in every epoch."""
        ...

    @property
    def kind_names(self) -> tuple[str, ...]:
        """Kinds of positions."""
        ...

    @property
    def fingerprint(self) -> str:
        """Changes with the contents."""
        ...

    def gather(self, indices: NDArray[np.int64], *, epoch: int) -> Gathered:
        """Return the chosen sequences, (R,) indices, as they are written in this epoch."""
        ...

    def features(self, label: str, indices: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return (R, size) features of a condition, NaN where unknown."""
        ...


@dataclass(frozen=True, eq=False)
class Batch:
    """Sequences as tensors on one device.

    Attributes:
        ids_T: (T,) int64 tokens of all sequences, one after another, condition slots not counted.
        values_T: (T,) float32, or None.
        kinds_T: (T,) int64.
        layout: Of the stream that the network reads: each sequence behind its K condition slots.
        features: Per slotted condition (R, size) float32; anything where the status is not 2.
        status_RK: (R, K) int64: 0 not asked, 1 not known, 2 given.
    """

    ids_T: Tensor
    values_T: Tensor | None
    kinds_T: Tensor
    layout: Layout
    features: Sequence[Tensor]
    status_RK: Tensor

    @property
    def n_rows(self) -> int:
        """R, the number of sequences."""
        return self.status_RK.shape[0]

    @property
    def n_tokens(self) -> int:
        """T, the number of tokens."""
        return self.ids_T.shape[0]
