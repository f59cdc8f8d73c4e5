"""What watches training: progress in a terminal and in a log file, TensorBoard, and all at once."""

from __future__ import annotations

import math
import os
import pty
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from matgen.commands.observers import Observers
from matgen.commands.tensorboard import TensorBoard, installed_writer
from matgen.commands.train_progress import TrainProgress, memory_in_use
from matgen.training.progress import Progress, Validation


def progress(step: int, **changes: float) -> Progress:
    """Return a step of a run of 1000, a loss of 2 and an hour and a half left."""
    values = {"loss": 2.0, "learning_rate": 1e-3, "tokens_per_s": 1500.0, "seconds_left": 5400.0}
    return Progress(
        step=step,
        epoch=3,
        total_steps=1000,
        skipped_steps=int(changes.pop("skipped_steps", 0)),
        **{**values, **changes},
    )


def validation(step: int) -> Validation:
    return Validation(
        step, loss=1.5, given=1.25, free=1.75, kinds={"element": 1.0, "lattice": 2.0}, best=True
    )


@dataclass
class Clock:
    """Stands still until it is told to go."""

    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_log_file_gets_a_line_a_minute(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    with TrainProgress(live=False, clock=clock) as shown:
        for step in range(1, 301):
            clock.now += 0.5
            shown.on_step(progress(step))
    told = capsys.readouterr()
    assert told.out == ""
    assert [line.split()[1] for line in told.err.splitlines()] == ["120", "240"]


def test_a_line_tells_epoch_loss_speed_time_left_and_memory(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with TrainProgress(live=False, clock=Clock()) as shown:
        shown.on_step(progress(1000))
    [line] = capsys.readouterr().err.splitlines()
    assert re.fullmatch(
        r"step 1,000 of 1,000  epoch 3  loss 2\.000  1,500 tokens/s  1 h 30 min left  "
        r"memory \d+\.\d GB",
        line,
    )


def test_the_loss_is_the_mean_of_the_last_steps_that_had_one(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with TrainProgress(live=False, clock=Clock()) as shown:
        for loss in (*[9.0] * 50, *[1.0] * 10, *[3.0] * 10, math.nan):
            shown.on_step(progress(1, loss=loss))
        shown.on_step(progress(1000, loss=math.nan, skipped_steps=2))
    [line] = capsys.readouterr().err.splitlines()
    assert "loss 2.000" in line
    assert line.endswith("2 skipped")


def test_each_validation_is_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    with TrainProgress(live=False) as shown:
        shown.on_validation(validation(40))
    assert capsys.readouterr().err == (
        "step 40: validation 1.5000 nats/token (conditions given 1.2500, none 1.7500; "
        "element 1.000, lattice 2.000)  best\n"
    )


def test_a_terminal_gets_a_bar() -> None:
    code = """
from matgen.commands.train_progress import train_progress
from tests.cli.test_train_observers import progress
with train_progress() as shown:
    shown.on_step(progress(500))
"""
    ours, theirs = pty.openpty()
    environment = {"PYTHONPATH": os.pathsep.join(sys.path), "TERM": "xterm", "COLUMNS": "140"}
    with subprocess.Popen([sys.executable, "-c", code], stderr=theirs, env=environment) as process:
        os.close(theirs)
        shown = b""
        while chunk := _read(ours):
            shown += chunk
    assert process.returncode == 0, shown.decode()
    assert "\x1b[" in shown.decode()
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown.decode())
    assert re.search(r"training .* 500/1000 epoch 3  loss 2\.000  1,500 tokens/s", plain)


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:  # Linux says so when the other side has closed
        return b""


def test_this_process_takes_some_memory() -> None:
    assert 1e7 < memory_in_use() < 1e12


@dataclass
class Remembers:
    """An observer that writes down what it hears."""

    heard: list[object] = field(default_factory=list)

    def on_step(self, progress: Progress) -> None:
        self.heard.append(progress)

    def on_validation(self, validation: Validation) -> None:
        self.heard.append(validation)

    def on_checkpoint(self, path: Path) -> None:
        self.heard.append(path)


def test_all_observers_hear_everything_in_order() -> None:
    first, second = Remembers(), Remembers()
    both = Observers(first, second)
    both.on_step(progress(1))
    both.on_validation(validation(1))
    both.on_checkpoint(Path("here"))
    assert first.heard == second.heard == [progress(1), validation(1), Path("here")]


@dataclass
class FakeWriter:
    """Remembers points."""

    folder: Path
    purge_step: int
    points: list[tuple[str, float, int]] = field(default_factory=list)
    closed: bool = False

    def add_scalar(self, tag: str, scalar_value: float, global_step: int) -> None:
        self.points.append((tag, scalar_value, global_step))

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def opened() -> tuple[list[FakeWriter], Callable[[Path, int], FakeWriter]]:
    """The writers that were opened, and how to open one."""
    writers: list[FakeWriter] = []

    def open_writer(folder: Path, purge_step: int) -> FakeWriter:
        writers.append(FakeWriter(folder, purge_step))
        return writers[-1]

    return writers, open_writer


Opened = tuple[list[FakeWriter], Callable[[Path, int], FakeWriter]]


def test_tensorboard_gets_the_mean_loss_of_ten_steps(opened: Opened, tmp_path: Path) -> None:
    writers, open_writer = opened
    with TensorBoard(tmp_path, open_writer) as board:
        for step in range(1, 21):
            board.on_step(progress(step, loss=math.nan if step == 3 else float(step)))
    [writer] = writers
    assert writer.folder == tmp_path
    losses = [(value, step) for tag, value, step in writer.points if tag == "training/loss"]
    assert losses == [((55 - 3) / 9, 10), (15.5, 20)]
    assert ("training/learning_rate", 1e-3, 10) in writer.points
    assert ("training/tokens_per_s", 1500.0, 20) in writer.points
    assert writer.closed


def test_tensorboard_gets_each_loss_of_a_validation(opened: Opened, tmp_path: Path) -> None:
    writers, open_writer = opened
    with TensorBoard(tmp_path, open_writer) as board:
        board.on_validation(validation(40))
    assert writers[0].points == [
        ("validation/loss", 1.5, 40),
        ("validation/conditions_given", 1.25, 40),
        ("validation/none_given", 1.75, 40),
        ("validation_of_kind/element", 1.0, 40),
        ("validation_of_kind/lattice", 2.0, 40),
    ]


def test_a_run_that_goes_on_replaces_only_what_comes_again(opened: Opened, tmp_path: Path) -> None:
    writers, open_writer = opened
    TensorBoard(tmp_path, open_writer).on_step(progress(401))
    # A stop may have come between a step and the look after it: that step's points stay.
    TensorBoard(tmp_path, open_writer).on_validation(validation(400))
    assert [writer.purge_step for writer in writers] == [401, 401]


def test_without_tensorboard_nothing_is_written(tmp_path: Path) -> None:
    with TensorBoard(tmp_path / "board", None) as board:
        board.on_step(progress(10))
        board.on_validation(validation(10))
        board.on_checkpoint(tmp_path)
    assert not (tmp_path / "board").exists()


def test_a_run_that_heard_nothing_leaves_no_file(opened: Opened, tmp_path: Path) -> None:
    with TensorBoard(tmp_path / "board", opened[1]):
        pass
    assert opened[0] == []


def test_tensorboard_itself_shows_each_step_once_after_going_on(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard.compat")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    writer = installed_writer()
    assert writer is not None
    for steps in (range(1, 61), range(31, 81)):
        with TensorBoard(tmp_path, writer) as board:
            for step in steps:
                board.on_step(progress(step))
                if step % 20 == 0:
                    board.on_validation(validation(step))
    read = EventAccumulator(str(tmp_path))
    read.Reload()
    assert [point.step for point in read.Scalars("training/loss")] == list(range(10, 81, 10))
    assert [point.step for point in read.Scalars("validation/loss")] == [20, 40, 60, 80]
