"""The network of ``Llama``.

Axes: T positions of a flat stream, B rows, n new positions of a cached step, D width, H heads,
d = D / H, F feed-forward width, V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn.functional import embedding, linear, pad, silu

from matgen.nn.attention import attention, cached_attention
from matgen.nn.elementwise import RmsNorm, add_dropped, by_hand, dropped
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

    def __init__(self, settings: Llama, vocabulary: Vocabulary, max_positions: int) -> None:
        super().__init__()
        self.settings = settings
        self.width = settings.width
        n_vocabulary = len(vocabulary)
        self.embedding = nn.Embedding(n_vocabulary, settings.width)
        self.token_map: nn.Linear | None = None
        if settings.token_features and vocabulary.features_VF is not None:
            features_VF = torch.as_tensor(vocabulary.features_VF)
            self.token_map = nn.Linear(features_VF.shape[1], settings.width, bias=False)
            self.register_buffer("_features_VF", features_VF, persistent=False)
            self.register_load_state_dict_post_hook(_forget_vectors)  # type: ignore[no-untyped-call]  # torch leaves it so
        self._finished_VD: Tensor | None = None
        self.places: nn.Embedding | None = None
        if settings.learned_positions:
            self.places = nn.Embedding(max_positions, settings.width)
        self.dropout = settings.dropout
        self.blocks = nn.ModuleList(Block(settings) for _ in range(settings.layers))
        self.norm = RmsNorm(settings.width)
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

    @property
    def vocabulary_axes(self) -> Mapping[str, int]:
        """The embedding, which is the output, too."""
        return {"embedding.weight": 0}

    @property
    def position_axes(self) -> Mapping[str, int]:
        """The vectors of places, where there are any."""
        return {} if self.places is None else {"places.weight": 0}

    def embed(self, ids: Tensor, values: Tensor | None) -> Tensor:
        """Return (…, D): the token's vector, plus its value's where it is continuous."""
        x_D: Tensor = embedding(ids, self._vectors())
        if self.value_embedding is not None:
            assert values is not None
            x_D = x_D + self.value_embedding(ids, values)
        return x_D

    def hidden(self, x_TD: Tensor, layout: Layout) -> Tensor:
        """Return (T, D) hidden states, normalised."""
        places_T = positions(layout, x_TD.shape[0], x_TD.device)
        x_TD = self._placed(x_TD, places_T)
        rotation = self._rotations(places_T)
        p, training = self.settings.attention_dropout, self.training

        def attend(q_THd: Tensor, k_THd: Tensor, v_THd: Tensor) -> Tensor:
            return attention(q_THd, k_THd, v_THd, layout, dropout_p=p, training=training)

        x_TD = dropped(x_TD, self.dropout if training else 0.0)
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
        x_BnD = self._placed(x_BnD, step.positions_Bn)
        rotation = self._rotations(step.positions_Bn)
        for layer, block in enumerate(self.blocks):

            def attend(q: Tensor, k: Tensor, v: Tensor, layer: int = layer) -> Tensor:
                keys_BHCd, values_BHCd = step.store(layer, k, v)
                return cached_attention(q, keys_BHCd, values_BHCd, step.mask_B1nC)

            x_BnD = block(x_BnD, rotation, attend)
        cache.end_step(n, counts)
        return self._normalised(x_BnD)

    def logits(self, h_D: Tensor) -> Tensor:
        """Return (…, V) float32 logits through the tied embedding."""
        weight_VD = self._vectors()
        n = weight_VD.shape[0]
        if self.training:
            # Products whose sides are multiples of 8 are the fast ones, on CPUs and GPUs.
            weight_VD = pad(weight_VD, (0, 0, 0, -n % 8))
        return linear(h_D, weight_VD)[..., :n].float()

    def train(self, mode: bool = True) -> LlamaNetwork:  # noqa: FBT001, FBT002 - torch's signature
        """Change between training and use; vectors of tokens are added up anew for either."""
        self._finished_VD = None
        super().train(mode)
        return self

    def _vectors(self) -> Tensor:
        """Return (V, D) vectors of the tokens, added up once while nothing is learned."""
        if self.token_map is None:
            return self.embedding.weight
        if self._finished_VD is not None and not torch.is_grad_enabled():
            return self._finished_VD
        vectors_VD: Tensor = self.embedding.weight + self.token_map(self._features_VF)
        if not self.training and not torch.is_grad_enabled():
            self._finished_VD = vectors_VD.float()
        return vectors_VD

    def _placed(self, x_D: Tensor, places: Tensor) -> Tensor:
        """Return the stream with the vector of each place added, where places have one."""
        if self.places is None:
            return x_D
        # Positions past a row's count are garbage and may lie beyond the table.
        inside = places.clamp(max=self.places.num_embeddings - 1)
        placed_D: Tensor = x_D + self.places(inside).to(x_D.dtype)
        return placed_D

    def _normalised(self, x_D: Tensor) -> Tensor:
        h_D: Tensor = self.norm(x_D)
        return h_D

    def _rotations(self, places: Tensor) -> Rotation:
        head_width = self.settings.width // self.settings.heads
        return rotations(places, head_width, self.settings.rope_base)


def _forget_vectors(network: LlamaNetwork, _: object) -> None:
    """Add up the vectors of tokens anew; called when other weights were loaded."""
    network._finished_VD = None  # noqa: SLF001 - a hook of its own class


class Block(nn.Module):
    """Attention, then the feed-forward part; each reads a normed copy and adds to the stream.

    Queries, keys and values have one weight, gate and up of SwiGLU another: in sampling one wide
    product is faster than several narrow ones.
    """

    def __init__(self, settings: Llama) -> None:
        super().__init__()
        width = settings.width
        self.heads = settings.heads
        self.norm_attention = RmsNorm(width)
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.attention_out = nn.Linear(width, width, bias=False)
        self.norm_ffn = RmsNorm(width)
        self.gate_up = nn.Linear(width, 2 * settings.ffn_width, bias=False)
        self.ffn_out = nn.Linear(settings.ffn_width, width, bias=False)
        self.dropout = settings.dropout

    def forward(self, x_D: Tensor, rotation: Rotation, attend: Attend) -> Tensor:
        """Return (…, D): the stream after this block."""
        q_D, k_D, v_D = _products(self.norm_attention(x_D), self.qkv, 3)
        shape = (*x_D.shape[:-1], self.heads, -1)
        q_Hd, k_Hd, v_Hd = (y_D.reshape(shape) for y_D in (q_D, k_D, v_D))
        attended_D = attend(rotate(q_Hd, rotation), rotate(k_Hd, rotation), v_Hd).flatten(-2)
        p = self.dropout if self.training else 0.0
        x_D = add_dropped(x_D, self.attention_out(attended_D), p)
        gate_F, up_F = _products(self.norm_ffn(x_D), self.gate_up, 2)
        return add_dropped(x_D, self.ffn_out(silu(gate_F) * up_F), p)


def _products(x_D: Tensor, layer: nn.Linear, n: int) -> tuple[Tensor, ...]:
    """Return the n equal parts of what a layer gives.

    One wide product, cut; but a product for each where gradients are written by hand: putting the
    gradients of the cuts together would copy more than is gained.
    """
    if by_hand(x_D):
        return tuple(linear(x_D, part) for part in layer.weight.chunk(n))
    parts: tuple[Tensor, ...] = layer(x_D).chunk(n, dim=-1)
    return parts


def _initialise(name: str, parameter: nn.Parameter, layers: int) -> None:
    """N(0, 0.02) for matrices, less for what each block adds to the stream; norms stay at 1.

    Source: GPT-2 (Radford et al. 2019, section 2.3): residual layers scaled by 1/√(2 · layers).
    """
    if parameter.ndim < 2:
        return
    adds = name.endswith(("attention_out.weight", "ffn_out.weight"))
    nn.init.normal_(parameter, std=INIT_STD / math.sqrt(2 * layers) if adds else INIT_STD)
