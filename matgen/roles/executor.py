"""Role: where independent pieces of work run."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from typing import TypeVar

from matgen.roles.component import Component

T = TypeVar("T")
R = TypeVar("R")


class Pool(ABC):
    """Opened workers."""

    @abstractmethod
    def map(self, task: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
        """Yield ``task(item)`` for each item, in order; task and items must be picklable."""


class Executor(Component):
    """Starts workers."""

    @abstractmethod
    def open(self) -> AbstractContextManager[Pool]:
        """Start the workers; leaving the context stops them, also on Ctrl-C."""
