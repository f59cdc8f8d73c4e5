"""A real cluster of two workers on this machine, where Ray is installed."""

from __future__ import annotations

import itertools
import os

import pytest

from matgen.errors import MissingDependency, WorkerDied
from matgen_ray.executor import RayExecutor

pytestmark = pytest.mark.slow


def opened_or_skipped(executor: RayExecutor):  # type: ignore[no-untyped-def]  # a context of a Pool
    context = executor.open()
    try:
        return context, context.__enter__()
    except MissingDependency as error:
        pytest.skip(str(error))


def _die(item: int) -> int:
    os._exit(item)


def _fail(item: int) -> int:
    raise OSError(28, "No space left on device", "shard")


def test_order_errors_and_deaths_arrive_as_from_any_executor() -> None:
    context, pool = opened_or_skipped(RayExecutor(n_workers=2, max_retries=0))
    try:
        assert list(pool.map(abs, range(-5, 1))) == [5, 4, 3, 2, 1, 0]
        assert list(itertools.islice(pool.map(abs, itertools.count(-3)), 4)) == [3, 2, 1, 0]
        with pytest.raises(OSError, match="No space left"):
            list(pool.map(_fail, [1]))
        with pytest.raises(WorkerDied, match="Ray lost a task"):
            list(pool.map(_die, [1]))
    finally:
        context.__exit__(None, None, None)
