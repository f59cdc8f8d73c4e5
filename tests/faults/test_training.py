"""Training that is killed, stopped, or damaged ends where it would have ended anyway."""

from __future__ import annotations

import random
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import TypeAlias

import pytest
import torch

from matgen.atomic import read_tensors
from tests.faults.conftest import DEADLINE_S, Process, Start

STEPS = 240
LAST = f"step-{STEPS:08d}"

Stopped: TypeAlias = "tuple[Path, subprocess.CompletedProcess[str]]"

pytestmark = pytest.mark.slow


def begin(start: Start, folder: Path) -> Process:
    """Start a run of several batches an epoch, each crystal in another order every time."""
    return start(
        "train", "--dataset", "textbook", "--preset", "tiny", "--ordering", "random",
        "--set", "ordering.redraw=epoch", "--cond", "density", "--cond", "materium:n_sites",
        "--batch-tokens", 120, "--max-steps", STEPS, "--epochs", 1000,
        "--set", "training.log_every=1",
        "--set", "training.checkpoint_every=6", "--set", "training.validate_every=50",
        "--device", "cpu", "--out", folder,
    )  # fmt: skip


def go_on(start: Start, folder: Path) -> subprocess.CompletedProcess[str]:
    done = start("train", "--resume", folder, "--device", "cpu").ended()
    assert done.returncode == 0, done.stderr
    return done


@pytest.fixture(scope="module")
def whole(start: Start, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nothing disturbed."""
    folder = tmp_path_factory.mktemp("runs") / "whole"
    done = begin(start, folder).ended()
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def stopped(start: Start, tmp_path_factory: pytest.TempPathFactory) -> Stopped:
    """A run that was sent SIGINT after 15 lines of metrics, and what it said."""
    folder = tmp_path_factory.mktemp("runs") / "stopped"
    process = begin(start, folder)
    process.signal_after(15, folder / "metrics.jsonl", signal.SIGINT)
    return folder, process.ended()


def steps_saved(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "checkpoints").glob("step-*"))


def assert_same_end(one: Path, other: Path) -> None:
    """Weights, averages and random states of the last step are the same bits."""
    for name in ("model.safetensors", "trainer.safetensors"):
        first, second = (read_tensors(run / "checkpoints" / LAST / name) for run in (one, other))
        assert first.keys() == second.keys()
        differ = [key for key in first if not torch.equal(first[key], second[key])]
        assert differ == []


def test_a_killed_run_goes_on_to_the_very_weights_of_one_never_killed(
    start: Start, whole: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "killed"
    process = begin(start, folder)
    lines = random.randint(8, 30)  # any step after the first checkpoint will do
    process.signal_after(lines, folder / "metrics.jsonl", signal.SIGKILL)
    assert process.ended().returncode == -signal.SIGKILL
    assert LAST not in steps_saved(folder), f"the run was over before it was killed ({lines} lines)"
    with (folder / "metrics.jsonl").open("a") as file:
        file.write('{"event": "step", "st')  # as if it had been killed while writing
    go_on(start, folder)
    assert_same_end(folder, whole)
    seen = re.findall(r'"event": "step", "step": (\d+)', (folder / "metrics.jsonl").read_text())
    assert [int(step) for step in seen] == list(range(1, STEPS + 1))


def test_ctrl_c_saves_and_says_how_to_go_on(
    stopped: Stopped,
) -> None:
    folder, done = stopped
    told = " ".join(done.stderr.split())
    assert done.returncode == 0
    assert f"go on with: matgen train --resume {folder}" in told
    [step] = re.findall(r"stopped and saved at step (\d+)", told)
    assert 0 < int(step) < STEPS  # lines are steps and validations
    assert steps_saved(folder)[-1] == f"step-{int(step):08d}"


def test_a_torn_newest_checkpoint_is_passed_over(
    start: Start,
    whole: Path,
    stopped: Stopped,
    tmp_path: Path,
) -> None:
    folder = tmp_path / "torn"
    shutil.copytree(stopped[0], folder)
    newest = folder / "checkpoints" / steps_saved(folder)[-1] / "model.safetensors"
    newest.write_bytes(newest.read_bytes()[:-100])
    done = go_on(start, folder)
    assert "passing over the damaged checkpoint" in done.stderr
    assert_same_end(folder, whole)


def test_a_full_disk_is_one_clear_line_and_leaves_what_was_there(
    start: Start, stopped: Stopped, tmp_path: Path
) -> None:
    folder = tmp_path / "full"
    shutil.copytree(stopped[0], folder)
    before = {p: p.read_bytes() for p in folder.rglob("*.safetensors")}
    done = start("train", "--resume", folder, "--device", "cpu", largest_file=500_000).ended()
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert "cannot write" in done.stderr
    assert {p: p.read_bytes() for p in folder.rglob("*.safetensors")} == before
    assert [p.name for p in folder.rglob(".*")] == []


def test_training_into_a_folder_that_holds_a_run_is_refused(start: Start, whole: Path) -> None:
    before = (whole / "run.json").read_bytes()
    done = begin(start, whole).ended()
    assert done.returncode == 2
    assert f"go on with --resume {whole}" in " ".join(done.stderr.split())
    assert (whole / "run.json").read_bytes() == before


def test_going_on_in_a_folder_that_is_no_run_says_so(start: Start, tmp_path: Path) -> None:
    done = start("train", "--resume", tmp_path).ended()
    assert done.returncode == 2
    assert "is no run directory" in " ".join(done.stderr.split())


def test_sigterm_saves_and_exits_as_if_all_were_well(
    start: Start, whole: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "preempted"
    process = begin(start, folder)
    process.signal_after(20, folder / "metrics.jsonl", signal.SIGTERM)
    done = process.ended()
    assert done.returncode == 0, done.stderr
    assert "stopped and saved at step" in " ".join(done.stderr.split())
    go_on(start, folder)
    assert_same_end(folder, whole)


def test_a_run_of_two_processes_goes_on_in_one(start: Start, tmp_path: Path) -> None:
    """Through torchrun, as a cluster does it: prepared once, stopped by a limit, then alone."""
    folder = tmp_path / "two"
    launcher = Path(__file__).parents[2] / "cli.py"
    done = subprocess.run(
        [
            sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2",
            str(launcher), "train", "--dataset", "textbook", "--preset", "tiny",
            "--cond", "density", "--batch-tokens", "120", "--max-steps", "6",
            "--set", "training.log_every=1",
            "--set", "backbone.dropout=0.0", "--device", "cpu", "--out", str(folder),
        ],
        capture_output=True, text=True, check=False, cwd=tmp_path, timeout=DEADLINE_S,
        env={"HOME": str(tmp_path), "PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    # One of them speaks.
    assert done.stdout.split() == [str(folder)]
    assert done.stderr.count("step 0: validation") == 1
    again = start("train", "--resume", folder, "--max-steps", 9, "--device", "cpu").ended()
    assert again.returncode == 0, again.stderr
    seen = re.findall(r'"event": "step", "step": (\d+)', (folder / "metrics.jsonl").read_text())
    assert [int(step) for step in seen] == list(range(1, 10))


def test_what_would_make_it_another_run_is_refused_when_a_run_goes_on(
    start: Start, stopped: Stopped
) -> None:
    for setting, told in (
        ("training.weight_decay=0.3", "settings.weight_decay = 0.05, now it is 0.3"),
        ("backbone.layers=3", "the run has its components already"),
        ("training.log_every=no", "training.log_every: input should be a valid integer"),
    ):
        done = start("train", "--resume", stopped[0], "--device", "cpu", "--set", setting).ended()
        assert done.returncode == 2
        assert told in " ".join(done.stderr.split())
