"""Crystals are relaxed once, kept at once, shared between runs, and may kill their process."""

from __future__ import annotations

import json
import logging
import os
import signal
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from matgen.catalog import Catalog
from matgen.evaluation.relaxation_cache import RelaxationCache
from matgen.evaluation.relaxation_json import relaxation_from_json, relaxation_to_json
from matgen.evaluation.relaxation_log import RelaxationKeys, RelaxationLog
from matgen.evaluation.relaxing import Relaxing
from matgen.records import Crystal, Relaxation, Sample
from matgen.roles.relaxer import Relaxer, RelaxerSession
from matgen_executors.local import LocalExecutor
from matgen_executors.processes import ProcessExecutor

CELLS = [
    Crystal(np.eye(3) * length, np.zeros((1, 3)), np.array([29])) for length in (2.4, 2.5, 2.6, 9.9)
]
SAMPLES = [Sample(index, crystal) for index, crystal in enumerate(CELLS)]


class _Session(RelaxerSession):
    def relax(self, crystals: Sequence[Crystal]) -> Iterator[Relaxation]:
        _Still.asked.append(len(crystals))
        for crystal in crystals:
            if crystal.volume > 900:
                yield Relaxation(None, error="too large")
            else:
                yield Relaxation(crystal, -1.0, -1.0, converged=crystal.volume < 17, n_steps=3)


class _Still(Relaxer):
    """Moves nothing; the largest fails and the third does not converge."""

    name = "still"
    energy_scale = "toy"
    many: bool = False
    asked: ClassVar[list[int]] = []

    def takes_many(self, device: str) -> bool:
        return self.many

    def open(self, device: str) -> RelaxerSession:
        return _Session()


def _quiet(done: int, total: int) -> None:
    del done, total


def _run(relaxing: Relaxing, log: RelaxationLog | None = None) -> list[Relaxation]:
    _Still.asked.clear()
    with LocalExecutor().open() as pool:
        return relaxing.relaxations(SAMPLES, pool, log, _quiet)


def test_one_that_takes_many_gets_them_at_once() -> None:
    one = _run(Relaxing(_Still(), "cpu"))
    assert _Still.asked == [1, 1, 1, 1]
    many = _run(Relaxing(_Still(many=True), "cpu"))
    assert _Still.asked == [4]
    assert [r.error for r in one] == [r.error for r in many] == ["", "", "", "too large"]


def test_runs_share_what_ended_by_itself(tmp_path: Path) -> None:
    relaxing = Relaxing(_Still(), "cpu", cache=RelaxationCache(tmp_path / "cache"))
    first = _run(relaxing)
    again = _run(relaxing, RelaxationLog(tmp_path / "log"))
    # Neither the failure nor what the clock ended is kept: another machine may do better.
    assert _Still.asked == [1, 1]
    assert [relaxation_to_json(r) for r in again] == [relaxation_to_json(r) for r in first]
    assert len(RelaxationLog(tmp_path / "log").known) == 4
    _run(replace(relaxing, relaxer=_Still(max_steps=3)))
    assert _Still.asked == [1] * 4
    # At the cap of three steps the third is as good as it gets.
    _run(replace(relaxing, relaxer=_Still(max_steps=3)))
    assert _Still.asked == [1]


def test_a_damaged_file_of_the_cache_is_relaxed_anew(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    relaxing = Relaxing(_Still(), "cpu", cache=RelaxationCache(tmp_path))
    _run(relaxing)
    (damaged, _) = sorted(tmp_path.rglob("*.json"))
    damaged.write_text(damaged.read_text()[:50])
    with caplog.at_level(logging.WARNING):
        _run(relaxing)
    assert str(damaged) in caplog.text
    assert _Still.asked == [1, 1, 1]
    _run(relaxing)
    assert _Still.asked == [1, 1]


def test_the_key_holds_all_that_decides(tmp_path: Path) -> None:
    crystal = CELLS[0]
    catalog = Catalog.load()

    def key(crystal: Crystal, device: str = "cpu", **settings: object) -> str:
        relaxer = catalog.build("relaxer", "orb", settings)
        assert isinstance(relaxer, Relaxer)
        return RelaxationKeys(relaxer, device).of(crystal)

    weights = tmp_path / "weights.ckpt"
    weights.write_text("one")
    named = key(crystal, weights=str(weights))
    weights.write_text("another")
    moved = Crystal(crystal.lattice, crystal.frac + 1e-15, crystal.numbers)
    keys = [
        key(crystal), key(crystal, device="cuda"), key(crystal, max_steps=1), key(moved),
        named, key(crystal, weights=str(weights)),
    ]  # fmt: skip
    assert len(set(keys)) == len(keys)
    assert key(Crystal(*(np.array(a) for a in (crystal.lattice, crystal.frac, [29])))) == keys[0]


def test_json_gives_back_every_bit() -> None:
    rng = np.random.default_rng(1)
    crystal = Crystal(rng.normal(size=(3, 3)), rng.normal(size=(5, 3)), np.arange(1, 6))
    relaxation = Relaxation(crystal, float(rng.normal()) / 3, None, converged=True, seconds=0.1)
    back = relaxation_from_json(json.loads(json.dumps(relaxation_to_json(relaxation))))
    assert back.crystal is not None
    assert np.array_equal(back.crystal.lattice, crystal.lattice)
    assert np.array_equal(back.crystal.frac, crystal.frac)
    assert (back.energy, back.initial_energy) == (relaxation.energy, None)


@pytest.mark.slow
def test_processes_relax_apart_and_find_the_same() -> None:
    spheres = Catalog.load().build("relaxer", "toy:spheres")
    assert isinstance(spheres, Relaxer)
    alone = _run(Relaxing(spheres, "cpu"))
    heard: list[int] = []
    with ProcessExecutor(n_workers=1).open() as pool:
        apart = Relaxing(spheres, "cpu").relaxations(
            SAMPLES, pool, None, lambda done, total: heard.append(done)
        )
    for one, other in zip(alone, apart, strict=True):
        same = {"seconds": 0.0}
        assert relaxation_to_json(one) | same == relaxation_to_json(other) | same
    assert heard == [0, 1, 2, 3, 4]


@pytest.mark.slow
def test_a_crystal_that_kills_a_process_of_the_pool_is_one_failure() -> None:
    """The pool's own process lives on: it only supervises."""
    spheres = Catalog.load().build("relaxer", "toy:spheres")
    assert isinstance(spheres, Relaxer)
    killed = []

    def kill_relaxing(done: int, total: int) -> None:
        if done == 1:
            killed.extend(_workers_below(os.getpid()))
            for pid in killed:
                os.kill(pid, signal.SIGKILL)

    with ProcessExecutor(n_workers=1).open() as pool:
        found = Relaxing(spheres, "cpu").relaxations(SAMPLES, pool, None, kill_relaxing)
    assert killed
    expected = _run(Relaxing(spheres, "cpu"))
    assert [r.error for r in found] == [r.error for r in expected]


def _workers_below(pid: int) -> list[int]:
    """Return the processes that run ``matgen.worker`` below a process."""
    parents = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                stat = (folder / "stat").read_text()
                parents[int(folder.name)] = int(stat.rpartition(")")[2].split()[1])
            except OSError:
                continue
    below = {pid}
    for _ in range(4):
        below |= {child for child, parent in parents.items() if parent in below}
    named = [p for p in below if p != pid and Path(f"/proc/{p}/cmdline").exists()]
    return [p for p in named if b"matgen.worker" in Path(f"/proc/{p}/cmdline").read_bytes()]
