"""How long a crystal takes: batched, alone, and against recomputing every token.

Samples from the shipped model (or ``--model RUN``) under real conditions and prints one line of
JSON, ratios first. Arms, in one process on the same machine:

- batched: the ancestral sampler with its key-value cache, ``--batch`` rows at a time;
- single: the same, one crystal alone;
- uncached: one crystal at a time, the whole sequence recomputed for every token, as the authors'
  published sampler does.

    python benchmarks/sample.py --quick
    python benchmarks/sample.py --device cuda --batch 4096 -n 20000
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from dataclasses import replace
from pathlib import Path

import torch

from matgen.catalog import Catalog
from matgen.devices import pick_precision
from matgen.generation.decoder import Request
from matgen.generation.generate import SamplePlan, generate
from matgen.generation.model_decoder import UncachedDecoder
from matgen.generation.streams import Streams
from matgen.run_dir import load_model, shipped_model

GRID = ({}, {"density": 4.0}, {"space_group": 225.0}, {"band_gap": 1.5, "hhi": 2.0})


def timed(plan: SamplePlan) -> tuple[float, int]:
    """Return seconds per crystal and how many crystals decoded."""
    start = time.perf_counter()
    samples = list(generate(plan))
    seconds = (time.perf_counter() - start) / len(samples)
    return seconds, sum(sample.crystal is not None for sample in samples)


def uncached(plan: SamplePlan, n: int) -> float:
    """Return seconds per crystal of the recomputing arm."""
    representation = plan.model.spec.representation
    decoder = UncachedDecoder(plan.model, device=plan.device, precision="float32")
    start = time.perf_counter()
    for index in range(n):
        request = Request(index, representation.prompt({}), plan.grid[index % len(plan.grid)])
        drafts = plan.sampler.draw(
            decoder,
            representation.grammar(),
            [request],
            max_tokens=representation.max_tokens,
            streams=Streams(plan.seed),
        )
        assert all(draft.finished for draft in drafts)
    return (time.perf_counter() - start) / n


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", type=Path, default=shipped_model())
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("-n", type=int, default=1024)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--quick", action="store_true", help="under 50 s on two cores")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    catalog = Catalog.load()
    model, _ = load_model(options.model, catalog, device=options.device)
    n, few = (256, 4) if options.quick else (options.n, 16)
    plan = SamplePlan(
        model=model,
        sampler=catalog.build("sampler", "ancestral", {"batch_size": options.batch}),
        grid=GRID,
        n=n // len(GRID),
        device=options.device,
        precision=pick_precision("auto", options.device),
    )
    timed(replace(plan, n=1))
    batched, decoded = timed(plan)
    single = min(timed(replace(plan, n=1, grid=(wanted,)))[0] for wanted in GRID)
    recomputed = uncached(plan, few)
    print(
        json.dumps(
            {
                "speedup_vs_uncached": round(recomputed / batched, 1),
                "speedup_single_vs_uncached": round(recomputed / single, 1),
                "decoded_fraction": decoded / (n // len(GRID) * len(GRID)),
                "s_per_crystal_batched": round(batched, 5),
                "s_per_crystal_single": round(single, 4),
                "s_per_crystal_uncached": round(recomputed, 4),
                "n": n,
                "batch": options.batch,
                "parameters": model.n_parameters,
                "device": options.device,
                "threads": options.threads,
                "processor": platform.processor() or platform.machine(),
                "torch": torch.__version__,
            }
        )
    )


if __name__ == "__main__":
    main()
