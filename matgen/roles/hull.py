"""Role: reference energies that say how stable a composition is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar

from matgen.roles.component import Component

if TYPE_CHECKING:
    from matgen.records import Crystal


class Hull(ABC):
    """An opened hull reference."""

    @abstractmethod
    def distance(self, crystal: Crystal, energy: float) -> float:
        """Return the energy above the hull, eV/atom; negative below it.

        Args:
            crystal: Gives the composition.
            energy: Total energy of the cell, eV, on the reference's energy scale.

        Raises:
            OutsideHull: an element of the crystal has no reference.
        """


class HullReference(Component):
    """A set of reference phases on one energy scale."""

    energy_scale: ClassVar[str]
    """Compared with ``Relaxer.energy_scale`` in ``plan.py``; a mismatch is refused."""

    @abstractmethod
    def open(self, relaxer: str) -> Hull:
        """Load the reference.

        Args:
            relaxer: Bare name of the potential whose energies will come, for the elemental
                references fitted to it.

        Raises:
            BadOptions: no elemental references are fitted for this potential.
        """
