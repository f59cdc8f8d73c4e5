"""Work spread over processes of this machine."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sized
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager, contextmanager
from itertools import islice
from typing import TypeVar

from pydantic import Field

from matgen.errors import WorkerDied
from matgen.roles.executor import Executor, Pool

T = TypeVar("T")
R = TypeVar("R")

_CHUNKS_PER_WORKER = 8
"""Enough pieces that one slow item does not leave the other workers idle."""
_LARGEST_CHUNK = 16
_CHUNKS_IN_FLIGHT_PER_WORKER = 2
"""Bounds what is pickled ahead of its turn, so that an endless iterable can be mapped."""


class ProcessPool(Pool):
    """Started worker processes."""

    def __init__(self, executor: ProcessPoolExecutor, *, n_workers: int, chunk_size: int) -> None:
        self._executor = executor
        self._n_workers = n_workers
        self._chunk_size = chunk_size

    def map(self, task: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
        """Yield ``task(item)`` for each item, in order.

        Raises:
            WorkerDied: a worker died without an exception: killed, or out of memory.
        """
        pieces = _chunks(items, self._chunk_size or self._fitting_chunk(items))
        waiting: deque[Future[list[R]]] = deque()
        try:
            for piece in islice(pieces, _CHUNKS_IN_FLIGHT_PER_WORKER * self._n_workers):
                waiting.append(self._executor.submit(_run, task, piece))
            while waiting:
                results = waiting.popleft().result()
                for piece in islice(pieces, 1):
                    waiting.append(self._executor.submit(_run, task, piece))
                yield from results
        except BrokenProcessPool:
            raise WorkerDied(
                f"one of {self._n_workers} worker processes died without an error of its own "
                "(killed, or out of memory); use fewer workers (n_workers) or the local executor"
            ) from None
        finally:
            for future in waiting:
                future.cancel()

    def _fitting_chunk(self, items: Iterable[object]) -> int:
        if not isinstance(items, Sized):
            return 1
        return max(1, min(_LARGEST_CHUNK, len(items) // (_CHUNKS_PER_WORKER * self._n_workers)))


class ProcessExecutor(Executor):
    """Runs pieces of work in processes of this machine, each a fresh interpreter."""

    name = "processes"

    n_workers: int = Field(default=0, ge=0)
    """Worker processes; 0 takes one per core that this process may use."""
    chunk_size: int = Field(default=0, ge=0)
    """Items sent to a worker at a time; 0 chooses from their number."""

    @contextmanager
    def _opened(self) -> Iterator[Pool]:
        n_workers = self.n_workers or _cores()
        before = set(multiprocessing.active_children())
        # Spawned, not forked: a fork of a process with torch's threads can deadlock.
        executor = ProcessPoolExecutor(
            n_workers, mp_context=multiprocessing.get_context("spawn"), initializer=_become_worker
        )
        try:
            yield ProcessPool(executor, n_workers=n_workers, chunk_size=self.chunk_size)
        except BaseException:
            # Also on Ctrl-C: what is being computed is of no use any more.
            executor.shutdown(wait=False, cancel_futures=True)
            for process in set(multiprocessing.active_children()) - before:
                process.terminate()
            raise
        else:
            executor.shutdown(wait=True, cancel_futures=True)

    def open(self) -> AbstractContextManager[Pool]:
        """Start the workers (on the first piece of work); leaving the context stops them."""
        return self._opened()


def _cores() -> int:
    """Return the cores this process may use, which in a container are fewer than the machine's."""
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _become_worker() -> None:
    """Leave Ctrl-C to the parent and take one thread, before any numerical library is loaded.

    Libraries read the variable when they load. Limiting torch later is not enough: two workers with
    two threads each on two cores relaxed crystals more than four times slower.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.putenv("OMP_NUM_THREADS", "1")
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """End this worker when its parent is gone; one that is killed tells nobody."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _run(task: Callable[[T], R], piece: list[T]) -> list[R]:
    return [task(item) for item in piece]


def _chunks(items: Iterable[T], size: int) -> Iterator[list[T]]:
    iterator = iter(items)
    while piece := list(islice(iterator, size)):
        yield piece
