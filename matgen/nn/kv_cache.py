"""Keys and values of earlier positions, in arrays of fixed size.

Axes: N layers, B rows, C positions, H heads, d width of a head, n new positions, R chosen rows.
"""

from __future__ import annotations

import torch
from torch import Tensor

from matgen.nn.attention import step_mask
from matgen.nn.language_model import Cache


class KVCache(Cache):
    """Keys and values per layer, head by head; every row has its own length.

    One place past the capacity takes what must not be kept: positions beyond a row's count.
    """

    def __init__(self, keys_NBHCd: Tensor, values_NBHCd: Tensor, lengths: Tensor) -> None:
        """Wrap arrays; use ``empty`` to make a new cache."""
        self._keys = keys_NBHCd
        self._values = values_NBHCd
        self.lengths = lengths

    @classmethod
    def empty(
        cls,
        layers: int,
        rows: int,
        capacity: int,
        heads: int,
        head_width: int,
        *,
        dtype: torch.dtype,
        device: str,
    ) -> KVCache:
        """Return a cache that holds nothing yet."""
        # Zeros, not empty memory: a masked place still meets a weight of 0, and 0 · NaN is NaN.
        shape = (layers, rows, heads, capacity + 1, head_width)
        return cls(
            torch.zeros(shape, dtype=dtype, device=device),
            torch.zeros(shape, dtype=dtype, device=device),
            torch.zeros(rows, dtype=torch.int64, device=device),
        )

    @property
    def capacity(self) -> int:
        """Most positions a row can hold."""
        return self._keys.shape[3] - 1

    def take(self, rows: Tensor) -> KVCache:
        """Return a cache of the chosen rows, (R,) int64, copies of their own."""
        return KVCache(
            self._keys.index_select(1, rows),
            self._values.index_select(1, rows),
            self.lengths[rows],
        )

    def put(self, rows: Tensor, other: Cache) -> None:
        """Overwrite these rows; the other cache's capacity must not be larger."""
        assert isinstance(other, KVCache)
        held = other.capacity
        assert held <= self.capacity
        self._keys[:, rows, :, :held] = other._keys[:, :, :, :held]  # noqa: SLF001 - same class
        self._values[:, rows, :, :held] = other._values[:, :, :, :held]  # noqa: SLF001 - same class
        self.lengths = self.lengths.index_copy(0, rows, other.lengths)

    def begin_step(self, n: int, counts: Tensor | None) -> Step:
        """Return where a step of n new positions per row writes and what it reads.

        Args:
            n: New positions per row.
            counts: (B,) int64 how many of them are real (None: all).
        """
        steps = torch.arange(n, device=self.lengths.device)
        positions_Bn = self.lengths[:, None] + steps
        places_Bn = positions_Bn
        if counts is not None:
            places_Bn = torch.where(steps < counts[:, None], positions_Bn, self.capacity)
        reach = self.capacity + 1
        if self.lengths.device.type == "cpu":
            # Free to look at here; on a GPU the look costs more than reading the whole cache.
            reach = min(reach, int(positions_Bn.amax()) + 1)
        mask_B1nC = step_mask(self.lengths, n, reach)
        return Step(self._keys, self._values, positions_Bn, places_Bn, mask_B1nC)

    def end_step(self, n: int, counts: Tensor | None) -> None:
        """Count the positions that a step wrote."""
        self.lengths = self.lengths + (n if counts is None else counts)


class Step:
    """One pass of new positions through all layers.

    Attributes:
        positions_Bn: Place of each new position in its row.
        mask_B1nC: What each may read.
    """

    def __init__(
        self,
        keys_NBHCd: Tensor,
        values_NBHCd: Tensor,
        positions_Bn: Tensor,
        places_Bn: Tensor,
        mask_B1nC: Tensor,
    ) -> None:
        self._keys = keys_NBHCd
        self._values = values_NBHCd
        self._places = places_Bn
        self._rows = torch.arange(places_Bn.shape[0], device=places_Bn.device)[:, None]
        self.positions_Bn = positions_Bn
        self.mask_B1nC = mask_B1nC

    def store(self, layer: int, k_BnHd: Tensor, v_BnHd: Tensor) -> tuple[Tensor, Tensor]:
        """Write the new positions of a layer; return the keys and values to read, (B, H, C, d)."""
        reach = self.mask_B1nC.shape[-1]
        keys, values = self._keys[layer], self._values[layer]
        keys[self._rows, :, self._places] = k_BnHd.to(keys.dtype)
        values[self._rows, :, self._places] = v_BnHd.to(values.dtype)
        return keys[:, :, :reach], values[:, :, :reach]
