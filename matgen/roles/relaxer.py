"""Role: an interatomic potential that relaxes crystals."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from matgen.roles.component import Component

if TYPE_CHECKING:
    from ase.calculators.calculator import Calculator

    from matgen.records import Crystal, Relaxation


class RelaxerSession(ABC):
    """An opened relaxer: weights loaded, ready for crystals."""

    @abstractmethod
    def relax(self, crystals: Sequence[Crystal]) -> Iterator[Relaxation]:
        """Yield one relaxation per crystal, in order. A failure is a result, never an exception."""


class Relaxer(Component):
    """A potential with its optimiser settings."""

    energy_scale: ClassVar[str]
    """What its total energies compare with: ``mp2020`` (corrected) or ``pbe+u`` (raw) …"""

    fmax_ev_per_ang: float = Field(default=0.05, gt=0)
    """Converged when no force (and cell force) exceeds this, eV/Å."""
    max_steps: int = Field(default=500, ge=0)
    """Optimiser steps per crystal; 0 gives a single point."""
    max_seconds: float = Field(default=120.0, gt=0)
    """Wall time per crystal; what is reached then is returned unconverged."""

    @abstractmethod
    def open(self, device: str) -> RelaxerSession:
        """Load the potential.

        Raises:
            MissingDependency: the package or its weights are not there; says what to install or
                which file to put where.
        """


class AseRelaxer(Relaxer):
    """A relaxer made from an ase calculator; write ``calculator`` and nothing else."""

    @abstractmethod
    def calculator(self, device: str) -> Calculator:
        """Return the loaded calculator.

        Raises:
            MissingDependency: as ``open``.
        """

    def open(self, device: str) -> RelaxerSession:
        """Return a session that relaxes cell and sites with FIRE and a Frechet cell filter."""
        from matgen.evaluation.ase_relaxation import AseSession

        return AseSession(self, self.calculator(device))
