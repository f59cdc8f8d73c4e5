"""A real cluster of two workers on this machine; Ray comes with the dev extra."""

from __future__ import annotations

import importlib.util
import itertools
import os

import pytest

from matgen.errors import MissingDependency, WorkerDied
from matgen_ray.executor import RayExecutor


def _die(item: int) -> int:
    os._exit(item)


def _fail(item: int) -> int:
    raise OSError(28, "No space left on device", "shard")


@pytest.mark.slow
def test_order_errors_and_deaths_arrive_as_from_any_executor() -> None:
    with RayExecutor(n_workers=2, max_retries=0).open() as pool:
        assert list(pool.map(abs, range(-5, 1))) == [5, 4, 3, 2, 1, 0]
        assert list(itertools.islice(pool.map(abs, itertools.count(-3)), 4)) == [3, 2, 1, 0]
        with pytest.raises(OSError, match="No space left"):
            list(pool.map(_fail, [1]))
        with pytest.raises(WorkerDied, match="Ray lost a task"):
            list(pool.map(_die, [1]))


def test_without_the_package_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(MissingDependency, match="pip install"), RayExecutor().open():
        pass
