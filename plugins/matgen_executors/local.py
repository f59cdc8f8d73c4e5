"""Work done here and now, one piece after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import TypeVar

from matgen.roles.executor import Executor, Pool

T = TypeVar("T")
R = TypeVar("R")


class LocalPool(Pool):
    """The calling process itself."""

    def map(self, task: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
        """Yield ``task(item)`` for each item, computed when it is asked for."""
        for item in items:
            yield task(item)


class LocalExecutor(Executor):
    """Runs everything in the calling process."""

    name = "local"

    def open(self) -> AbstractContextManager[Pool]:
        """Return a pool that starts nothing."""
        return nullcontext(LocalPool())
