"""Lattice vibrations of a relaxed crystal: does it lie in a minimum, or on a saddle?"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from matgen.crystal.primitive import primitive_cell
from matgen.errors import BadCrystal, MissingDependency
from matgen.records import Crystal
from matgen.roles.relaxer import Forces, Relaxer

DISPLACEMENT_ANG: Final = 0.01
"""How far sites are moved; phonopy's default."""
MESH: Final = (8, 8, 8)
"""q-points of the supercell's spectrum."""
TIGHT_EV_PER_ANG: Final = 0.005
"""Forces that a crystal may keep before its vibrations are calculated."""
TIGHT_STEPS: Final = 500
SYMPREC_ANG: Final = 1e-3


@dataclass(frozen=True)
class Vibrations:
    """Lowest frequencies, negative for imaginary ones.

    Attributes:
        lowest_at_gamma_thz: Of the cell itself; the three translations are 0.
        lowest_thz: Of the whole zone, from a 2×2×2 supercell; None where Γ alone was looked at.
        highest_thz: Of what was looked at.
        n_sites: Of the primitive cell.
        n_displacements: Supercells that forces were calculated for.
        error: Why there are no frequencies, empty if there are.
    """

    lowest_at_gamma_thz: float | None = None
    lowest_thz: float | None = None
    highest_thz: float | None = None
    n_sites: int = 0
    n_displacements: int = 0
    error: str = ""

    def verdict(self, imaginary_thz: float) -> str:
        """Return ``stable``, ``unstable at Γ``, ``unstable`` or ``failed: …``.

        Args:
            imaginary_thz: Imaginary frequencies up to this size count as noise.
        """
        if self.error:
            return f"failed: {self.error}"
        if self.lowest_at_gamma_thz is not None and self.lowest_at_gamma_thz < -imaginary_thz:
            return "unstable at Γ"
        if self.lowest_thz is not None and self.lowest_thz < -imaginary_thz:
            return "unstable"
        return "stable"


def require_phonopy() -> None:
    """Look for phonopy.

    Raises:
        MissingDependency: it is not installed.
    """
    from importlib.util import find_spec

    if find_spec("phonopy") is None:
        raise MissingDependency("phonons need phonopy; pip install matgen[phonons]")


class VibrationCheck:
    """Calculates vibrations with one potential, loaded once."""

    def __init__(self, relaxer: Relaxer, device: str) -> None:
        """Load the potential.

        Raises:
            MissingDependency: phonopy, or what the potential needs.
            BadOptions: the potential gives no forces here.
        """
        require_phonopy()
        self._forces: Forces = relaxer.forces(device)
        tight = {"fmax_ev_per_ang": TIGHT_EV_PER_ANG, "max_steps": TIGHT_STEPS}
        self._session = relaxer.model_copy(update=tight).open(device)

    def vibrations(
        self, crystal: Crystal, *, imaginary_thz: float, progress: Callable[[str], None]
    ) -> Vibrations:
        """Return the lowest frequencies: Γ first, and the supercell only where Γ is stable.

        Args:
            crystal: As relaxed; its forces are taken down further first.
            imaginary_thz: As for ``Vibrations.verdict``.
            progress: Told what begins.
        """
        progress("relaxing tightly")
        (relaxation,) = self._session.relax([primitive_cell(crystal, symprec=SYMPREC_ANG)])
        if relaxation.crystal is None:
            return Vibrations(error=f"relaxing tightly: {relaxation.error}")
        if not relaxation.converged:
            return Vibrations(error=f"forces stay above {TIGHT_EV_PER_ANG} eV/Å")
        cell = replace(relaxation.crystal, oxidation=None)
        try:
            progress("Γ")
            gamma, n_gamma = self._frequencies(cell, 1, None)
            found = Vibrations(
                lowest_at_gamma_thz=float(gamma.min()),
                highest_thz=float(gamma.max()),
                n_sites=cell.n_sites,
                n_displacements=n_gamma,
            )
            if found.verdict(imaginary_thz) != "stable":
                return found
            progress("2×2×2")
            whole, n_whole = self._frequencies(cell, 2, MESH)
        except (BadCrystal, RuntimeError, ValueError, np.linalg.LinAlgError) as error:
            return Vibrations(n_sites=cell.n_sites, error=f"{type(error).__name__}: {error}")
        return replace(
            found,
            lowest_thz=float(whole.min()),
            highest_thz=max(float(whole.max()), found.highest_thz or 0.0),
            n_displacements=n_gamma + n_whole,
        )

    def _frequencies(
        self, cell: Crystal, times: int, mesh: tuple[int, int, int] | None
    ) -> tuple[NDArray[np.float64], int]:
        """Return frequencies in THz and the number of displaced supercells.

        Args:
            times: The supercell is so many cells along each axis.
            mesh: q-points; None for Γ alone.
        """
        from phonopy import Phonopy
        from phonopy.structure.atoms import PhonopyAtoms

        atoms = PhonopyAtoms(
            numbers=cell.numbers, cell=cell.lattice, scaled_positions=cell.frac % 1.0
        )
        phonon: Any = Phonopy(
            atoms,
            supercell_matrix=np.diag([times] * 3),
            primitive_matrix=np.eye(3),
            symprec=SYMPREC_ANG,
        )
        phonon.generate_displacements(distance=DISPLACEMENT_ANG)
        moved = phonon.supercells_with_displacements
        still = self._forces(_crystal(phonon.supercell))
        # What forces the relaxation left are no answer to the displacement.
        phonon.forces = [self._forces(_crystal(supercell)) - still for supercell in moved]
        phonon.produce_force_constants()
        phonon.symmetrize_force_constants()
        if mesh is None:
            phonon.run_qpoints([[0.0, 0.0, 0.0]])
            frequencies = phonon.get_qpoints_dict()["frequencies"]
        else:
            with warnings.catch_warnings():
                # That it uses less symmetry on some lattices; the frequencies are the same.
                warnings.simplefilter("ignore")
                phonon.run_mesh(list(mesh))
            frequencies = phonon.get_mesh_dict()["frequencies"]
        return np.asarray(frequencies, dtype=np.float64), len(moved)


def _crystal(atoms: Any) -> Crystal:  # phonopy's atoms
    return Crystal(
        np.array(atoms.cell, dtype=np.float64),
        np.array(atoms.scaled_positions, dtype=np.float64),
        np.array(atoms.numbers, dtype=np.int64),
    )
