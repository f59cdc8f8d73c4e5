"""Relaxation of cell and sites with any ase calculator, one crystal at a time, always in bounds."""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final

import numpy as np

from matgen.crystal.checks import check_crystal, min_distance
from matgen.crystal.periodic import plane_spacings
from matgen.errors import BadCrystal
from matgen.records import Crystal, Relaxation
from matgen.roles.relaxer import Relaxer, RelaxerSession

if TYPE_CHECKING:
    from ase import Atoms
    from ase.calculators.calculator import Calculator

_OVERLAP_ANG: Final = 0.5
"""Nearer than this no two nuclei of a solid come; potentials know nothing of it."""
_COLLAPSED_ANG: Final = 0.3
"""On the way, atoms may be pushed through what a start may not show."""
_VOLUME_PER_SITE_ANG3: Final = (1.0, 1000.0)
"""Outside it a cell is no solid; in a huge one neighbour lists cost without end."""
_THINNEST_CELL_ANG: Final = 0.5
"""Distance of opposite cell faces below which a neighbour list has thousands of images."""
_LARGEST_VOLUME_RATIO: Final = 3.0
_SMALLEST_VOLUME_RATIO: Final = 1.0 / 3.0


class _Exploded(Exception):
    """The optimiser left physics; the text says how."""


class AseSession(RelaxerSession):
    """Relaxes with FIRE on ase's Frechet cell filter."""

    def __init__(self, relaxer: Relaxer, calculator: Calculator) -> None:
        self._relaxer = relaxer
        self._calculator = calculator

    def relax(self, crystals: Sequence[Crystal]) -> Iterator[Relaxation]:
        """Yield one relaxation per crystal, in order; a failure says why in ``error``."""
        for crystal in crystals:
            reason = objection(crystal)
            yield Relaxation(None, error=reason) if reason else self._relaxed(crystal)

    def _relaxed(self, crystal: Crystal) -> Relaxation:
        started = time.monotonic()
        progress = _Progress()
        try:
            with warnings.catch_warnings():
                # Potentials warn about isolated atoms and the like at every step.
                warnings.simplefilter("ignore")
                return self._optimised(crystal, started, progress)
        except _Exploded as error:
            reason = str(error)
        except Exception as error:  # noqa: BLE001 - the fence around one sample
            reason = f"{type(error).__name__}: {error}"
        return Relaxation(
            None,
            initial_energy=progress.initial_energy,
            n_steps=progress.n_steps,
            seconds=time.monotonic() - started,
            error=reason,
        )

    def _optimised(self, crystal: Crystal, started: float, progress: _Progress) -> Relaxation:
        from ase.filters import FrechetCellFilter
        from ase.optimize import FIRE

        atoms = crystal.to_atoms()
        atoms.calc = self._calculator
        progress.initial_energy = _checked_energy(atoms, crystal.volume)
        converged = False
        with FIRE(FrechetCellFilter(atoms), logfile=None) as optimiser:
            for converged in optimiser.irun(  # noqa: B007 - read after the loop
                fmax=self._relaxer.fmax_ev_per_ang, steps=self._relaxer.max_steps
            ):
                progress.n_steps = optimiser.nsteps
                _checked_energy(atoms, crystal.volume)
                if time.monotonic() - started > self._relaxer.max_seconds:
                    break
        return Relaxation(
            Crystal.from_atoms(atoms).with_oxidation(crystal.oxidation),
            energy=float(atoms.get_potential_energy()),
            initial_energy=progress.initial_energy,
            converged=bool(converged),
            n_steps=progress.n_steps,
            seconds=time.monotonic() - started,
        )


class _Progress:
    """What was reached when something went wrong."""

    def __init__(self) -> None:
        self.initial_energy: float | None = None
        self.n_steps = 0


def objection(crystal: Crystal) -> str:
    """Return why a crystal is not worth a potential's time, empty if it is."""
    try:
        check_crystal(crystal, min_distance=_OVERLAP_ANG)
    except BadCrystal as error:
        return str(error)
    smallest, largest = _VOLUME_PER_SITE_ANG3
    per_site = crystal.volume / crystal.n_sites
    if not smallest <= per_site <= largest:
        return f"{per_site:.3g} Å3 per site is outside {smallest:g} to {largest:g}"
    thickness = float(plane_spacings(crystal.lattice).min())
    if thickness < _THINNEST_CELL_ANG:
        return f"the cell is {thickness:.3g} Å thin; at least {_THINNEST_CELL_ANG:g} Å is needed"
    return ""


def _checked_energy(atoms: Atoms, start_volume: float) -> float:
    """Return the potential energy, eV, after looking whether cell and forces are still sane."""
    ratio = atoms.get_volume() / start_volume
    # Also false for a volume that is not a number.
    if not _SMALLEST_VOLUME_RATIO <= ratio <= _LARGEST_VOLUME_RATIO:
        raise _Exploded(
            f"the volume became {ratio:.3g} times the original; stopped outside "
            f"{_SMALLEST_VOLUME_RATIO:.2g} to {_LARGEST_VOLUME_RATIO:g}"
        )
    nearest = min_distance(Crystal.from_atoms(atoms))
    if nearest < _COLLAPSED_ANG:
        raise _Exploded(f"two sites came within {nearest:.3g} Å of each other")
    energy = float(atoms.get_potential_energy())
    if not (np.isfinite(energy) and np.isfinite(atoms.get_forces()).all()):
        raise _Exploded("energy or forces are not finite")
    return energy
