"""Role: reference energies that say how stable a composition is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from matgen.roles.component import Component

if TYPE_CHECKING:
    from matgen.records import Crystal
    from matgen.roles.relaxer import Relaxer


@dataclass(frozen=True)
class StableCalls:
    """How often "stable" was right, where DFT says who is.

    Attributes:
        threshold_ev_per_atom: Up to here a crystal counts as stable, inclusive.
        n_true: Stable by DFT.
        n_called: Stable by the potential.
        n_both: Stable by both.
    """

    threshold_ev_per_atom: float
    n_true: int
    n_called: int
    n_both: int

    @property
    def precision(self) -> float | None:
        """Share of those called stable that are; None if none was."""
        return self.n_both / self.n_called if self.n_called else None

    @property
    def recall(self) -> float | None:
        """Share of the stable ones that were called so; None if there are none."""
        return self.n_both / self.n_true if self.n_true else None


@dataclass(frozen=True)
class Calibration:
    """How a potential's distances from a hull compare with DFT's on crystals it never saw.

    Attributes:
        crystals: Which they were, and whether they were relaxed with the potential.
        n: How many.
        bias_ev_per_atom: Mean of potential less DFT: negative where crystals look too stable.
        mae_ev_per_atom: Mean absolute difference.
        stable: At several thresholds.
    """

    crystals: str
    n: int
    bias_ev_per_atom: float
    mae_ev_per_atom: float
    stable: tuple[StableCalls, ...]


class Hull(ABC):
    """An opened hull reference, for the energies of one potential."""

    @abstractmethod
    def distance(self, crystal: Crystal, energy: float) -> float:
        """Return the energy above the hull, eV/atom; negative below it.

        Args:
            crystal: Gives the composition; its bonds may decide corrections.
            energy: Total energy of the cell as the potential gives it, eV: a hull that corrects
                raw energies does so itself.

        Raises:
            OutsideHull: an element of the crystal has no reference.
        """

    def own_distances(
        self, crystals: Sequence[Crystal], energies: Sequence[float]
    ) -> list[float | None] | None:
        """Return how far crystals lie above the hull that they make themselves, eV/atom.

        Of each chemical system, the crystals take the place of the reference's phases in it;
        phases of the systems within stay. Nothing lies below this hull.

        Args:
            crystals: All that join.
            energies: Total energies as for ``distance``.

        Returns:
            None for a crystal outside the hull; None for a hull that knows no phases.
        """
        del crystals, energies
        return None

    def decomposition(self, crystal: Crystal) -> Mapping[str, float] | None:
        """Return what a composition falls apart into: reduced formula to share of the atoms.

        The shares are of the lowest mixture of known phases and add up to 1. A phase of the
        crystal's own composition is one of its products, alone.

        Returns:
            None for a hull that knows no phases.

        Raises:
            OutsideHull: an element of the crystal has no reference.
        """
        del crystal
        return None

    def notes(self) -> Mapping[str, str | float]:
        """Return what a reader of distances must know: which hull, how large, what corrections."""
        return {}

    def calibration(self) -> Calibration | None:
        """Return how good distances of this potential from this hull are, None if unknown."""
        return None


class HullReference(Component):
    """A set of reference phases on one energy scale."""

    energy_scale: ClassVar[str]
    """Compared with ``Relaxer.energy_scale`` in ``plan.py``; a mismatch is refused."""
    corrects: ClassVar[frozenset[str]] = frozenset()
    """Raw scales whose energies the opened hull corrects itself: it takes relaxers on them, too."""

    @abstractmethod
    def open(self, relaxer: Relaxer) -> Hull:
        """Load the reference.

        Args:
            relaxer: The potential whose energies will come: its name and settings decide which
                elemental references fit, its scale what is corrected.

        Raises:
            BadOptions: ``lacks`` says why.
            BadFile: a file of the reference cannot be read.
        """

    def takes(self, energy_scale: str) -> bool:
        """Whether energies on a scale can be compared with it, corrected first if need be."""
        return energy_scale == self.energy_scale or energy_scale in self.corrects

    def lacks(self, relaxer: Relaxer) -> str:
        """Return what is missing for a potential whose scale is taken, empty if nothing is."""
        del relaxer
        return ""
