"""How fast training is: our unpadded batches against padded ones, same model, same process.

Arms, interleaved so that a busy neighbour hits all alike:

- equal_length: our default on a CPU, sequences of one length per step
- packed: all lengths in one flat stream, sorted, one attention call per length
- padded: 32 sequences in random order, padded to the longest, with a padding mask

Rates count crystal tokens only. With one thread they are per second of this process's CPU time,
which a busy neighbour changes little; with more, per second of wall time, and a busy neighbour
makes it meaningless.

Run: ``python benchmarks/train.py --quick``; the last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import cross_entropy, scaled_dot_product_attention

from matgen.data.batch import Batch, Gathered
from matgen.model_spec import ModelSpec
from matgen.nn.crystal_model import CrystalModel
from matgen.nn.rope import rotations
from matgen.training.batches import Batcher
from matgen.training.settings import TrainingSettings
from matgen_materium.atoms import Atoms
from matgen_materium.llama import Llama
from matgen_materium.llama_network import LlamaNetwork
from matgen_materium.orderings import High

DATA = Path(__file__).parents[1] / "plugins/matgen_datasets/data/mp_le20.parquet"
PRESETS = {
    "tiny": Llama(layers=4, heads=4, width=128, ffn_width=384),
    "small": Llama(layers=6, heads=6, width=192, ffn_width=576),
    "paper": Llama(),
}
PADDED_ROWS = 32
Step = Callable[[], int]


class RealLengths:
    """Random tokens in sequences as long as those of real crystals: 4N + 10."""

    kind_names = ("token",)
    fingerprint = "benchmark"

    def __init__(self, n: int, n_vocabulary: int) -> None:
        rng = np.random.default_rng(0)
        n_sites = pq.read_table(DATA, columns=["n_sites"])["n_sites"].to_numpy()
        self.lengths = (4 * rng.choice(n_sites, n).astype(np.int32) + 10).astype(np.int32)
        self.ids = [rng.integers(2, n_vocabulary, size=length) for length in self.lengths]

    def __len__(self) -> int:
        return len(self.lengths)

    def gather(self, indices: NDArray[np.int64], *, epoch: int) -> Gathered:
        """Return the sequences; every epoch has the same."""
        del epoch
        ids = np.concatenate([self.ids[i] for i in indices])
        return Gathered(ids, None, np.zeros(len(ids), dtype=np.int64))

    def features(self, label: str, indices: NDArray[np.int64]) -> NDArray[np.float32]:
        """Refuse: the benchmark's model has no conditions."""
        del indices
        raise KeyError(label)


def unpadded(store: RealLengths, positions: int, *, packed: bool) -> Callable[[], Batch]:
    settings = TrainingSettings(batch_tokens=positions)
    batcher = Batcher(store, (), settings, packed)
    coming = iter(batcher.epoch(0))
    return lambda: batcher.training(next(coming), 0)


def padded_loss(network: LlamaNetwork, ids_BL: Tensor, lengths_B: Tensor) -> Tensor:
    """Return the mean loss of a padded batch, masked where a sequence is over."""
    n = ids_BL.shape[1]
    places = torch.arange(n)
    mask = (places <= places[:, None]) & (places < lengths_B[:, None, None])
    settings = network.settings
    rotation = rotations(
        places.expand_as(ids_BL), settings.width // settings.heads, settings.rope_base
    )

    def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        q, k, v = (x.transpose(1, 2) for x in (q, k, v))
        return scaled_dot_product_attention(q, k, v, attn_mask=mask[:, None]).transpose(1, 2)

    x_BLD = network.dropout(network.embed(ids_BL, None))
    for block in network.blocks:
        x_BLD = block(x_BLD, rotation, attend)
    logits = network.logits(network.norm(x_BLD))[:, :-1]
    targets = torch.where(places[1:] < lengths_B[:, None], ids_BL[:, 1:], -100)
    return cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=-100)


def measure(
    backbone: Llama,
    store: RealLengths,
    *,
    bf16: bool,
    seconds: float,
    positions: int,
    arms: list[str],
) -> dict[str, float]:
    """Return crystal tokens per second of each arm."""
    torch.set_rng_state(torch.Generator().manual_seed(0).get_state())
    model = CrystalModel(ModelSpec(Atoms(), High(), backbone, ())).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
    rng = np.random.default_rng(1)

    def update(loss: Callable[[], Tensor]) -> None:
        optimizer.zero_grad()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
            value = loss()
        value.backward()
        optimizer.step()

    def ours(next_batch: Callable[[], Batch]) -> Step:
        def step() -> int:
            batch = next_batch()
            update(lambda: model.token_losses(batch).total_N.mean())  # noqa: PLW0108 - under autocast
            return batch.n_tokens - batch.n_rows

        return step

    def theirs() -> int:
        rows = rng.choice(len(store), PADDED_ROWS, replace=False)
        ids = np.zeros((PADDED_ROWS, store.lengths[rows].max()), dtype=np.int64)
        for place, row in enumerate(rows):
            ids[place, : store.lengths[row]] = store.ids[row]
        lengths = torch.from_numpy(store.lengths[rows])
        network = model.language_model
        assert isinstance(network, LlamaNetwork)
        update(lambda: padded_loss(network, torch.from_numpy(ids), lengths))
        return int(store.lengths[rows].sum()) - PADDED_ROWS

    steps: dict[str, Step] = {
        "equal_length": ours(unpadded(store, positions, packed=False)),
        "packed": ours(unpadded(store, positions, packed=True)),
        "padded": theirs,
    }
    chosen = {name: steps[name] for name in arms}
    small = unpadded(store, 100, packed=False)
    ours(small)()  # AdamW makes its averages at the first step
    tokens, spent = dict.fromkeys(chosen, 0), dict.fromkeys(chosen, 0.0)
    clock = _clock()
    while sum(spent.values()) < seconds:
        for name, step in chosen.items():
            begin = clock()
            tokens[name] += step()
            spent[name] += clock() - begin
    return {name: tokens[name] / spent[name] for name in chosen}


def _clock() -> Callable[[], float]:
    return time.process_time if torch.get_num_threads() == 1 else time.perf_counter


def matmul_rate(*, bf16: bool) -> float:
    """Return floating-point operations per second of a product of 1024 × 1024 matrices, best."""
    a = torch.ones(1024, 1024, dtype=torch.bfloat16 if bf16 else torch.float32)
    best, clock = float("inf"), _clock()
    for _ in range(8):
        begin = clock()
        torch.mm(a, a)
        best = min(best, clock() - begin)
    return 2 * 1024**3 / best


def flops_per_token(backbone: Llama, n_vocabulary: int, mean_length: float) -> float:
    """Forward and backward: 6 per weight of a product, 6 L D per layer of causal attention."""
    d, f = backbone.width, backbone.ffn_width
    weights = backbone.layers * (4 * d * d + 3 * d * f) + n_vocabulary * d
    return 6 * weights + 6 * backbone.layers * mean_length * d


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="under 50 s on two cores")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--bf16", action="store_true", help="autocast; slow without hardware")
    parser.add_argument("--presets", nargs="+", default=list(PRESETS), choices=list(PRESETS))
    parser.add_argument(
        "--shape", nargs=4, type=int, metavar=("LAYERS", "HEADS", "WIDTH", "FFN"), default=None
    )
    parser.add_argument("--positions", type=int, default=2048, help="per step of our arms")
    parser.add_argument(
        "--arms", nargs="+", default=["equal_length", "packed", "padded"], help="what to time"
    )
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    backbones = {name: PRESETS[name] for name in chosen.presets}
    if chosen.shape:
        layers, heads, width, ffn = chosen.shape
        shape = Llama(layers=layers, heads=heads, width=width, ffn_width=ffn)
        backbones = {f"{layers}x{width}": shape}
    n_vocabulary = len(Atoms().vocabulary())
    store = RealLengths(20_000, n_vocabulary)
    mean_length = float(store.lengths.mean())
    rates: dict[str, dict[str, float]] = {}
    fractions: dict[str, float] = {}
    for name, backbone in backbones.items():
        rates[name] = measure(
            backbone,
            store,
            bf16=chosen.bf16,
            seconds=5.0 if chosen.quick else 40.0,
            positions=chosen.positions,
            arms=chosen.arms,
        )
        best = max(rates[name].values())
        flops = best * flops_per_token(backbone, n_vocabulary, mean_length)
        fractions[name] = flops / matmul_rate(bf16=chosen.bf16)
        print(name, {arm: round(rate) for arm, rate in rates[name].items()})
    ours, other = "equal_length", "padded"
    both = ours in chosen.arms and other in chosen.arms
    result = {
        "speedup_vs_padded": {n: round(r[ours] / r[other], 2) for n, r in rates.items()}
        if both
        else None,
        "fraction_of_matmul_rate": {n: round(value, 2) for n, value in fractions.items()},
        "tokens_per_s": {n: {a: round(v) for a, v in r.items()} for n, r in rates.items()},
        "threads": chosen.threads,
        "precision": "bf16" if chosen.bf16 else "fp32",
        "positions": chosen.positions,
        "torch": torch.__version__,
        # Above the number of threads, somebody else was working too: do not trust the rates.
        "load": round(os.getloadavg()[0], 1),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
