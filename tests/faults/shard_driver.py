"""Draws a folder of shards with two worker processes: what the kill tests start and kill.

python -m tests.faults.shard_driver WEIGHTS FOLDER
"""

from __future__ import annotations

import sys
from pathlib import Path

from matgen.generation.shard import ModelFile, ShardPlan
from matgen.generation.sharded import sample_shards
from matgen.io.digests import sha256_of
from matgen_executors.processes import ProcessExecutor
from matgen_samplers.ancestral import Ancestral
from tests.unit.generation.toy_model import SPEC

N_SHARDS = 40


def main() -> None:
    weights, folder = map(Path, sys.argv[1:])
    plan = ShardPlan(
        model=ModelFile(weights, sha256_of(weights), SPEC),
        sampler=Ancestral(batch_size=16),
        folder=folder,
        shard_size=64,
        n=64 * N_SHARDS,
        seed=3,
    )
    sample_shards(plan, ProcessExecutor(n_workers=2), described={"seed": 3}, versions={})


if __name__ == "__main__":
    main()
