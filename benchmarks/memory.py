"""Whether ``matgen train --dry-run`` says how much memory training takes.

For each preset and size of a part: the memory that ``--dry-run`` expects, and the most that the
same command held while it took a few steps, as the operating system says of the finished process.
CPU only; on CUDA the figure to compare with is ``memory_mb`` in metrics.jsonl.

Run: ``python benchmarks/memory.py --quick``; the last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import torch

CASES = {"tiny": (4096, 16_384), "small": (4096, 16_384), "paper": (1024, 4096)}
QUICK = {"tiny": (4096,)}


def expected_mb(arguments: list[str]) -> float:
    done = subprocess.run(
        [*arguments, "--dry-run", "--json"], check=True, stdout=subprocess.PIPE, text=True
    )
    return float(json.loads(done.stdout)["expected_memory_mb"]["total"])


def measured_mb(arguments: list[str]) -> float:
    process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{' '.join(arguments)} failed")
    return usage.ru_maxrss * 1024 / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="under 50 s on two cores")
    parser.add_argument("--steps", type=int, default=12)
    chosen = parser.parse_args()
    ratios, told = {}, {}
    with tempfile.TemporaryDirectory() as folder:
        stores = str(Path(folder) / "stores")
        matgen = [sys.executable, "-m", "matgen"]
        subprocess.run([*matgen, "data", "prepare", "--out", stores], check=True)
        for preset, sizes in (QUICK if chosen.quick else CASES).items():
            for positions in sizes:
                name = f"{preset} {positions}"
                arguments = [
                    *matgen, "train", "--stores", stores, "--preset", preset, "--device", "cpu",
                    "--batch-tokens", str(positions), "--max-steps", str(chosen.steps),
                    "--set", f"training.micro_batch_tokens={positions}",
                    "--set", "training.validation_sequences=16",
                    "--set", "training.precision=fp32", "--out", str(Path(folder) / name),
                ]  # fmt: skip
                expected, measured = expected_mb(arguments), measured_mb(arguments)
                ratios[name] = round(expected / measured, 3)
                told[name] = {"expected_mb": round(expected), "measured_mb": round(measured)}
                print(name, told[name], flush=True)
    worst = max(abs(ratio - 1.0) for ratio in ratios.values())
    print(
        json.dumps(
            {
                "worst_error": round(worst, 3),
                "expected_over_measured": ratios,
                **told,
                "torch": torch.__version__,
            }
        )
    )


if __name__ == "__main__":
    main()
