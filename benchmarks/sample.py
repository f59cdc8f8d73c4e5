"""How long a crystal takes: batched, alone, and against recomputing every token.

The paper's model (43 M parameters, six conditions) with fresh weights, or ``--model RUN``, under
the conditions of real crystals of the bundled validation split. Fresh weights have no stop, so
every row is given the number of sites of a real crystal, which the arms share. One process:

- batched: the ancestral sampler with its key-value cache, ``--batch`` rows at a time, once for each
  precision; ``s_per_crystal_batched`` is the fastest;
- single: the same, one crystal alone;
- uncached: one crystal at a time in float32, the whole sequence recomputed for every token, as the
  authors' published sampler does.

``kl_per_token`` is KL(float32 | precision) in nats over 10,000 tokens of real crystals under the
shipped model, which is trained.

    python benchmarks/sample.py --quick
    python benchmarks/sample.py --device cuda --batch 4096 -n 20000 --precisions bfloat16 float32
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
import torch

from matgen.catalog import Catalog
from matgen.errors import CrystalError
from matgen.generation.decoder import Decoder, Request
from matgen.generation.model_decoder import (
    ModelDecoder,
    Precision,
    UncachedDecoder,
    ready_to_sample,
    sequence_logits,
)
from matgen.generation.streams import Streams
from matgen.model_spec import ModelSpec
from matgen.nn.crystal_model import CrystalModel
from matgen.records import Crystal, PropertyValue, Tokens
from matgen.run_dir import load_model, shipped_model

if TYPE_CHECKING:
    from torch import Tensor

    from matgen.nn.value_head import ValueDistribution
    from matgen.roles.dataset import DatasetSource

CONDITIONS = (
    "density",
    "space_group",
    "reduced_formula",
    "band_gap",
    "hhi",
    "energy_above_hull",
)
N_KL_TOKENS = 10_000


@dataclass(frozen=True)
class Real:
    """A real crystal: what is asked for, and how long the sequence is."""

    crystal: Crystal
    conditions: Mapping[str, PropertyValue]


class FedLengths(Decoder):
    """Writes the site count of a real crystal in each row: the stop token is given or withheld."""

    def __init__(self, decoder: Decoder, stop: int, n_sites: Mapping[int, int]) -> None:
        self._inner = decoder
        self._stop = stop
        self._n_sites = n_sites
        self._wanted = torch.zeros(0, dtype=torch.int64)

    rows = property(lambda self: self._inner.rows)
    lengths = property(lambda self: self._inner.lengths)
    device = property(lambda self: self._inner.device)

    def _lengths(self, requests: Sequence[Request]) -> Tensor:
        lengths = [2 + 4 * self._n_sites[request.index] for request in requests]
        return torch.tensor(lengths, device=self._inner.device)

    def begin(self, requests: Sequence[Request]) -> None:
        """Start afresh with one row per request."""
        self._wanted = self._lengths(requests)
        self._inner.begin(requests)

    def replace(self, rows: Tensor, requests: Sequence[Request]) -> None:
        """Start other requests in these rows."""
        self._wanted = self._wanted.index_copy(0, rows, self._lengths(requests))
        self._inner.replace(rows, requests)

    def logits(self) -> Tensor:
        """Return (B, V) logits in which the stop is certain or excluded."""
        logits = self._inner.logits().clone()
        stops = self._inner.lengths == self._wanted
        logits[:, self._stop] = torch.where(stops, 1e4, -1e4)
        return logits

    def value_distribution(self, ids: Tensor) -> ValueDistribution:
        """Return the inner one's."""
        return self._inner.value_distribution(ids)

    def append(
        self, ids: Tensor, values: Tensor | None = None, counts: Tensor | None = None
    ) -> None:
        """Add tokens to every row."""
        self._inner.append(ids, values, counts)

    def take(self, rows: Tensor) -> None:
        """Keep only these rows."""
        self._wanted = self._wanted[rows]
        self._inner.take(rows)

    def fork(self, rows: Tensor, n: int) -> None:
        """Become n copies of each of these rows."""
        self.take(rows.repeat_interleave(n))

    def rewind(self, lengths: Tensor) -> None:
        """Cut each row back."""
        self._inner.rewind(lengths)


@dataclass(frozen=True)
class Arms:
    """The arms of the comparison over one model."""

    model: CrystalModel
    catalog: Catalog
    real: Sequence[Real]
    device: str

    def seconds(self, decoder: Decoder, indices: Sequence[int], batch: int) -> tuple[float, int]:
        """Return seconds per crystal, and how many crystals decoded."""
        representation = self.model.spec.representation
        fed = FedLengths(
            decoder,
            representation.species_tokens().stop,
            {index: self.real[index].crystal.n_sites for index in indices},
        )
        prompt = representation.prompt({})
        requests = [Request(i, prompt, self.real[i].conditions) for i in indices]
        sampler = self.catalog.build("sampler", "ancestral", {"batch_size": batch})
        start = time.perf_counter()
        drafts = list(
            sampler.draw(  # type: ignore[attr-defined]  # the role says so
                fed,
                representation.grammar(),
                requests,
                max_tokens=representation.max_tokens,
                streams=Streams(0),
            )
        )
        decoded = representation.decode_batch([draft.tokens for draft in drafts])
        seconds = (time.perf_counter() - start) / len(requests)
        return seconds, sum(not isinstance(crystal, CrystalError) for crystal in decoded)

    def cached(self, precision: Precision) -> ModelDecoder:
        """Return the fast decoder."""
        return ModelDecoder(
            self.model,
            max_tokens=self.model.spec.representation.max_tokens,
            device=self.device,
            precision=precision,
        )


def real_crystals(catalog: Catalog, n: int) -> list[Real]:
    """Return crystals of the validation split that the representation holds, at random."""
    dataset = cast("DatasetSource", catalog.build("dataset", catalog.choices.default("dataset")))
    conditions = [catalog.build("condition", name) for name in CONDITIONS]
    found = []
    for record in dataset.records("val"):
        if record.crystal.n_sites > 20:
            continue
        known: dict[str, PropertyValue] = {}
        for condition in conditions:
            value = (
                record.properties.get(condition.reads)  # type: ignore[attr-defined]  # the role says so
                if condition.reads  # type: ignore[attr-defined]  # the role says so
                else condition.achieved(record.crystal)  # type: ignore[attr-defined]  # the role says so
            )
            if isinstance(value, str) or (value is not None and math.isfinite(value)):
                known[condition.label] = value  # type: ignore[attr-defined]  # the role says so
        found.append(Real(record.crystal, known))
    order = np.random.default_rng(0).permutation(len(found))[:n]
    return [found[i] for i in order]


def fresh_model(catalog: Catalog, preset: str) -> CrystalModel:
    """Return a model of a preset's sizes with fresh weights."""
    torch.manual_seed(0)
    sizes = catalog.choices.file.presets[preset][catalog.choices.default("backbone")]
    spec = ModelSpec(
        catalog.build("representation", "atoms"),  # type: ignore[arg-type]  # the role says so
        catalog.build("ordering", "high"),  # type: ignore[arg-type]  # the role says so
        catalog.build("backbone", "llama", sizes),  # type: ignore[arg-type]  # the role says so
        tuple(catalog.build("condition", name) for name in CONDITIONS),  # type: ignore[misc]  # the role says so
    )
    return CrystalModel(spec).eval()


def kl_per_token(catalog: Catalog, real: Sequence[Real], precision: Precision) -> float:
    """Return the mean KL(float32 | precision) over real tokens under the shipped model, nats."""
    model, run = load_model(shipped_model(), catalog, device="cpu")
    representation, ordering = run.spec.representation, run.spec.ordering
    requests: list[Request] = []
    n_tokens = 0
    for one in real:
        states = np.zeros(one.crystal.n_sites, dtype=np.int64)
        crystal = (
            one.crystal if one.crystal.oxidation is not None else one.crystal.with_oxidation(states)
        )
        try:
            tokens: Tokens = representation.encode(crystal, ordering, np.random.default_rng(0))
        except CrystalError:
            continue
        requests.append(Request(0, tokens, one.conditions))
        n_tokens += len(tokens) - 1
        if n_tokens >= N_KL_TOKENS:
            break
    rough = ready_to_sample(model, device="cpu", precision=precision)
    total = 0.0
    for start in range(0, len(requests), 64):
        chunk = requests[start : start + 64]
        exact_TV = torch.cat(sequence_logits(model, chunk, device="cpu")).double().log_softmax(1)
        rough_TV = torch.cat(sequence_logits(rough, chunk, device="cpu")).double().log_softmax(1)
        total += float((exact_TV.exp() * (exact_TV - rough_TV)).sum())
    return total / n_tokens


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", type=Path, help="a run directory instead of fresh weights")
    parser.add_argument("--preset", default="paper")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("-n", type=int, default=1024)
    parser.add_argument("--precisions", nargs="+", default=["int8", "float16", "float32"])
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--quick", action="store_true", help="under 50 s on two cores")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    catalog = Catalog.load()
    n, few = (options.batch, 2) if options.quick else (options.n, 8)
    precisions: list[Precision] = options.precisions
    if options.quick:
        precisions = precisions[:1]
    real = real_crystals(catalog, max(n, 400))
    model = (
        fresh_model(catalog, options.preset)
        if options.model is None
        else load_model(options.model, catalog, device=options.device)[0]
    )
    arms = Arms(model.to(options.device), catalog, real, options.device)
    batched: dict[str, float] = {}
    decoded = 0
    single = float("inf")
    for precision in precisions:
        decoder = arms.cached(precision)
        arms.seconds(decoder, range(2), 2)
        batched[precision], found = arms.seconds(decoder, range(n), options.batch)
        decoded += found
        alone = [arms.seconds(decoder, [i], 1)[0] for i in range(few)]
        single = min(single, sum(alone) / few)
        print(precision, f"{batched[precision]:.4f} s a crystal, alone {sum(alone) / few:.3f}")
    slow = UncachedDecoder(model, device=options.device, precision="float32")
    recomputed = sum(arms.seconds(slow, [i], 1)[0] for i in range(few)) / few
    fastest = min(batched.values())
    rough = [p for p in ("bfloat16", "float16", "int8") if options.device == "cpu"]
    if options.quick:
        rough = [p for p in precisions if p != "float32"]
    print(
        json.dumps(
            {
                "speedup_vs_uncached": round(recomputed / fastest, 1),
                "speedup_single_vs_uncached": round(recomputed / single, 1),
                "decoded_fraction": decoded / (n * len(precisions)),
                "s_per_crystal_batched": round(fastest, 5),
                "s_per_crystal_single": round(single, 4),
                "s_per_crystal_uncached": round(recomputed, 4),
                "s_per_crystal_by_precision": {k: round(v, 5) for k, v in batched.items()},
                "kl_per_token": {p: round(kl_per_token(catalog, real, p), 6) for p in rough},
                "n": n,
                "batch": options.batch,
                "mean_sites": round(float(np.mean([r.crystal.n_sites for r in real[:n]])), 2),
                "parameters": model.n_parameters,
                "device": options.device,
                "threads": options.threads,
                "load_average": round(os.getloadavg()[0], 2),
                "processor": platform.processor() or platform.machine(),
                "torch": torch.__version__,
            }
        )
    )


if __name__ == "__main__":
    main()
