"""An untrained toy model whose weights are large enough to matter, and requests for it."""

from __future__ import annotations

import torch

from matgen.generation.decoder import Request
from matgen.model_spec import ModelSpec
from matgen.nn.crystal_model import CrystalModel
from matgen_toy.asking import BySpecies, NSites, Spacing
from matgen_toy.cubic import Cubic
from matgen_toy.one_block import OneBlock

REPRESENTATION = Cubic()
MAX_TOKENS = REPRESENTATION.max_tokens
SPEC = ModelSpec(REPRESENTATION, BySpecies(), OneBlock(width=32), (NSites(), Spacing()))


def toy_model(seed: int = 0) -> CrystalModel:
    model = CrystalModel(SPEC).eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in model.parameters():
            weight.copy_(0.3 * torch.randn(weight.shape, generator=generator))
    return model


def toy_requests() -> list[Request]:
    """Prompts of one and two tokens, with and without a slotted condition."""
    prompt = REPRESENTATION.prompt
    return [
        Request(0, prompt({}), {"spacing": 2.0}),
        Request(1, prompt({"n_sites": 2.0}), {"n_sites": 2.0, "spacing": 3.5}),
        Request(2, prompt({"n_sites": 3.0})),
    ]
