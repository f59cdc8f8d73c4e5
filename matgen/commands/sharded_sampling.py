"""``matgen sample --on …``: samples in shards, by workers, with progress; what is done is kept."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from matgen.commands.console import progress_bar, say
from matgen.commands.stages import stoppable

if TYPE_CHECKING:
    from matgen.catalog import Catalog
    from matgen.generation.model_decoder import Precision
    from matgen.generation.sharded import ShardProgress
    from matgen.io.shard_manifest import ShardFormat
    from matgen.records import AskedValue
    from matgen.roles.constraint import Constraint
    from matgen.roles.executor import Executor
    from matgen.roles.sampler import Sampler
    from matgen.run_dir import Run

SECONDS_BETWEEN_LINES: Final = 60.0


@dataclass(frozen=True, eq=False)
class ShardedRequest:
    """What the sample command found out from its flags.

    Attributes:
        run: The model; workers read its weights from this folder.
        out: Folder of the shards.
        shard_size: Samples per shard; 0 chooses by the number asked for.

    The others are those of ``SamplePlan``.
    """

    run: Run
    out: Path
    sampler: Sampler
    constraints: Sequence[Constraint]
    grid: Sequence[Mapping[str, AskedValue]]
    n: int
    seed: int
    guidance: Mapping[str, float] | None
    device: str
    precision: Precision
    file_format: ShardFormat = "parquet"
    shard_size: int = 0


def sample_in_shards(
    request: ShardedRequest, executor: Executor, catalog: Catalog
) -> dict[str, object]:
    """Draw the shards that are not there yet; return a summary to print.

    Ctrl-C leaves with 130 and says how to go on. A folder that cannot be written to, or a full
    disk, is an ``OSError`` that the command line tells in one line.

    Raises:
        UserError: see ``matgen.generation.sharded.sample_shards``.
    """
    from matgen.generation.shard import ModelFile, ShardPlan
    from matgen.generation.sharded import sample_shards, usual_shard_size
    from matgen.io.digests import sha256_of
    from matgen.run_dir import library_versions

    weights = (request.run.folder / "model.safetensors").resolve()
    asked = request.n * len(request.grid)
    plan = ShardPlan(
        model=ModelFile(weights, sha256_of(weights), request.run.spec),
        sampler=request.sampler,
        folder=request.out.resolve(),
        shard_size=request.shard_size or usual_shard_size(asked),
        file_format=request.file_format,
        constraints=tuple(request.constraints),
        grid=tuple(request.grid),
        n=request.n,
        seed=request.seed,
        guidance=request.guidance,
        device=request.device,
        precision=request.precision,
    )
    started = time.monotonic()
    before = _Before()
    with (
        stoppable(f"finished shards are kept in {request.out}; the same command goes on"),
        _shown(asked) as show,
    ):

        def observe(progress: ShardProgress) -> None:
            before.note(progress)
            show(progress)

        manifest = sample_shards(
            plan,
            executor,
            described=describe(plan, catalog),
            versions=library_versions(),
            observer=observe,
        )
    counts = manifest.unique
    assert counts is not None, "sample_shards counts duplicates before it returns"
    seconds = time.monotonic() - started
    written = sum(shard.written for shard in manifest.shards.values())
    drawn = manifest.asked - before.samples
    return {
        "out": str(request.out),
        "asked": manifest.asked,
        "written": written,
        "unfinished": manifest.asked - written,
        "unique": counts.unique,
        "duplicates": counts.duplicates,
        "without_hash": counts.without_hash,
        "shards": manifest.n_shards,
        "shards_kept": before.shards,
        "seconds": round(seconds, 3),
        "samples_per_second": round(drawn / seconds, 2) if drawn else None,
        "model": str(request.run.folder),
        "seed": request.seed,
    }


def describe(plan: Any, catalog: Catalog) -> dict[str, Any]:  # a ShardPlan; JSON values
    """Return everything that decides the samples of a plan, as JSON values.

    The path of the model is not among it, its weights are; of the device only the kind.
    """
    spec = plan.model.spec
    return {
        "model": {
            "weights_sha256": plan.model.sha256,
            "representation": catalog.dump(spec.representation),
            "ordering": catalog.dump(spec.ordering),
            "backbone": catalog.dump(spec.backbone),
            "conditions": [catalog.dump(condition) for condition in spec.conditions],
        },
        "sampler": catalog.dump(plan.sampler),
        "constraints": [catalog.dump(constraint) for constraint in plan.constraints],
        "grid": [dict(wanted) for wanted in plan.grid],
        "n": plan.n,
        "seed": plan.seed,
        "guidance": plan.guidance,
        "device": plan.device.partition(":")[0],
        "precision": plan.precision,
    }


class _Before:
    """How much was there at the beginning."""

    def __init__(self) -> None:
        self.samples = self.shards = 0
        self._noted = False

    def note(self, progress: ShardProgress) -> None:
        """Keep what is told first."""
        if not self._noted:
            self.samples, self.shards, self._noted = progress.samples, progress.shards, True


@contextmanager
def _shown(asked: int) -> Iterator[Callable[[ShardProgress], None]]:
    """Give an observer: a bar in a terminal, a line now and then elsewhere."""
    if sys.stderr.isatty():
        with progress_bar("{task.fields[told]}") as bar:
            task = bar.add_task("sampling", total=asked, told="")
            yield lambda p: bar.update(task, completed=p.samples, told=_told(p))
        return
    last = time.monotonic()

    def line(progress: ShardProgress) -> None:
        nonlocal last
        now = time.monotonic()
        is_end = progress.shards == progress.n_shards
        if progress.per_second and (is_end or now - last >= SECONDS_BETWEEN_LINES):
            last = now
            say(f"{progress.samples} of {asked} samples, {_told(progress)}")

    yield line


def _told(progress: ShardProgress) -> str:
    shards = f"shard {progress.shards} of {progress.n_shards}"
    if progress.seconds_left is None:
        return shards
    minutes, seconds = divmod(round(progress.seconds_left), 60)
    hours, minutes = divmod(minutes, 60)
    left = f"{hours}:{minutes:02d}:{seconds:02d}"
    return f"{shards}, {progress.per_second:.1f} samples/s, {left} left"
