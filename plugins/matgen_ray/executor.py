"""The executor ``ray``: tasks on a cluster, or on this machine where no cluster is named."""

from __future__ import annotations

import importlib.util
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from itertools import islice
from typing import Any, Final, TypeVar

from pydantic import Field

from matgen.errors import MissingDependency, UserError, WorkerDied
from matgen.roles.executor import Executor, Pool

T = TypeVar("T")
R = TypeVar("R")

_IN_FLIGHT_PER_WORKER: Final = 2
"""So that a worker has something to do while the driver looks at what another one made."""


class RayPool(Pool):
    """A connection to a cluster."""

    def __init__(self, settings: RayExecutor, n_workers: int) -> None:
        self._settings = settings
        self._n_workers = n_workers

    def map(self, task: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
        """Yield ``task(item)`` for each item, in order.

        Raises:
            WorkerDied: a task died more often than Ray was to repeat it.
        """
        import ray
        from ray.exceptions import RayError, RayTaskError

        # Of any type: Ray's own decorators are not typed for tasks made at run time.
        remote: Any = ray.remote(_call).options(
            num_cpus=self._settings.num_cpus,
            num_gpus=self._settings.num_gpus,
            max_retries=self._settings.max_retries,
        )
        held = ray.put(task)
        left = iter(items)
        waiting: deque[Any] = deque()  # references to results
        try:
            for item in islice(left, _IN_FLIGHT_PER_WORKER * self._n_workers):
                waiting.append(remote.remote(held, item))
            while waiting:
                result: R = ray.get(waiting.popleft())
                for item in islice(left, 1):
                    waiting.append(remote.remote(held, item))
                yield result
        except RayTaskError as error:
            # What the task raised, as any other executor gives it.
            if isinstance(error.cause, Exception):
                raise error.cause from None
            raise
        except RayError as error:
            told = str(error).partition("\n")[0]
            raise WorkerDied(f"Ray lost a task and its repetitions: {told}") from None
        finally:
            for reference in waiting:
                ray.cancel(reference, force=True)


class RayExecutor(Executor):
    """Runs pieces of work as Ray tasks."""

    name = "ray"

    address: str = ""
    """Of the cluster: host:port, or auto for the one this machine belongs to; empty starts one on
    this machine, for as long as the work lasts."""
    n_workers: int = Field(default=0, ge=0)
    """Tasks at a time; 0 takes as many as the cluster has processors for."""
    num_cpus: float = Field(default=1.0, gt=0)
    """Processors per task, and its threads; Ray runs as many tasks at a time as fit."""
    num_gpus: float = Field(default=0.0, ge=0)
    """Devices per task; a part of one shares it."""
    max_retries: int = Field(default=3, ge=0)
    """Times that Ray repeats a task whose worker died."""

    @contextmanager
    def _opened(self) -> Iterator[Pool]:
        if importlib.util.find_spec("ray") is None:
            raise MissingDependency(
                "the executor ray needs the package ray: pip install 'matgen[ray]'"
            )
        import ray

        if ray.is_initialized():
            raise UserError("this process is connected to a Ray cluster already; disconnect first")
        settings: dict[str, Any] = {"log_to_driver": False, "logging_level": "error"}
        if self.address:
            settings["address"] = self.address
        else:
            settings["include_dashboard"] = False
            if self.n_workers:
                settings["num_cpus"] = self.n_workers * self.num_cpus
        try:
            ray.init(**settings)
        except ConnectionError as error:
            told = str(error).partition("\n")[0]
            raise UserError(f"no Ray cluster answers at {self.address!r}: {told}") from None
        try:
            yield RayPool(self, self.n_workers or self._fitting())
        finally:
            ray.shutdown()

    def open(self) -> AbstractContextManager[Pool]:
        """Join the cluster, or start one here; leaving the context leaves or ends it.

        Raises:
            MissingDependency: no package ray.
            UserError: no cluster at the address.
        """
        return self._opened()

    def _fitting(self) -> int:
        """Return how many tasks the cluster has room for."""
        import ray

        resources: dict[str, float] = ray.cluster_resources()
        return max(1, int(resources.get("CPU", 1.0) / self.num_cpus))


def _call(task: Callable[[T], R], item: T) -> R:
    return task(item)
