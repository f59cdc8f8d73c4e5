"""Several processes that train one model: the run of one process, whatever their number."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from matgen.training.batches import shares
from tests.unit.training.runs import furthest, metrics, run, trainer, validations, weights

pytestmark = pytest.mark.slow

RANK = """
import json, signal, sys
from pathlib import Path
from matgen.training.loop import train
from matgen.training.ranks import process_group
from tests.unit.small_model import Sentences, small_spec
from tests.unit.training.runs import Watcher, settings

rank, size, folder, chosen, stops = json.loads(sys.argv[1])
# Only one of them is told to stop: the others must hear of it.
watcher = Watcher(signal_after=stops if rank == size - 1 else None, number=signal.SIGTERM)
with process_group(rank, size, "cpu") as ranks:
    result = train(
        small_spec(dropout=0.0), Sentences(60, seed=1), Sentences(12, seed=2), settings(**chosen),
        Path(folder), observer=watcher, ranks=ranks,
    )
print(json.dumps([result.step, result.interrupted, len(watcher.checkpoints)]))
"""


def run_on(size: int, folder: Path, *, stops: int | None = None, **chosen: Any) -> list[Any]:
    """Train in ``size`` processes; return what each of them says at its end."""
    import json

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {
        **os.environ, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join(sys.path),
    }  # fmt: skip
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", RANK, json.dumps([rank, size, str(folder), chosen, stops])],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        )
        for rank in range(size)
    ]
    told = []
    for process in processes:
        out, err = process.communicate(timeout=240)
        assert process.returncode == 0, err
        told.append(json.loads(out.splitlines()[-1]))
    return told


def losses(folder: Path) -> list[float]:
    return [line["loss"] for line in metrics(folder)]


@pytest.mark.parametrize(
    "chosen",
    [
        {},
        # More ranks than some batches have sequences; several parts on each.
        {"batch_tokens": 16, "epochs": 1},
        {"micro_batch_tokens": 12, "ema_decay": 0.9, "kind_weights": {"word": 0.5}},
    ],
    ids=["plain", "few sequences", "in parts"],
)
def test_two_ranks_follow_the_loss_curve_of_one(tmp_path: Path, chosen: dict[str, Any]) -> None:
    run(tmp_path / "one", dropout=0.0, log_every=1, **chosen)
    told = run_on(2, tmp_path / "two", log_every=1, **chosen)
    assert told[0][0] == told[1][0] == metrics(tmp_path / "one")[-1]["step"]
    # The first writes, the other does not.
    assert told[0][2] > 0
    assert told[1][2] == 0
    assert losses(tmp_path / "two") == pytest.approx(losses(tmp_path / "one"), rel=2e-5)
    assert furthest(weights(tmp_path / "two"), weights(tmp_path / "one")) < 5e-5


def test_a_stop_that_one_rank_hears_stops_all_and_any_number_goes_on(tmp_path: Path) -> None:
    run(tmp_path / "one", dropout=0.0)
    told = run_on(2, tmp_path / "parts", stops=7)
    assert [(step, interrupted) for step, interrupted, _ in told] == [(8, True), (8, True)]
    run(tmp_path / "parts", dropout=0.0)
    assert furthest(weights(tmp_path / "parts"), weights(tmp_path / "one")) < 5e-5
    assert trainer(tmp_path / "parts").keys() == trainer(tmp_path / "one").keys()
    steps = [line["step"] for line in validations(tmp_path / "one")]
    assert [line["step"] for line in validations(tmp_path / "parts")] == steps


@pytest.mark.parametrize("n_ranks", [1, 2, 3, 8])
@pytest.mark.parametrize("positions", [1, 20, 10_000])
def test_a_batch_is_shared_out_whole_and_evenly(n_ranks: int, positions: int) -> None:
    rng = np.random.default_rng(n_ranks)
    lengths = np.sort(rng.integers(4, 20, size=50))
    indices = rng.permutation(50)
    dealt = shares(indices, lengths, n_ranks=n_ranks, positions=positions)
    assert len(dealt) == n_ranks
    assert sorted(np.concatenate([part for parts in dealt for part in parts])) == list(range(50))
    of = dict(zip(indices.tolist(), lengths.tolist(), strict=True))
    totals = [sum(of[int(i)] for part in parts for i in part) for parts in dealt]
    assert max(totals) - min(totals) <= 40 * max(len(parts) for parts in dealt)
    sizes = [sum(of[int(i)] for i in part) for parts in dealt for part in parts]
    assert max(sizes) < positions + 20
