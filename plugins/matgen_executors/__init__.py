"""Executors that need nothing but Python: in this process, or in worker processes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from matgen import hookimpl

if TYPE_CHECKING:
    from matgen.roles.executor import Executor


@hookimpl
def matgen_executors() -> list[type[Executor]]:
    """Return ``local`` and ``processes``."""
    from matgen_executors.local import LocalExecutor
    from matgen_executors.processes import ProcessExecutor

    return [LocalExecutor, ProcessExecutor]
