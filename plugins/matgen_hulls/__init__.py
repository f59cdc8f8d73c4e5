"""Hull references, each on one energy scale."""

from __future__ import annotations

from typing import TYPE_CHECKING

from matgen import hookimpl

if TYPE_CHECKING:
    from matgen.roles.hull import HullReference


@hookimpl
def matgen_hulls() -> list[type[HullReference]]:
    """Return ``mp2020`` and ``file``."""
    from matgen_hulls.file import FileOfTotals
    from matgen_hulls.mp2020 import Mp2020

    return [Mp2020, FileOfTotals]
