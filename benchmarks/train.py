"""How fast training is, against padded batches and against what the processor can multiply.

Arms take turns in one process, so that a machine whose speed drifts hits all alike; figures are
medians over turns.

- packed: training as it is (``Learner``: parts, clipped gradient, fused AdamW, dropout),
  crystals of all lengths in one stream
- conditions: the same with the slots of the eight default conditions, which cost work and count
  nothing
- equal_length: the same, crystals of one length per step
- eager: on CUDA, packed without torch.compile
- padded: the paper's way: 32 crystals in random order, padded to the longest, a mask, eager, AdamW;
  on a CPU with the allocator as the C library has it, ours keeps what it freed
- matmul: products of two 1024 × 1024 matrices (8192 × 8192 on CUDA), the arithmetic limit

Lengths are those of real crystals (mp_le20), token ids random. Rates are crystal tokens a second:
no start tokens, no padding, no condition slots. ``fraction_of_matmul_rate`` is the floating-point
operations that the packed arm's tokens need, 6 per weight of a product and token and 6 L D per
layer for causal attention over sequences of L, divided by time and by the rate of the products.

Also: crystals a second that the loader makes of a real token store, with the default conditions, on
one core; to be compared with ``tokens_per_s`` divided by the mean length.

A busy machine is refused: one other process takes a factor of a hundred from two threads.

    python benchmarks/train.py --quick
    python benchmarks/train.py --presets tiny small paper --threads 2
    python benchmarks/train.py --device cuda

The last line is JSON.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import (
    cross_entropy,
    dropout,
    linear,
    rms_norm,
    scaled_dot_product_attention,
    silu,
)

from matgen.catalog import Catalog
from matgen.commands.allocator import keep_freed_memory
from matgen.commands.preparing import prepare_stores
from matgen.data.batch import Gathered
from matgen.model_spec import ModelSpec
from matgen.nn.crystal_model import CrystalModel
from matgen.nn.rope import rotations
from matgen.plan import TrainConfig, resolve_training
from matgen.roles.condition import Condition
from matgen.training.batches import Batcher
from matgen.training.feed import Feed, Work
from matgen.training.hardware import Hardware, resolve_hardware
from matgen.training.ranks import Ranks
from matgen.training.settings import TrainingSettings
from matgen.training.step import Learner, Objective
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
PAPER_CRYSTALS = 607_683
PEAK_BF16 = {"H100": 989e12, "H200": 989e12, "A100": 312e12}
"""Dense bfloat16 products a second, from NVIDIA's data sheets (SXM versions)."""
Step = Callable[[], int]


class RealLengths:
    """Random tokens in sequences as long as those of real crystals: 4N + 10."""

    kind_names = ("token",)
    fingerprint = "benchmark"

    def __init__(self, n: int, n_vocabulary: int, conditions: tuple[Condition, ...] = ()) -> None:
        rng = np.random.default_rng(0)
        n_sites = pq.read_table(DATA, columns=["n_sites"])["n_sites"].to_numpy()
        self.lengths = (4 * rng.choice(n_sites, n).astype(np.int32) + 10).astype(np.int32)
        self.ids = [rng.integers(2, n_vocabulary, size=length) for length in self.lengths]
        self.sizes = {condition.label: condition.feature_size for condition in conditions}

    def __len__(self) -> int:
        return len(self.lengths)

    def gather(self, indices: NDArray[np.int64], *, epoch: int) -> Gathered:
        """Return the sequences; every epoch has the same."""
        del epoch
        ids = np.concatenate([self.ids[i] for i in indices])
        return Gathered(ids, None, np.zeros(len(ids), dtype=np.int64))

    def features(self, label: str, indices: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return zeros: what a condition is makes no difference to the work."""
        return np.zeros((len(indices), self.sizes[label]), dtype=np.float32)


def ours(
    backbone: Llama, settings: TrainingSettings, conditions: tuple[Condition, ...] = ()
) -> Step:
    """Return a step of training as it is."""
    hardware = resolve_hardware(settings)
    model = CrystalModel(ModelSpec(Atoms(), High(), backbone, conditions))
    model.to(hardware.device).train()
    store = RealLengths(20_000, len(model.vocabulary), conditions)
    objective = Objective(model, settings, store.kind_names, compiled=hardware.compiled)
    learner = Learner(objective.to(hardware.device), settings, hardware, Ranks())
    batcher = Batcher(store, conditions, settings, hardware.packed)
    coming = works(Feed(batcher, settings, hardware, Ranks()), batcher)
    taken = 0

    def step() -> int:
        nonlocal taken
        work = next(coming)
        learner.learn(
            work.parts,
            n_targets=work.n_targets,
            step=taken,
            rate=1e-4,
            unwanted=lambda: False,
        )
        taken += 1
        return work.n_targets

    return step


def works(feed: Feed, batcher: Batcher) -> Iterator[Work]:
    epoch = 0
    while True:
        yield from feed.works(batcher.epoch(epoch), epoch)
        epoch += 1


def padded(backbone: Llama, hardware: Hardware) -> Step:
    """Return a step of the paper's way."""
    model = CrystalModel(ModelSpec(Atoms(), High(), backbone, ())).to(hardware.device).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    store = RealLengths(20_000, len(model.vocabulary))
    rng = np.random.default_rng(1)
    network = model.language_model
    assert isinstance(network, LlamaNetwork)

    def step() -> int:
        rows = rng.choice(len(store), PADDED_ROWS, replace=False)
        ids = np.zeros((PADDED_ROWS, store.lengths[rows].max()), dtype=np.int64)
        for place, row in enumerate(rows):
            ids[place, : store.lengths[row]] = store.ids[row]
        lengths = torch.from_numpy(store.lengths[rows]).to(hardware.device)
        optimizer.zero_grad()
        with hardware.autocast():
            loss = padded_loss(network, torch.from_numpy(ids).to(hardware.device), lengths)
        loss.backward()
        optimizer.step()
        return int(store.lengths[rows].sum()) - PADDED_ROWS

    return step


def padded_loss(network: LlamaNetwork, ids_BL: Tensor, lengths_B: Tensor) -> Tensor:
    """Return the mean loss of a padded batch, masked where a sequence is over.

    The network's weights in plain torch functions: what makes training fast is not in here.
    """
    places = torch.arange(ids_BL.shape[1], device=ids_BL.device)
    mask = (places <= places[:, None]) & (places < lengths_B[:, None, None])
    settings = network.settings
    cos, sin = rotations(places, settings.width // settings.heads, settings.rope_base)
    x_BLD = dropout(network.embedding(ids_BL), settings.dropout)
    for block in network.blocks:
        normed = rms_norm(x_BLD, (settings.width,), block.norm_attention.weight)
        heads = block.qkv(normed).unflatten(-1, (3, settings.heads, -1)).unbind(-3)
        q, k = (turned(part, cos, sin).transpose(1, 2) for part in heads[:2])
        attended = scaled_dot_product_attention(
            q, k, heads[2].transpose(1, 2), attn_mask=mask[:, None]
        )
        added = block.attention_out(attended.transpose(1, 2).flatten(-2))
        x_BLD = x_BLD + dropout(added, settings.dropout)
        normed = rms_norm(x_BLD, (settings.width,), block.norm_ffn.weight)
        gate, up = block.gate_up(normed).chunk(2, dim=-1)
        x_BLD = x_BLD + dropout(block.ffn_out(silu(gate) * up), settings.dropout)
    h_BLD = rms_norm(x_BLD, (settings.width,), network.norm.weight)
    logits = linear(h_BLD, network.embedding.weight)[:, :-1].float()
    targets = torch.where(places[1:] < lengths_B[:, None], ids_BL[:, 1:], -100)
    return cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=-100)


def turned(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    first, second = x.chunk(2, dim=-1)
    return torch.cat((first * cos - second * sin, second * cos + first * sin), dim=-1)


def matmul(hardware: Hardware) -> Step:
    """Return a step of nothing but products; its "tokens" are floating-point operations."""
    n, times = (8192, 10) if hardware.device.startswith("cuda") else (1024, 40)
    dtype = torch.bfloat16 if hardware.bf16 else torch.float32
    a, out = (torch.ones(n, n, dtype=dtype, device=hardware.device) for _ in range(2))

    def step() -> int:
        for _ in range(times):
            torch.mm(a, a, out=out)
        return 2 * n**3 * times

    return step


def measured(steps: dict[str, Step], hardware: Hardware, seconds: float) -> dict[str, list[float]]:
    """Return per arm its rate in each turn; the first turn is not counted."""
    rates: dict[str, list[float]] = {name: [] for name in steps}
    cuda = hardware.device.startswith("cuda")
    clock = time.process_time if torch.get_num_threads() == 1 and not cuda else time.perf_counter
    end = None
    while end is None or time.perf_counter() < end or len(rates["padded"]) < 2:
        for name, step in steps.items():
            if not cuda:
                _allocator(keeps=name != "padded")
            begin, n = clock(), 0
            for _ in range(20 if cuda else 1):
                n += step()
            if cuda:
                torch.cuda.synchronize()
            rates[name].append(n / (clock() - begin))
        if end is None:
            end = time.perf_counter() + seconds
            rates = {name: [] for name in steps}
    return rates


def _allocator(*, keeps: bool) -> None:
    """Let the C library keep what is freed, as training does, or not, as it does by default."""
    if keeps:
        keep_freed_memory()
    elif sys.platform.startswith("linux"):
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(-4, 65_536)  # M_MMAP_MAX
        libc.mallopt(-3, 128 * 1024)  # M_MMAP_THRESHOLD
        libc.mallopt(-1, 128 * 1024)  # M_TRIM_THRESHOLD


def flops_per_token(backbone: Llama, n_vocabulary: int, lengths: NDArray[np.int32]) -> float:
    """Forward and backward: 6 per weight of a product, 6 L D per layer of causal attention."""
    d, f = backbone.width, backbone.ffn_width
    weights = backbone.layers * (4 * d * d + 3 * d * f) + n_vocabulary * d
    # What a token attends to on average, over tokens and not over crystals.
    length = float((lengths.astype(float) ** 2).sum() / lengths.sum())
    return 6 * weights + 6 * backbone.layers * length * d


def loader_rate(settings: TrainingSettings, seconds: float) -> float:
    """Return crystals a second that become batches, from a real token store."""
    catalog = Catalog.load()
    with tempfile.TemporaryDirectory() as folder:
        plan = resolve_training(TrainConfig(), catalog, gpu=False)
        store = prepare_stores(plan, Path(folder), catalog)["train"]
        batcher = Batcher(store, store.conditions, settings, packed=True)
        n, begin = 0, time.process_time()
        for indices in batcher.epoch(0):
            batcher.training(indices, 0)
            n += len(indices)
            if time.process_time() - begin > seconds:
                break
        return n / (time.process_time() - begin)


def others_busy() -> float:
    """Return how many processors other processes kept busy over a second."""

    def busy() -> tuple[float, float]:
        fields = Path("/proc/stat").read_text(encoding="ascii").splitlines()[0].split()[1:]
        ticks = [int(field) for field in fields]
        return sum(ticks) - ticks[3] - ticks[4], time.process_time()

    if not Path("/proc/stat").exists():
        return 0.0
    (all_0, own_0), begin = busy(), time.perf_counter()
    time.sleep(1.0)
    (all_1, own_1), spent = busy(), time.perf_counter() - begin
    return ((all_1 - all_0) / os.sysconf("SC_CLK_TCK") - (own_1 - own_0)) / spent


def default_conditions() -> tuple[Condition, ...]:
    return resolve_training(TrainConfig(), Catalog.load(), gpu=False).spec.conditions


def settings_for(chosen: argparse.Namespace, **changes: object) -> TrainingSettings:
    cuda = chosen.device.startswith("cuda")
    return TrainingSettings.model_validate(
        {
            "device": chosen.device,
            "precision": chosen.precision,
            "batch_tokens": chosen.batch_tokens
            or (65_536 if cuda else 2048 if chosen.quick else 4096),
            **changes,
        }
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="under 50 s on two cores")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", default="auto", choices=["auto", "fp32", "bf16"])
    parser.add_argument("--presets", nargs="+", choices=list(PRESETS), default=["paper"])
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--seconds", type=float, default=120.0, help="per preset, about")
    parser.add_argument("--batch-tokens", type=int, default=None)
    parser.add_argument("--busy", action="store_true", help="measure all the same")
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    busy = others_busy()
    if busy > 0.2 and not chosen.busy:
        raise SystemExit(
            f"other processes keep {busy:.1f} cores busy, so the figures would mean nothing; wait, "
            "or give --busy"
        )
    settings = settings_for(chosen)
    hardware = resolve_hardware(settings)
    cuda = hardware.device.startswith("cuda")
    conditions = default_conditions()
    results: dict[str, dict[str, object]] = {}
    for preset in chosen.presets:
        backbone = PRESETS[preset]
        n_vocabulary = len(Atoms().vocabulary())
        steps: dict[str, Step] = {"packed": ours(backbone, settings)}
        if not chosen.quick:
            steps["conditions"] = ours(backbone, settings, conditions)
            one_length = settings_for(chosen, batching="equal_length")
            steps["equal_length"] = ours(backbone, one_length)
            if cuda:
                steps["eager"] = ours(backbone, settings_for(chosen, compile="off"))
        steps["padded"] = padded(backbone, hardware)
        steps["matmul"] = matmul(hardware)
        turns = measured(steps, hardware, 8.0 if chosen.quick else chosen.seconds)
        rates = {name: statistics.median(rates) for name, rates in turns.items()}
        lengths = RealLengths(20_000, n_vocabulary).lengths
        flops = rates["packed"] * flops_per_token(backbone, n_vocabulary, lengths)
        speedups = [a / b for a, b in zip(turns["packed"], turns["padded"], strict=True)]
        fractions = [
            a * flops / rates["packed"] / b
            for a, b in zip(turns["packed"], turns["matmul"], strict=True)
        ]
        results[preset] = {
            "speedup_vs_padded": round(statistics.median(speedups), 2),
            "fraction_of_matmul_rate": round(statistics.median(fractions), 3),
            "tokens_per_s": round(rates["packed"]),
            "arms": {name: round(rate) for name, rate in rates.items() if name != "matmul"},
            "matmul_gflops": round(rates["matmul"] / 1e9),
            "turns": len(speedups),
            "parameters": CrystalModel(ModelSpec(Atoms(), High(), backbone, ())).n_parameters,
        }
        if cuda:
            card = torch.cuda.get_device_name()
            peak = next((rate for name, rate in PEAK_BF16.items() if name in card), None)
            results[preset] |= {
                "card": card,
                "model_flops_utilisation": peak and round(flops / peak, 3),
                "epoch_of_the_paper_s": round(
                    PAPER_CRYSTALS * (lengths.mean() - 1) / rates["packed"], 1
                ),
                "memory_mb": round(torch.cuda.max_memory_allocated() / 1e6),
            }
        print(preset, results[preset], flush=True)
    loader = None if chosen.quick else round(loader_rate(settings, 5.0))
    first = results[chosen.presets[0]]
    names = ("speedup_vs_padded", "fraction_of_matmul_rate", "tokens_per_s")
    told = {
        **{name: first[name] for name in names},
        "preset": chosen.presets[0],
        "loader_crystals_per_s": loader,
        "presets": results,
        "device": hardware.device,
        "precision": "bf16" if hardware.bf16 else "fp32",
        "threads": chosen.threads,
        "batch_tokens": settings.batch_tokens,
        "others_busy": round(busy, 2),
        "torch": torch.__version__,
    }
    print(json.dumps(told))


if __name__ == "__main__":
    main()
