"""Our packed steps against plain padded ones, written out with torch's own functions."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from benchmarks.train import RealLengths, padded_loss
from matgen.model_spec import ModelSpec
from matgen.nn.crystal_model import CrystalModel
from matgen.training.batches import Batcher
from matgen.training.settings import TrainingSettings
from matgen_materium.atoms import Atoms
from matgen_materium.llama import Llama
from matgen_materium.llama_network import LlamaNetwork
from matgen_materium.orderings import High


@pytest.mark.parametrize("packed", [True, False])
def test_padded_and_packed_give_one_loss_and_one_gradient(packed: bool) -> None:
    backbone = Llama(layers=3, heads=4, width=64, ffn_width=96, dropout=0.0)
    with torch.random.fork_rng():
        torch.set_rng_state(torch.Generator().manual_seed(3).get_state())
        model = CrystalModel(ModelSpec(Atoms(), High(), backbone, ())).train()
    store = RealLengths(200, len(model.vocabulary))
    rows = np.arange(12)
    if not packed:
        rows = np.flatnonzero(store.lengths == np.median(store.lengths))[:12]
    batch = Batcher(store, (), TrainingSettings(), packed).training(rows, 0)
    loss = model.token_losses(batch).total_N.mean()
    loss.backward()
    ours = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    ids = np.zeros((len(rows), store.lengths[rows].max()), dtype=np.int64)
    for place, row in enumerate(rows):
        ids[place, : store.lengths[row]] = store.ids[row]
    network = model.language_model
    assert isinstance(network, LlamaNetwork)
    plain = padded_loss(network, torch.from_numpy(ids), torch.from_numpy(store.lengths[rows]))
    plain.backward()
    assert loss.item() == pytest.approx(plain.item(), rel=1e-5)
    largest = max(float(gradient.abs().max()) for gradient in ours.values())
    for name, gradient in ours.items():
        other = dict(model.named_parameters())[name].grad
        assert other is not None
        assert float((gradient - other).abs().max()) < 1e-5 * largest, name
