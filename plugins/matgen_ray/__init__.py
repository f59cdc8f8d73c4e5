"""Work spread over the machines of a Ray cluster; needs ``pip install 'matgen[ray]'``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from matgen import hookimpl

if TYPE_CHECKING:
    from matgen.roles.executor import Executor


@hookimpl
def matgen_executors() -> list[type[Executor]]:
    from matgen_ray.executor import RayExecutor

    return [RayExecutor]
