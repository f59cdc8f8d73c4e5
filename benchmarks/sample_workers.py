"""What a second worker brings: samples per second of ``matgen sample --on processes``.

Runs the command with one and with two workers of one thread each, start-up included, and compares
the shards, which must be the same to the byte.

    python benchmarks/sample_workers.py --quick
    python benchmarks/sample_workers.py -n 8192
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from matgen.io.digests import sha256_of


def sampled(folder: Path, n: int, workers: int, shard_size: int) -> tuple[float, list[str]]:
    """Return samples per second and the digests of the shards."""
    command = [
        *(sys.executable, "-m", "matgen", "sample", "-n", str(n), "--on", "processes"),
        *("--workers", str(workers), "--shard-size", str(shard_size)),
        *("--out", str(folder), "--json"),
    ]
    done = subprocess.run(
        command,
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    told = json.loads(done.stdout)
    assert told["written"] == n, told
    return told["samples_per_second"], [
        sha256_of(path) for path in sorted(folder.glob("shard-*.parquet"))
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("-n", type=int, default=4096)
    parser.add_argument("--quick", action="store_true", help="under 50 s on two cores")
    options = parser.parse_args()
    n, shard_size = (512, 128) if options.quick else (options.n, 512)
    with tempfile.TemporaryDirectory() as folder:
        one, first = sampled(Path(folder) / "one", n, 1, shard_size)
        two, second = sampled(Path(folder) / "two", n, 2, shard_size)
    print(
        json.dumps(
            {
                "speedup_2_workers": round(two / one, 2),
                "shards_identical": first == second,
                "samples_per_s_1_worker": round(one, 1),
                "samples_per_s_2_workers": round(two, 1),
                "n": n,
                "shard_size": shard_size,
                "load_average": round(os.getloadavg()[0], 2),
            }
        )
    )


if __name__ == "__main__":
    main()
