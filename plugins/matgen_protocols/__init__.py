"""Ways of evaluating that results are compared under, one file each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from matgen import hookimpl

if TYPE_CHECKING:
    from matgen.roles.protocol import EvaluationProtocol


@hookimpl
def matgen_protocols() -> list[type[EvaluationProtocol]]:
    """Return our own protocol and those that were published."""
    from matgen_protocols.cdvae import Cdvae
    from matgen_protocols.crystalite import Crystalite
    from matgen_protocols.csp import StructurePrediction
    from matgen_protocols.lemat import LeMat
    from matgen_protocols.materium import Materium
    from matgen_protocols.matgen import Matgen
    from matgen_protocols.mattergen import MatterGen

    return [Matgen, MatterGen, Materium, LeMat, StructurePrediction, Cdvae, Crystalite]
