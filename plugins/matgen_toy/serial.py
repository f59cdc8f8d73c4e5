"""The executor of the toy set: no workers at all."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import TypeVar

from matgen.roles.executor import Executor, Pool

T = TypeVar("T")
R = TypeVar("R")


class _Here(Pool):
    def map(self, task: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
        return map(task, items)


class Serial(Executor):
    """Does the work in the calling process, one piece after another."""

    name = "serial"

    def open(self) -> AbstractContextManager[Pool]:
        """Return a pool without workers; nothing to stop."""
        return nullcontext(_Here())
