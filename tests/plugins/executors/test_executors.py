"""Both executors give the same answers; processes die cleanly."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import signal
import time

import pytest

from matgen.errors import UserError
from matgen_executors.local import LocalExecutor
from matgen_executors.processes import ProcessExecutor


def _kill_this_worker(item: int) -> int:
    os.kill(os.getpid(), signal.SIGKILL)
    return item


def _own_pid(item: int) -> int:
    return os.getpid()


def test_the_local_executor_computes_only_what_is_asked_for() -> None:
    with LocalExecutor().open() as pool:
        endless = pool.map(abs, itertools.count(-3))
        assert list(itertools.islice(endless, 4)) == [3, 2, 1, 0]


@pytest.mark.slow
def test_processes_keep_the_order_of_an_uneven_number_of_items() -> None:
    with ProcessExecutor(n_workers=2, chunk_size=3).open() as pool:
        assert list(pool.map(abs, range(-10, 1))) == list(range(10, -1, -1))
        assert list(pool.map(abs, [])) == []
        assert os.getpid() not in set(pool.map(_own_pid, range(4)))
        endless = pool.map(abs, itertools.count(-3))
        assert list(itertools.islice(endless, 4)) == [3, 2, 1, 0]


@pytest.mark.slow
def test_a_killed_worker_is_an_error_that_says_so() -> None:
    with (
        pytest.raises(UserError, match="died without an error"),
        ProcessExecutor(n_workers=1).open() as pool,
    ):
        list(pool.map(_kill_this_worker, [1]))


@pytest.mark.slow
def test_an_error_in_a_task_arrives_as_itself() -> None:
    with pytest.raises(TypeError), ProcessExecutor(n_workers=1).open() as pool:
        list(pool.map(abs, ["text"]))  # type: ignore[arg-type]  # the error under test


@pytest.mark.slow
def test_ctrl_c_leaves_no_worker_behind() -> None:
    before = set(multiprocessing.active_children())
    with pytest.raises(KeyboardInterrupt), ProcessExecutor(n_workers=1).open() as pool:
        next(pool.map(abs, [-1, -2]))
        workers = set(multiprocessing.active_children()) - before
        raise KeyboardInterrupt
    assert workers
    # Asked again: while the pool's own thread reaps a worker, one look may still call it alive.
    deadline = time.monotonic() + 30
    while any(worker.is_alive() for worker in workers) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(worker.is_alive() for worker in workers)
