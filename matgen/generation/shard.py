"""One shard of a large number of samples: what a worker draws and writes.

A worker is told the plan and the number of a shard. It loads the model once, draws the samples of
the shard as ``generate`` would draw them among all others, and writes one file.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from matgen.atomic import read_tensors
from matgen.crystal.structure_hash import hash_text
from matgen.errors import BadCrystal, BadFile
from matgen.generation.generate import SamplePlan, generate
from matgen.io.digests import sha256_of
from matgen.io.shard_manifest import FinishedShard, ShardFormat, shard_name
from matgen.io.shard_writing import shard_file
from matgen.model_spec import ModelSpec
from matgen.records import AskedValue, Crystal

if TYPE_CHECKING:
    from matgen.generation.model_decoder import Precision
    from matgen.nn.crystal_model import CrystalModel
    from matgen.roles.condition import Condition
    from matgen.roles.constraint import Constraint
    from matgen.roles.sampler import Sampler


@dataclass(frozen=True)
class ModelFile:
    """A trained model as a worker finds it.

    Attributes:
        weights: Safetensors file; the same path on every machine.
        sha256: Of that file.
        spec: Components, for which the digest stands where two are compared.
    """

    weights: Path
    sha256: str
    spec: ModelSpec = field(compare=False)


@dataclass(frozen=True, eq=False)
class ShardPlan:
    """What is sampled into a folder of shards; a value that travels to workers.

    Attributes:
        folder: The same path on every machine.
        shard_size: Samples per shard; decode batches end with their shard.

    The others are those of ``SamplePlan``; shard k holds the samples from k × ``shard_size`` on.
    """

    model: ModelFile
    sampler: Sampler
    folder: Path
    shard_size: int
    file_format: ShardFormat = "parquet"
    constraints: tuple[Constraint, ...] = ()
    grid: tuple[Mapping[str, AskedValue], ...] = ({},)
    n: int = 1
    seed: int = 0
    guidance: Mapping[str, float] | None = None
    device: str = "cpu"
    precision: Precision = "float32"

    @property
    def asked(self) -> int:
        """Samples in all."""
        return self.n * len(self.grid)

    def samples_of(self, number: int) -> range:
        """Return the indices of a shard."""
        first = number * self.shard_size
        return range(first, min(first + self.shard_size, self.asked))


def draw_shard(number: int, *, plan: ShardPlan) -> FinishedShard:
    """Draw and write a shard.

    Raises:
        BadFile: the weights are not those of the plan.
        BadOptions: see ``generate``.
        OSError: the folder cannot be written to.
    """
    model = _loaded(plan.model, plan.device)
    started = time.perf_counter()
    indices = plan.samples_of(number)
    samples = generate(
        SamplePlan(
            model=model,
            sampler=plan.sampler,
            constraints=plan.constraints,
            # Each sample its own grid point: a shard may begin and end within one.
            grid=tuple(plan.grid[index // plan.n] for index in indices),
            n=1,
            seed=plan.seed,
            guidance=plan.guidance,
            device=plan.device,
            precision=plan.precision,
            first_index=indices.start,
        )
    )
    path = plan.folder / shard_name(number, plan.file_format)
    written = 0
    with shard_file(
        path,
        plan.file_format,
        asked=len(indices),
        requested={
            label: type(value) if isinstance(value, str) else float
            for wanted in plan.grid
            for label, value in wanted.items()
        },
        achieved={c.label: _kind_achieved(c) for c in plan.model.spec.conditions},
    ) as file:
        for sample in samples:
            written += sample.crystal is not None
            file.add(sample, "" if sample.crystal is None else _hashed(sample.crystal))
    return FinishedShard(
        number=number,
        first=indices.start,
        rows=len(indices),
        written=written,
        unfinished=len(indices) - written,
        seconds=round(time.perf_counter() - started, 3),
        sha256=sha256_of(path),
    )


@lru_cache(maxsize=1)
def _loaded(file: ModelFile, device: str) -> CrystalModel:
    """Load a model once per process."""
    from matgen.nn.crystal_model import CrystalModel

    if not file.weights.exists():
        raise BadFile(
            f"{file.weights} does not exist on this machine; every worker reads the model from the "
            "same path"
        )
    if sha256_of(file.weights) != file.sha256:
        raise BadFile(f"{file.weights} holds other weights than when the run was planned")
    model = CrystalModel(file.spec)
    weights = read_tensors(file.weights)
    model.load_state_dict({name: tensor.float() for name, tensor in weights.items()})
    return model.to(device).eval()


def _hashed(crystal: Crystal) -> str:
    """Return the hash; empty for a cell that is too flat to have one."""
    try:
        return hash_text(crystal)
    except BadCrystal:
        return ""


def _kind_achieved(condition: Condition) -> type:
    """Return the type of what a condition reads off a crystal, by trying it on rock salt.

    Every shard must have the same columns, also one in which no crystal shows the value.
    """
    half = np.array([[0.0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])
    frac = np.concatenate([half, half + 0.5])
    salt = Crystal(5.64 * np.eye(3), frac, np.array([11] * 4 + [17] * 4))
    return str if isinstance(condition.achieved(salt), str) else float
