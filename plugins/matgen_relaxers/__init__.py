"""Interatomic potentials, one file each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from matgen import hookimpl

if TYPE_CHECKING:
    from matgen.roles.relaxer import Relaxer


@hookimpl
def matgen_relaxers() -> list[type[Relaxer]]:
    """Return ``chgnet`` and ``mattersim``."""
    from matgen_relaxers.chgnet import Chgnet
    from matgen_relaxers.mattersim import MatterSim

    return [Chgnet, MatterSim]
