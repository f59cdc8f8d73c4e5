"""Any number of samples into a folder of shards, on any executor; what is finished is kept.

The driver hands out numbers of shards and writes down in the manifest which came back. A worker
that dies costs the shards that were being drawn; a driver that dies costs the same, and the next
call goes on. Sample i is the same whatever the workers and whoever draws it, but for the rounding
of the network, which depends on which samples are decoded in one batch, hence on the shard size.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeAlias

from matgen.errors import BadOptions, WorkerDied
from matgen.generation.shard import ShardPlan, draw_shard
from matgen.generation.unique import write_unique
from matgen.io.digests import sha256_of
from matgen.io.lock import alone_in
from matgen.io.shard_manifest import UNIQUE, ShardManifest, refuse_another
from matgen.roles.executor import Executor

log = logging.getLogger(__name__)

REDONE_AT_MOST: Final = 3
"""Times that a shard is drawn again because a worker died; then it is more than bad luck."""
_LARGEST_SHARD: Final = 4096
_SMALLEST_SHARD: Final = 256
_SHARDS: Final = 32


@dataclass(frozen=True)
class ShardProgress:
    """How far a run is.

    Attributes:
        shards: Finished ones.
        n_shards: All of them.
        samples: In the finished ones.
        asked: All of them.
        per_second: Samples per second since this call began; 0 before the first shard.
        seconds_left: At that rate; None before the first shard.
    """

    shards: int
    n_shards: int
    samples: int
    asked: int
    per_second: float = 0.0
    seconds_left: float | None = None


ShardObserver: TypeAlias = Callable[[ShardProgress], None]


def unobserved(progress: ShardProgress) -> None:
    """Take no note."""
    del progress


def usual_shard_size(asked: int) -> int:
    """Return how many samples a shard has unless somebody says so; depends on nothing else.

    Enough shards that several workers have some, and no more samples than are drawn in minutes.
    """
    return min(_LARGEST_SHARD, max(_SMALLEST_SHARD, -(-asked // _SHARDS)))


def sample_shards(
    plan: ShardPlan,
    executor: Executor,
    *,
    described: Mapping[str, Any],  # JSON values
    versions: Mapping[str, str],
    observer: ShardObserver = unobserved,
) -> ShardManifest:
    """Draw every shard that is not finished, then find which crystals are the first of their kind.

    Args:
        plan: What to sample.
        executor: Where shards are drawn.
        described: Everything that decides the samples, to tell whether a folder that is there
            holds the same.
        versions: Of libraries, kept beside the samples.
        observer: Called at the beginning and after every shard.

    Returns:
        The manifest, complete and with its counts.

    Raises:
        BadOptions: the folder holds something else, or samples of another plan.
        UserError: another process is drawing into it.
        WorkerDied: workers died over one shard again and again.
        OSError: the folder cannot be written to; what was finished is kept.
    """
    if plan.folder.exists() and not plan.folder.is_dir():
        raise BadOptions(f"{plan.folder} is a file; choose a folder to write shards to")
    with alone_in(plan.folder, "is sampling into"):
        return _drawn(plan, executor, _begun(plan, described, versions), observer)


def _drawn(
    plan: ShardPlan, executor: Executor, manifest: ShardManifest, observer: ShardObserver
) -> ShardManifest:
    """Return the manifest once all shards are there."""
    pace = _Pace(manifest, observer)
    deaths: Counter[int] = Counter()
    while not manifest.is_complete:
        left = [n for n in range(manifest.n_shards) if n not in manifest.shards]
        handed_out: set[int] = set()
        try:
            with executor.open() as pool:
                task = partial(draw_shard, plan=plan)
                # An iterator, so that no worker is handed several at a time.
                for shard in pool.map(task, _noted(left, handed_out)):
                    handed_out.discard(shard.number)
                    manifest = manifest.with_shard(shard)
                    manifest.write(plan.folder)
                    pace.tell(manifest)
        except WorkerDied as error:
            deaths.update(handed_out)
            _refuse_endless(deaths, manifest, error)
            log.warning("a worker died; %d shards are drawn again", len(handed_out))
    # Killed workers could not remove what they were writing.
    _clear(plan.folder)
    if manifest.unique is None:
        manifest = replace(manifest, unique=write_unique(plan.folder, manifest))
        manifest.write(plan.folder)
    return manifest


class _Pace:
    """Tells an observer how fast it goes."""

    def __init__(self, manifest: ShardManifest, observer: ShardObserver) -> None:
        self._observer = observer
        self._started = time.monotonic()
        self._before = _n_samples(manifest)
        observer(
            ShardProgress(len(manifest.shards), manifest.n_shards, self._before, manifest.asked)
        )

    def tell(self, manifest: ShardManifest) -> None:
        """Tell of the shards that are finished now."""
        done = _n_samples(manifest)
        rate = (done - self._before) / max(time.monotonic() - self._started, 1e-9)
        self._observer(
            ShardProgress(
                shards=len(manifest.shards),
                n_shards=manifest.n_shards,
                samples=done,
                asked=manifest.asked,
                per_second=rate,
                seconds_left=(manifest.asked - done) / rate,
            )
        )


def _n_samples(manifest: ShardManifest) -> int:
    return sum(shard.rows for shard in manifest.shards.values())


def _begun(
    plan: ShardPlan, described: Mapping[str, Any], versions: Mapping[str, str]
) -> ShardManifest:  # JSON values
    """Return the manifest to go on with; the folder is cleared of what is broken."""
    folder = plan.folder
    fresh = ShardManifest(
        plan=dict(described),
        versions=dict(versions),
        asked=plan.asked,
        shard_size=plan.shard_size,
        file_format=plan.file_format,
    )
    saved = ShardManifest.read(folder)
    if saved is not None and not saved.shards:
        # Nothing was drawn yet, as after a mistake in a setting: any plan may begin here.
        _clear(folder)
        for stray in folder.glob("shard-*"):
            stray.unlink()
        fresh.write(folder)
        return fresh
    if saved is None:
        if any(folder.iterdir()):
            raise BadOptions(
                f"{folder} holds files and no samples in shards; choose another folder"
            )
        fresh.write(folder)
        return fresh
    refuse_another({**saved.plan, **_layout(saved)}, {**fresh.plan, **_layout(fresh)}, folder)
    for name, version in versions.items():
        if saved.versions.get(name) != version:
            log.warning(
                "%s was begun with %s %s, this is %s: samples may differ by rounding or more",
                folder, name, saved.versions.get(name), version,
            )  # fmt: skip
    _clear(folder)
    return _checked(saved, plan)


def _clear(folder: Path) -> None:
    """Remove files that were being written when their writer died."""
    for leftover in [*folder.glob(".shard-*"), *folder.glob(".manifest.json.*")]:
        leftover.unlink(missing_ok=True)


def _layout(manifest: ShardManifest) -> dict[str, Any]:  # JSON values
    return {
        "samples": manifest.asked,
        "shard_size": manifest.shard_size,
        "file_format": manifest.file_format,
    }


def _checked(manifest: ShardManifest, plan: ShardPlan) -> ShardManifest:
    """Return the manifest without the shards whose files are not as they were written."""
    sound = {}
    for number, shard in manifest.shards.items():
        path = manifest.path_of(number, plan.folder)
        problem = ""
        if not path.exists():
            problem = "is missing"
        elif sha256_of(path) != shard.sha256:
            problem = "is not as it was written"
        if problem:
            log.warning("%s %s; it is drawn again", path, problem)
        else:
            sound[number] = shard
    unique = manifest.unique
    table = plan.folder / UNIQUE
    if unique is not None and (
        len(sound) < len(manifest.shards) or not table.exists() or sha256_of(table) != unique.sha256
    ):
        unique = None
    return replace(manifest, shards=sound, unique=unique)


def _noted(numbers: Sequence[int], handed_out: set[int]) -> Iterator[int]:
    """Yield numbers and write down which were taken."""
    for number in numbers:
        handed_out.add(number)
        yield number


def _refuse_endless(deaths: Counter[int], manifest: ShardManifest, error: WorkerDied) -> None:
    """Raise if a shard was lost too often.

    Raises:
        WorkerDied: says what is there, and that the same command goes on.
    """
    worst, times = deaths.most_common(1)[0] if deaths else (0, REDONE_AT_MOST + 1)
    if times > REDONE_AT_MOST:
        raise WorkerDied(
            f"workers died {times} times while shard {worst} was being drawn ({error}); "
            f"{len(manifest.shards)} of {manifest.n_shards} shards are finished, and the same "
            "command goes on from there"
        ) from None
