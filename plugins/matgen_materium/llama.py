"""The paper's network: a Llama-style decoder, every size a setting."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field, model_validator

from matgen import Backbone

if TYPE_CHECKING:
    from matgen import Vocabulary
    from matgen.nn.language_model import LanguageModel


class Llama(Backbone):
    """Causal transformer: RMSNorm before each part, SwiGLU, rotary positions, full attention.

    Source: Materium, arXiv:2512.07486: 12 blocks, width 512, 16 heads, FFN 1536, dropout 0.1.
    """

    name = "llama"
    cites = ("Materium, arXiv:2512.07486", "Touvron et al., LLaMA, arXiv:2302.13971")
    free_to_change = frozenset({"dropout", "attention_dropout"})

    layers: int = Field(default=12, ge=1)
    """Blocks."""
    heads: int = Field(default=16, ge=1)
    """Attention heads per block; they share the width evenly."""
    width: int = Field(default=512, ge=2)
    """Numbers per position."""
    ffn_width: int = Field(default=1536, ge=1)
    """Hidden width of each block's feed-forward part."""
    dropout: float = Field(default=0.1, ge=0, lt=1)
    """Probability of dropping, in training, a number of the embeddings or of what a part adds."""
    attention_dropout: float = Field(default=0.0, ge=0, lt=1)
    """Probability of dropping an attention weight in training. The paper does not say where its
    dropout sits; here it costs much, since most fast kernels cannot do it."""
    token_features: bool = False
    """Whether vectors of tokens are learned ones plus a learned map of what the representation
    knows of its tokens (``Vocabulary.features_VF``). The paper learns every token by itself."""
    learned_positions: bool = False
    """Whether every place in the sequence has a learned vector, besides the rotation of queries and
    keys, which tells distances alone. The paper has none."""
    rope_base: float = Field(default=10_000.0, gt=1)
    """Ratio of the slowest to the fastest wavelength of the rotary positions."""
    value_components: int = Field(default=8, ge=1)
    """Logistic components of the distribution of a continuous token's value."""

    @model_validator(mode="after")
    def _heads_fit(self) -> Llama:
        if self.width % (2 * self.heads):
            raise ValueError(
                f"width {self.width} cannot be shared by {self.heads} heads of even width; "
                f"choose a multiple of {2 * self.heads}"
            )
        return self

    def build(self, vocabulary: Vocabulary, max_positions: int) -> LanguageModel:
        """Return the network; without learned positions any length can be read."""
        from matgen_materium.llama_network import LlamaNetwork

        return LlamaNetwork(self, vocabulary, max_positions)
