"""Samples in shards are the samples of one run, whatever the shards, and go on where they were."""

from __future__ import annotations

import dataclasses
import logging
import os
import signal
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from matgen.atomic import write_tensors
from matgen.errors import BadFile, BadOptions, UserError, WorkerDied
from matgen.generation.generate import SamplePlan, generate
from matgen.generation.shard import ModelFile, ShardPlan
from matgen.generation.sharded import REDONE_AT_MOST, sample_shards
from matgen.generation.unique import write_unique
from matgen.io.digests import sha256_of
from matgen.io.lock import alone_in
from matgen.io.reading import read_samples
from matgen.io.shard_manifest import ShardManifest
from matgen.records import Sample
from matgen_executors.local import LocalExecutor
from matgen_executors.processes import ProcessExecutor
from matgen_samplers.ancestral import Ancestral
from tests.unit.generation.toy_model import SPEC, toy_model

GRID = ({}, {"n_sites": 2.0, "spacing": 3.0}, {"spacing": 2.5})
VERSIONS = {"python": "3"}


@pytest.fixture
def plan(tmp_path: Path) -> ShardPlan:
    """36 samples of 3 grid points, in shards of 10 that cross them."""
    weights = tmp_path / "model.safetensors"
    write_tensors(weights, toy_model().state_dict())
    return ShardPlan(
        model=ModelFile(weights, sha256_of(weights), SPEC),
        sampler=Ancestral(batch_size=7),
        folder=tmp_path / "shards",
        shard_size=10,
        grid=GRID,
        n=12,
        seed=5,
    )


def run(plan: ShardPlan, executor: Any = None, seed: int = 5) -> ShardManifest:
    return sample_shards(
        plan, executor or LocalExecutor(), described={"seed": seed}, versions=VERSIONS
    )


def told(sample: Sample) -> tuple[Any, ...]:
    crystal = sample.crystal
    made = None if crystal is None else (crystal.numbers.tolist(), crystal.frac.round(5).tolist())
    # Decode batches of other shapes round otherwise: 1e-6 relative, float32.
    achieved = {label: pytest.approx(value, rel=1e-5) for label, value in sample.achieved.items()}
    return sample.index, dict(sample.requested), achieved, made


def plain(sample: Sample) -> tuple[Any, ...]:
    index, requested, _, made = told(sample)
    return index, requested, dict(sample.achieved), made


@pytest.mark.parametrize("file_format", ["parquet", "extxyz"])
def test_shards_hold_the_samples_of_one_run(plan: ShardPlan, file_format: Any) -> None:
    whole = SamplePlan(toy_model(), plan.sampler, grid=GRID, n=12, seed=5)
    run(dataclasses.replace(plan, file_format=file_format))
    samples, asked = read_samples(plan.folder)
    assert asked == 36
    there = [told(s) for s in generate(whole) if s.crystal or file_format == "parquet"]
    assert [plain(sample) for sample in samples] == there


def test_a_damaged_and_a_missing_shard_are_drawn_again_and_no_other(
    plan: ShardPlan, caplog: pytest.LogCaptureFixture
) -> None:
    before = run(plan)
    paths = [before.path_of(number, plan.folder) for number in range(4)]
    times = [path.stat().st_mtime_ns for path in paths]
    paths[1].write_bytes(paths[1].read_bytes()[:-9])
    paths[2].unlink()
    with caplog.at_level(logging.WARNING):
        after = run(plan)
    assert "shard-000001.parquet is not as it was written" in caplog.text
    assert "shard-000002.parquet is missing" in caplog.text
    assert {s.sha256 for s in after.shards.values()} == {s.sha256 for s in before.shards.values()}
    assert [paths[k].stat().st_mtime_ns for k in (0, 3)] == [times[0], times[3]]
    assert after.unique == before.unique


def test_another_plan_in_the_same_folder_is_refused_with_what_differs(plan: ShardPlan) -> None:
    run(plan)
    with pytest.raises(BadOptions, match="seed is 5 there, and 6 now"):
        run(plan, seed=6)
    with pytest.raises(BadOptions, match="shard_size is 10 there, and 9 now"):
        run(dataclasses.replace(plan, shard_size=9))


def test_an_unfinished_folder_is_not_read_as_if_it_were_whole(plan: ShardPlan) -> None:
    manifest = run(plan)
    dataclasses.replace(manifest, shards={0: manifest.shards[0]}, unique=None).write(plan.folder)
    with pytest.raises(BadFile, match="holds 1 of 4 shards"):
        read_samples(plan.folder)


def test_the_first_of_equal_crystals_is_kept_whatever_the_number_of_passes(
    plan: ShardPlan,
) -> None:
    manifest = run(plan)
    first: dict[str, list[int]] = {}
    for number in range(4):
        table = pq.read_table(manifest.path_of(number, plan.folder))
        for index, text in zip(
            table["index"].to_pylist(), table["structure_hash"].to_pylist(), strict=True
        ):
            first.setdefault(text, []).append(index)
    first.pop(None, None)  # type: ignore[call-overload]  # samples without a crystal
    expected = sorted((indices[0], len(indices)) for indices in first.values())
    for at_once in (1000, 5):
        write_unique(plan.folder, manifest, hashes_at_once=at_once)
        table = pq.read_table(plan.folder / "unique.parquet")
        found = zip(table["index"].to_pylist(), table["copies"].to_pylist(), strict=True)
        assert list(found) == expected
    assert manifest.unique is not None
    assert manifest.unique.unique == len(expected)


class Deadly(Ancestral):
    """Kills the process it runs in."""

    name = "deadly"

    def draw(self, *arguments: Any, **named: Any) -> Any:
        os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.slow
def test_a_shard_that_kills_its_worker_every_time_is_given_up(plan: ShardPlan) -> None:
    with pytest.raises(WorkerDied, match="0 of 4 shards are finished, and the same command goes"):
        run(dataclasses.replace(plan, sampler=Deadly()), ProcessExecutor(n_workers=1))
    assert REDONE_AT_MOST == 3


@pytest.mark.slow
def test_processes_write_the_bytes_that_one_process_writes(plan: ShardPlan, tmp_path: Path) -> None:
    alone = run(plan)
    two = run(dataclasses.replace(plan, folder=tmp_path / "two"), ProcessExecutor(n_workers=2))
    assert {k: s.sha256 for k, s in alone.shards.items()} == {
        k: s.sha256 for k, s in two.shards.items()
    }


def test_a_folder_takes_one_driver_at_a_time(plan: ShardPlan) -> None:
    with alone_in(plan.folder, "is testing"), pytest.raises(UserError, match="is sampling into"):
        run(plan)
    assert list(plan.folder.iterdir()) == []
    assert run(plan).is_complete
