"""The network of ``Llama``.

Axes: T positions of a flat stream, B rows, n new positions of a cached step, D width, H heads,
d = D / H, F feed-forward width, V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, silu

from matgen.nn.attention import attention, cached_attention
from matgen.nn.kv_cache import KVCache
from matgen.nn.language_model import Cache, LanguageModel, Layout
from matgen.nn.rope import positions, rotate, rotations
from matgen.nn.value_head import ValueEmbedding, ValueHead

if TYPE_CHECKING:
    from matgen import Vocabulary
    from matgen_materium.llama import Llama

Attend: TypeAlias = "Callable[[Tensor, Tensor, Tensor], Tensor]"
"""(…, H, d) queries, keys and values → (…, H, d)."""
Rotation: TypeAlias = tuple[Tensor, Tensor]

INIT_STD = 0.02


class LlamaNetwork(LanguageModel):
    """Embeddings, blocks, a last norm, and logits through the embeddings again (tied)."""

    def __init__(self, settings: Llama, vocabulary: Vocabulary) -> None:
        super().__init__()
        self.settings = settings
        self.width = settings.width
        n_vocabulary = len(vocabulary)
        self.embedding = nn.Embedding(n_vocabulary, settings.width)
        self.dropout = nn.Dropout(settings.dropout)
        self.blocks = nn.ModuleList(Block(settings) for _ in range(settings.layers))
        self.norm = nn.RMSNorm(settings.width)
        self.value_embedding: ValueEmbedding | None = None
        self.value_head: ValueHead | None = None
        for name, parameter in self.named_parameters():
            _initialise(name, parameter, settings.layers)
        if vocabulary.continuous:
            self.value_embedding = ValueEmbedding(
                vocabulary.continuous, n_vocabulary, settings.width
            )
            self.value_head = ValueHead(
                vocabulary.continuous,
                n_vocabulary,
                settings.width,
                components=settings.value_components,
            )

    def embed(self, ids: Tensor, values: Tensor | None) -> Tensor:
        """Return (…, D): the token's vector, plus its value's where it is continuous."""
        x_D: Tensor = self.embedding(ids)
        if self.value_embedding is not None:
            assert values is not None
            x_D = x_D + self.value_embedding(ids, values)
        return x_D

    def hidden(self, x_TD: Tensor, layout: Layout) -> Tensor:
        """Return (T, D) hidden states, normalised."""
        rotation = self._rotations(positions(layout, x_TD.shape[0], x_TD.device))
        p, training = self.settings.attention_dropout, self.training

        def attend(q_THd: Tensor, k_THd: Tensor, v_THd: Tensor) -> Tensor:
            return attention(q_THd, k_THd, v_THd, layout, dropout_p=p, training=training)

        x_TD = self.dropout(x_TD)
        for block in self.blocks:
            x_TD = block(x_TD, rotation, attend)
        return self._normalised(x_TD)

    def new_cache(self, rows: int, capacity: int, *, dtype: torch.dtype, device: str) -> KVCache:
        """Return an empty cache."""
        settings = self.settings
        return KVCache.empty(
            settings.layers,
            rows,
            capacity,
            settings.heads,
            settings.width // settings.heads,
            dtype=dtype,
            device=device,
        )

    def step(self, x_BnD: Tensor, counts: Tensor | None, cache: Cache) -> Tensor:
        """Return (B, n, D) hidden states of new positions; they are in the cache afterwards."""
        assert isinstance(cache, KVCache)
        n = x_BnD.shape[1]
        step = cache.begin_step(n, counts)
        rotation = self._rotations(step.positions_Bn)
        for layer, block in enumerate(self.blocks):

            def attend(q: Tensor, k: Tensor, v: Tensor, layer: int = layer) -> Tensor:
                keys_BCHd, values_BCHd = step.store(layer, k, v)
                return cached_attention(q, keys_BCHd, values_BCHd, step.mask_B1nC)

            x_BnD = block(x_BnD, rotation, attend)
        cache.end_step(n, counts)
        return self._normalised(x_BnD)

    def logits(self, h_D: Tensor) -> Tensor:
        """Return (…, V) float32 logits through the tied embedding."""
        return linear(h_D, self.embedding.weight).float()

    def _normalised(self, x_D: Tensor) -> Tensor:
        h_D: Tensor = self.norm(x_D)
        return h_D

    def _rotations(self, places: Tensor) -> Rotation:
        head_width = self.settings.width // self.settings.heads
        return rotations(places, head_width, self.settings.rope_base)


class Block(nn.Module):
    """Attention, then the feed-forward part; each reads a normed copy and adds to the stream.

    Queries, keys and values come from one product, gate and up of SwiGLU from another: on a CPU
    one wide product is faster than several narrow ones.
    """

    def __init__(self, settings: Llama) -> None:
        super().__init__()
        width = settings.width
        self.heads = settings.heads
        self.norm_attention = nn.RMSNorm(width)
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.attention_out = nn.Linear(width, width, bias=False)
        self.norm_ffn = nn.RMSNorm(width)
        self.gate_up = nn.Linear(width, 2 * settings.ffn_width, bias=False)
        self.ffn_out = nn.Linear(settings.ffn_width, width, bias=False)
        self.dropout = nn.Dropout(settings.dropout)

    def forward(self, x_D: Tensor, rotation: Rotation, attend: Attend) -> Tensor:
        """Return (…, D): the stream after this block."""
        qkv = self.qkv(self.norm_attention(x_D)).unflatten(-1, (3 * self.heads, -1))
        qk, v_Hd = qkv.split((2 * self.heads, self.heads), dim=-2)
        q_Hd, k_Hd = rotate(qk, rotation).chunk(2, dim=-2)
        attended_D = attend(q_Hd, k_Hd, v_Hd).flatten(-2)
        x_D = x_D + self.dropout(self.attention_out(attended_D))
        gate_F, up_F = self.gate_up(self.norm_ffn(x_D)).chunk(2, dim=-1)
        fed_D: Tensor = self.dropout(self.ffn_out(silu(gate_F) * up_F))
        return x_D + fed_D


def _initialise(name: str, parameter: nn.Parameter, layers: int) -> None:
    """N(0, 0.02) for matrices, less for what each block adds to the stream; norms stay at 1.

    Source: GPT-2 (Radford et al. 2019, section 2.3): residual layers scaled by 1/√(2 · layers).
    """
    if parameter.ndim < 2:
        return
    adds = name.endswith(("attention_out.weight", "ffn_out.weight"))
    nn.init.normal_(parameter, std=INIT_STD / math.sqrt(2 * layers) if adds else INIT_STD)
