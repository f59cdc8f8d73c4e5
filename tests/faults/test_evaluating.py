"""An evaluation that is killed keeps the relaxations it has finished."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import numpy as np
import pytest

from matgen import Crystal, Sample
from matgen.io.writing import write_samples
from tests.faults.conftest import Process, Start

N = 400


def evaluating(start: Start, crystals: Path, out: Path) -> Process:
    return start(
        "evaluate", crystals, "--relax", "spheres", "--hull", "none", "--reference", "none",
        "--evaluator", "toy:packing", "--workers", 1, "--device", "cpu", "--json", "--out", out,
    )  # fmt: skip


@pytest.mark.slow
def test_a_killed_evaluation_relaxes_nothing_twice(start: Start, tmp_path: Path) -> None:
    crystals, out = tmp_path / "crystals.jsonl", tmp_path / "report"
    cells = (3.0 + 0.001 * k for k in range(N))
    samples = (
        Sample(k, Crystal(cell * np.eye(3), np.zeros((1, 3)), np.array([29])))
        for k, cell in enumerate(cells)
    )
    write_samples(crystals, samples, asked=N)
    log = out / "relaxations.jsonl"
    process = evaluating(start, crystals, out)
    process.signal_after(20, log, signal.SIGKILL)
    assert process.ended().returncode == -signal.SIGKILL
    *finished, _ = log.read_text().split("\n")
    assert 20 <= len(finished) < N, "the evaluation was over before it was killed"
    done = evaluating(start, crystals, out).ended()
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["asked"] == N
    lines = log.read_text().splitlines()
    assert lines[: len(finished)] == finished
    assert len(lines) == len({json.loads(line)["key"] for line in lines}) == N
