"""Interatomic potentials, one file each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from matgen import hookimpl

if TYPE_CHECKING:
    from matgen.roles.relaxer import Relaxer


@hookimpl
def matgen_relaxers() -> list[type[Relaxer]]:
    """Return the potentials; their packages are imported when one is opened."""
    from matgen_relaxers.chgnet import Chgnet
    from matgen_relaxers.mace import Mace
    from matgen_relaxers.mattersim import MatterSim
    from matgen_relaxers.orb import Orb
    from matgen_relaxers.sevennet import SevenNet

    return [Chgnet, SevenNet, MatterSim, Mace, Orb]
