"""Crystal structure prediction: the contents of the cell are given, the crystal is to be found.

The truths are validation materials of MP-20; no model that is scored here may have been trained on
a material with formula and space group of one. Formulas are split by a hash into a half for
choosing (temperatures, checkpoints) and a half for reporting. The model is asked for the formula
and the number of sites, and rules hold it to both; ``-k`` crystals are drawn for every truth.

Two rates at one prediction are told: of the first draw, and of the draw that the model itself holds
for the most likely one among the k (no truth, no energy, no other tool takes part). At k any of
them counts. Matching is CDVAE's, as in ``matgen evaluate --protocol csp``; ``valid`` counts a
match only where prediction and truth pass CDVAE's validity, as some published rates do.

    python benchmarks/structure_prediction.py --quick
    python benchmarks/structure_prediction.py -n 1000 -k 20 --out csp
    python benchmarks/structure_prediction.py --half choosing -n 300 -k 4 --temperature 0.7

The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from matgen.crystal.composition import reduced_formula
from matgen.evaluation.intervals import wilson
from matgen.io.writing import write_samples
from matgen.records import Crystal, Sample
from matgen_datasets.held_out import is_held_out
from matgen_datasets.mp_le20 import MpLe20


@dataclass(frozen=True)
class Job:
    """What one worker does.

    Attributes:
        places: Of its truths among all of them; they select the random numbers.
    """

    model: str
    places: tuple[int, ...]
    truths: tuple[Crystal, ...]
    k: int
    sampler: dict[str, Any]  # settings of any type


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--model", default="default", help="run directory, or a model's name")
    parser.add_argument("-n", type=int, default=1000, help="truths; 0 for all of the half")
    parser.add_argument("-k", type=int, default=20, help="predictions of each")
    parser.add_argument("--half", choices=("reporting", "choosing"), default="reporting")
    parser.add_argument("--temperature", type=float, default=1.0)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--out", type=Path, default=None)
    parser.add_argument("--quick", action="store_true", help="under 50 s on two cores")
    options = parser.parse_args()
    if options.quick:
        options.n, options.k = 24, 4
    truths = validation_half(options.half)
    if options.n:
        chosen = np.random.default_rng(0).permutation(len(truths))[: options.n]
        truths = [truths[row] for row in chosen.tolist()]
    started = time.perf_counter()
    drawn, cpu_seconds = predicted(
        options.model,
        truths,
        options.k,
        sampler={"temperature": options.temperature},
        workers=options.workers,
    )
    wall = time.perf_counter() - started
    with tempfile.TemporaryDirectory() as scratch:
        out = options.out or Path(scratch)
        out.mkdir(parents=True, exist_ok=True)
        arms = {"ranked": [ranked(samples) for samples in drawn], "first": drawn}
        reports = {
            arm: evaluated(out / arm, truths, samples, options.k if arm == "ranked" else 1)
            for arm, samples in arms.items()
        }
    n = len(truths)
    figures: dict[str, Any] = {  # numbers and texts
        "match_rate_at_1": reports["first"]["match_rate"],
        "match_rate_at_1_ranked": reports["ranked"]["match_rate_at_1"],
        f"match_rate_at_{options.k}": reports["ranked"]["match_rate"],
        "match_rate_at_1_valid": reports["first"]["match_rate_valid"],
        "rmse_at_1": reports["first"]["rmse"],
        f"rmse_at_{options.k}": reports["ranked"]["rmse"],
        "finished": sum(s.crystal is not None for row in drawn for s in row) / (n * options.k),
        "cpu_seconds_per_draw": cpu_seconds / (n * options.k),
    }
    print(table(figures, n))
    figures |= {
        "n": n, "k": options.k, "half": options.half, "temperature": options.temperature,
        "model": options.model, "wall_seconds": wall,
    }  # fmt: skip
    print(json.dumps(figures))


def validation_half(half: str) -> list[Crystal]:
    """Return the validation materials of MP-20 whose formulas fall into a half."""
    records = MpLe20(rows="mp20").records("val")
    return [
        record.crystal
        for record in records
        if is_held_out(record.crystal, share=0.5) == (half == "reporting")
    ]


def predicted(
    model: str, truths: Sequence[Crystal], k: int, *, sampler: dict[str, Any], workers: int
) -> tuple[list[list[Sample]], float]:
    """Return k samples for each truth, and the CPU time that they took."""
    places = [tuple(range(start, len(truths), workers)) for start in range(workers)]
    jobs = [Job(model, own, tuple(truths[p] for p in own), k, sampler) for own in places if own]
    drawn: list[list[Sample]] = [[] for _ in truths]
    if len(jobs) == 1:
        answers = [_work(jobs[0])]
    else:
        with multiprocessing.get_context("spawn").Pool(len(jobs)) as pool:
            answers = pool.map(_work, jobs)
    for job, (samples, _) in zip(jobs, answers, strict=True):
        for place, own in zip(job.places, samples, strict=True):
            drawn[place] = own
    return drawn, sum(seconds for _, seconds in answers)


def _work(job: Job) -> tuple[list[list[Sample]], float]:
    import torch

    from matgen import Model

    torch.set_num_threads(1)
    model = Model.load(None if job.model == "default" else job.model)
    started = time.process_time()
    drawn = []
    for place, truth in zip(job.places, job.truths, strict=True):
        formula, sites = reduced_formula(truth), truth.n_sites
        asked = {"reduced_formula": formula, "n_sites": sites}
        drawn.append(
            list(
                model.sample(
                    job.k,
                    conditions={k: v for k, v in asked.items() if k in model.conditions},
                    constraints=[f"formula={formula}", f"n_sites={sites}"],
                    seed=place,
                    sampler=job.sampler,
                )
            )
        )
    return drawn, time.process_time() - started


def ranked(samples: Sequence[Sample]) -> list[Sample]:
    """Return the samples, those the model holds for likely first and unfinished ones last."""
    return sorted(samples, key=lambda s: -math.inf if s.crystal is None else s.log_prob)[::-1]


def evaluated(
    stem: Path, truths: Sequence[Crystal], drawn: Sequence[Sequence[Sample]], k: int
) -> dict[str, float]:
    """Return what ``matgen evaluate --protocol csp`` says of the first k samples of each truth."""
    truth_file, file = stem.with_name("truths.extxyz"), stem.with_suffix(".extxyz")
    write_samples(truth_file, [Sample(i, t) for i, t in enumerate(truths)], asked=len(truths))
    numbered = [
        Sample(place * k + rank, sample.crystal)
        for place, samples in enumerate(drawn)
        for rank, sample in enumerate(samples[:k])
    ]
    write_samples(file, numbered, asked=len(truths) * k)
    words = ["evaluate", str(file), "--protocol", "csp", "--truth", str(truth_file)]
    words += ["--per-truth", str(k), "--out", str(stem)]
    subprocess.run([sys.executable, "-m", "matgen", *words], check=True, stdout=sys.stderr)
    report = json.loads((stem / "report.json").read_text(encoding="utf-8"))
    summary = report["measurements"]["csp"]["summary"]
    return {name: figure["value"] for name, figure in summary.items()}


def table(figures: dict[str, Any], n: int) -> str:
    """Return the rates as a Markdown table, with 95 % Wilson intervals."""
    lines = ["| figure | value | 95 % |", "|---|---|---|"]
    for name, value in figures.items():
        if value is None:
            continue
        if name.startswith("match_rate"):
            low, high = wilson(round(value * n), n)
            lines.append(f"| {name} | {100 * value:.1f} % | {100 * low:.1f} to {100 * high:.1f} |")
        else:
            lines.append(f"| {name} | {value:.4f} | |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
