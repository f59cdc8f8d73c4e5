"""Relaxation of cell and sites with any ase calculator, one crystal at a time, always in bounds."""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from matgen.evaluation.relaxation_bounds import burst_cell, collapse, objection
from matgen.records import Crystal, Relaxation
from matgen.roles.relaxer import Relaxer, RelaxerSession

if TYPE_CHECKING:
    from ase import Atoms
    from ase.calculators.calculator import Calculator


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
        from ase.optimize import FIRE

        atoms = crystal.to_atoms()
        atoms.calc = self._calculator
        progress.initial_energy = _checked_energy(atoms)
        converged = False
        with FIRE(_guarded_cell(atoms, crystal), logfile=None) as optimiser:
            for converged in optimiser.irun(  # noqa: B007 - read after the loop
                fmax=self._relaxer.fmax_ev_per_ang, steps=self._relaxer.max_steps
            ):
                progress.n_steps = optimiser.nsteps
                _checked_energy(atoms)
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


def _guarded_cell(atoms: Atoms, start: Crystal) -> Any:  # ase's filter, untyped
    """Return a Frechet cell filter that shows the potential no crystal out of bounds."""
    from ase.filters import FrechetCellFilter

    class _Guarded(FrechetCellFilter):
        # ase's own filters call the argument differently.
        def set_positions(self, new: Any, **kwargs: Any) -> None:  # type: ignore[override]
            super().set_positions(new, **kwargs)  # type: ignore[no-untyped-call]
            reason = burst_cell(start, atoms.cell.array) or collapse(Crystal.from_atoms(atoms))
            if reason:
                raise _Exploded(reason)

    return _Guarded(atoms)  # type: ignore[no-untyped-call]


def _checked_energy(atoms: Atoms) -> float:
    """Return the potential energy, eV, after looking whether it and the forces are numbers."""
    energy = float(atoms.get_potential_energy())
    if not (np.isfinite(energy) and np.isfinite(atoms.get_forces()).all()):
        raise _Exploded("energy or forces are not finite")
    return energy
