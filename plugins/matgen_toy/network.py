"""The network of ``OneBlock``.

Axes: T positions of a flat stream, B rows, n new positions of a cached step, D width, H heads,
d = D / H, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

import torch
from torch import Tensor, nn
from torch.nn.functional import silu

from matgen.nn.attention import attention, cached_attention
from matgen.nn.kv_cache import KVCache
from matgen.nn.language_model import Cache, LanguageModel, Layout
from matgen.nn.rope import positions
from matgen.nn.value_head import ValueEmbedding, ValueHead

if TYPE_CHECKING:
    from matgen import Vocabulary
    from matgen_toy.one_block import OneBlock

_HEADS: Final = 4


class OneBlockNetwork(LanguageModel):
    """Token and position embeddings, one block, a norm, logits."""

    def __init__(self, settings: OneBlock, vocabulary: Vocabulary, max_positions: int) -> None:
        super().__init__()
        width, n_tokens = settings.width, len(vocabulary)
        self.width = width
        self.token = nn.Embedding(n_tokens, width)
        self.place = nn.Embedding(max_positions, width)
        self.norm_in, self.norm_mid, self.norm_out = (nn.RMSNorm(width) for _ in range(3))
        self.qkv = nn.Linear(width, 3 * width)
        self.attended = nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.out = nn.Linear(width, n_tokens)
        self.value_embedding: ValueEmbedding | None = None
        self.value_head: ValueHead | None = None
        if vocabulary.continuous:
            self.value_embedding = ValueEmbedding(vocabulary.continuous, n_tokens, width)
            self.value_head = ValueHead(
                vocabulary.continuous, n_tokens, width, components=settings.components
            )

    @property
    def vocabulary_axes(self) -> Mapping[str, int]:
        """Embedding and output."""
        return {"token.weight": 0, "out.weight": 0, "out.bias": 0}

    @property
    def position_axes(self) -> Mapping[str, int]:
        """The learned positions."""
        return {"place.weight": 0}

    def embed(self, ids: Tensor, values: Tensor | None) -> Tensor:
        """Return (…, D): the token's vector, plus its value's where it is continuous."""
        x_D: Tensor = self.token(ids)
        if self.value_embedding is not None:
            assert values is not None
            x_D = x_D + self.value_embedding(ids, values)
        return x_D

    def hidden(self, x_TD: Tensor, layout: Layout) -> Tensor:
        """Return (T, D) hidden states."""
        x_TD = x_TD + self.place(positions(layout, x_TD.shape[0], x_TD.device))
        q_THd, k_THd, v_THd = self._heads(x_TD)
        seen = attention(q_THd, k_THd, v_THd, layout, dropout_p=0.0, training=self.training)
        return self._rest(x_TD, seen)

    def new_cache(self, rows: int, capacity: int, *, dtype: torch.dtype, device: str) -> KVCache:
        """Return an empty cache."""
        return KVCache.empty(
            1, rows, capacity, _HEADS, self.width // _HEADS, dtype=dtype, device=device
        )

    def step(self, x_BnD: Tensor, counts: Tensor | None, cache: Cache) -> Tensor:
        """Return (B, n, D) hidden states of new positions; they are in the cache afterwards."""
        assert isinstance(cache, KVCache)
        n = x_BnD.shape[1]
        step = cache.begin_step(n, counts)
        # Positions past a row's count may lie past the last one; they are garbage anyway.
        places_Bn = step.positions_Bn.clamp(max=self.place.num_embeddings - 1)
        x_BnD = x_BnD + self.place(places_Bn)
        q_BnHd, k_BnHd, v_BnHd = self._heads(x_BnD)
        k_BHCd, v_BHCd = step.store(0, k_BnHd, v_BnHd)
        seen = cached_attention(q_BnHd, k_BHCd, v_BHCd, step.mask_B1nC)
        cache.end_step(n, counts)
        return self._rest(x_BnD, seen)

    def logits(self, h_D: Tensor) -> Tensor:
        """Return (…, V) float32 logits."""
        scores: Tensor = self.out(h_D)
        return scores.float()

    def _heads(self, x_D: Tensor) -> tuple[Tensor, ...]:
        """Return queries, keys and values, (…, H, d) each."""
        parts = self.qkv(self.norm_in(x_D)).chunk(3, dim=-1)
        return tuple(part.unflatten(-1, (_HEADS, -1)) for part in parts)

    def _rest(self, x_D: Tensor, seen_Hd: Tensor) -> Tensor:
        x_D = x_D + self.attended(seen_Hd.flatten(-2))
        x_D = x_D + self.down(silu(self.up(self.norm_mid(x_D))))
        h_D: Tensor = self.norm_out(x_D)
        return h_D
