"""Band gap and magnetic density with Quantum ESPRESSO, as the Materium paper calculates them."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field

from matgen import Calculation, Crystal, Outcome, State, Step, elements
from matgen.atomic import write_text
from matgen.errors import BadFile, BadOptions
from matgen_dft.espresso_input import Namelists, Value, grid_card, path_card, pw_input
from matgen_dft.espresso_output import PwOutput, band_gap
from matgen_dft.k_points import band_path, monkhorst_pack
from matgen_dft.pseudopotentials import Cutoffs, Pseudopotential, PseudopotentialFolder

PREFIX = "matgen"
RELAX, SCF, BANDS = "relax", "scf", "bands"


class Espresso(Calculation):
    """What both properties share: the pseudopotentials, and relaxing cell and sites with spin."""

    program = "pw.x"

    pseudopotentials: str = ""
    """Folder of UPF files, as pw.x can read them; the paper takes the SSSP library."""
    files: dict[str, str] = Field(default_factory=dict)
    """Element to file name in that folder, where it has several or a table is to be overruled."""
    any_functional: bool = False
    """Take pseudopotentials that were not made with PBE."""
    waves_cutoff_ry: float = Field(default=60.0, gt=0)
    """Least cutoff of plane waves, Ry; SSSP's table may ask for more."""
    density_cutoff_ry: float = Field(default=600.0, gt=0)
    """Least cutoff of the density, Ry."""
    conv_threshold_ry: float = Field(default=1e-6, gt=0)
    """Estimated error of the energy at which the electrons have converged, Ry."""
    force_threshold: float = Field(default=1e-3, gt=0)
    """Largest force on a site of a relaxed crystal, Ry/bohr."""
    pressure_threshold_kbar: float = Field(default=0.5, gt=0)
    """Largest pressure of a relaxed crystal, kbar."""
    mixing_beta: float = Field(default=0.4, gt=0, le=1)
    """Share of the new density in each step; the mode is local-TF."""
    smearing: Literal["methfessel-paxton", "gaussian"] = "methfessel-paxton"
    """How occupations are smeared."""
    smearing_width_ry: float = Field(default=0.01, gt=0)
    """Width of the smearing, Ry."""
    start_of_transition_metals: float = Field(default=0.8, ge=-1, le=1)
    """Magnetisation to start from, as a share of the valence electrons."""
    start_of_others: float = Field(default=0.1, ge=-1, le=1)
    """The same for all other elements."""
    relax_k_points: float = Field(default=1000.0, gt=0)
    """k-points per reciprocal atom while relaxing. The paper does not say how many it takes."""
    electron_steps: int = Field(default=200, ge=1)
    """Steps in which the electrons have to converge."""
    relax_steps: int = Field(default=100, ge=1)
    """Steps in which the cell has to relax."""

    def check(self) -> None:
        """Look for the folder.

        Raises:
            BadOptions, BadFile: it is not there, or its table cannot be read.
        """
        self._folder()

    def advance(self, crystal: Crystal, folder: Path) -> State:
        """Return the next step or the outcome; an output that cannot be read is a failure."""
        used = {z: self._folder().of(z) for z in dict.fromkeys(crystal.numbers.tolist())}
        try:
            relaxed = self._relaxed(crystal, folder, used)
            return (
                relaxed if not isinstance(relaxed, PwOutput) else self._after(relaxed, folder, used)
            )
        except BadFile as error:
            return Outcome(error=str(error))

    @abstractmethod
    def _after(self, relaxed: PwOutput, folder: Path, used: Mapping[int, Pseudopotential]) -> State:
        """Return what follows the relaxation."""

    def _relaxed(
        self, crystal: Crystal, folder: Path, used: Mapping[int, Pseudopotential]
    ) -> PwOutput | State:
        grid = monkhorst_pack(crystal, self.relax_k_points)
        control: dict[str, Value] = {
            "forc_conv_thr": self.force_threshold,
            "nstep": self.relax_steps,
            "tprnfor": True,
            "tstress": True,
        }
        namelists: Namelists = {
            **self._namelists("vc-relax", RELAX, used, control, {}),
            "ions": {"ion_dynamics": "bfgs"},
            "cell": {"cell_dynamics": "bfgs", "press_conv_thr": self.pressure_threshold_kbar},
        }
        return self._step(RELAX, folder, pw_input(crystal, namelists, used, grid_card(grid)))

    def _step(self, name: str, folder: Path, text: str) -> PwOutput | State:
        """Return the whole output of a step, the step if it has none, or how it failed."""
        given, output = folder / f"{name}.in", folder / f"{name}.out"
        if not given.exists() or given.read_text(encoding="utf-8") != text:
            write_text(given, text)
        found = PwOutput.read(output)
        if found is None:
            return Step(name, folder, ("-in", given.name), output.name)
        problem = found.error or found.unconverged
        return Outcome(error=f"{name}: {problem}") if problem else found

    def _namelists(
        self,
        calculation: str,
        own_folder: str,
        used: Mapping[int, Pseudopotential],
        control: Mapping[str, Value],
        system: Mapping[str, Value],
    ) -> Namelists:
        least = Cutoffs(self.waves_cutoff_ry, self.density_cutoff_ry)
        cutoffs = self._folder().cutoffs(list(used), least)
        starts: dict[str, Value] = {
            f"starting_magnetization({place})": self._start(z)
            for place, z in enumerate(used, start=1)
        }
        return {
            "control": {
                "calculation": calculation,
                "prefix": PREFIX,
                "outdir": f"{own_folder}.save",
                "pseudo_dir": str(Path(self.pseudopotentials).resolve()),
                "verbosity": "high",
                **control,
            },
            "system": {
                "ecutwfc": cutoffs.waves,
                "ecutrho": cutoffs.density,
                "occupations": "smearing",
                "smearing": self.smearing,
                "degauss": self.smearing_width_ry,
                "nspin": 2,
                **starts,
                **system,
            },
            "electrons": {
                "conv_thr": self.conv_threshold_ry,
                "electron_maxstep": self.electron_steps,
                "mixing_mode": "local-TF",
                "mixing_beta": self.mixing_beta,
            },
        }

    def _start(self, number: int) -> float:
        transition = 21 <= number <= 30 or 39 <= number <= 48 or 71 <= number <= 80
        return self.start_of_transition_metals if transition else self.start_of_others

    def _folder(self) -> PseudopotentialFolder:
        if not self.pseudopotentials:
            raise BadOptions(
                "say where the pseudopotentials are: --pseudo DIR; the paper takes the SSSP library"
            )
        unknown = set(self.files) - set(elements.symbols[1:])
        if unknown:
            raise BadOptions(f"calculation.files names {sorted(unknown)[0]}, which is no element")
        return _opened(
            Path(self.pseudopotentials), tuple(sorted(self.files.items())), self.any_functional
        )


@lru_cache(maxsize=4)
def _opened(
    folder: Path,
    files: tuple[tuple[str, str], ...],
    any_functional: bool,  # noqa: FBT001 - a key of the cache
) -> PseudopotentialFolder:
    """Return a folder whose headers are read once for all crystals."""
    return PseudopotentialFolder(folder, dict(files), any_functional=any_functional)


class MagneticDensity(Espresso):
    """Magnetic density: the total magnetisation of the relaxed cell by its volume, μB/Å³.

    Source: Materium, arXiv:2512.07486, appendix A: spin-polarised PBE, vc-relax until forces are
    below 10⁻³ a.u. and the pressure below 0.5 kbar, 60 / 600 Ry, Methfessel–Paxton 0.01 Ry.
    Deviates: the appendix does not tell the k-points of the relaxation; see ``relax_k_points``.
    """

    name = "magnetic_density"
    properties = ("magnetic_density",)
    cites = (
        "Materium, arXiv:2512.07486, appendix A",
        "Giannozzi et al., J. Phys.: Condens. Matter 29, 465901 (2017)",
    )

    def _after(
        self,
        relaxed: PwOutput,
        folder: Path,  # noqa: ARG002 - the relaxation is all
        used: Mapping[int, Pseudopotential],  # noqa: ARG002
    ) -> State:
        crystal = relaxed.relaxed()
        moment = abs(relaxed.total_magnetisation)
        return Outcome(
            properties={"magnetic_density": moment / crystal.volume},
            crystal=crystal,
            facts={
                "total_magnetisation_mub": relaxed.total_magnetisation,
                "absolute_magnetisation_mub": relaxed.absolute_magnetisation,
                "volume_ang3": crystal.volume,
                "total_energy_ev": relaxed.total_energy_ev,
            },
        )


class BandGap(Espresso):
    """Band gap: relaxation, self-consistent field, bands along the high-symmetry path, eV.

    The gap is between the highest full and the lowest empty level of all k-points of grid and path.

    Source: Materium, arXiv:2512.07486, appendix B: as appendix A, but forces 10⁻², electrons
    10⁻⁴ Ry, 80 / 800 Ry, Gaussian smearing; a grid of 2,500 k-points per reciprocal atom; 30 points
    a segment; a quarter more bands than are occupied.
    Deviates: the appendix does not tell the k-points of the relaxation; see ``relax_k_points``.
    """

    name = "band_gap"
    properties = ("band_gap",)
    cites = (
        "Materium, arXiv:2512.07486, appendix B",
        "Giannozzi et al., J. Phys.: Condens. Matter 29, 465901 (2017)",
        "Setyawan and Curtarolo, Comput. Mater. Sci. 49, 299 (2010)",
    )

    waves_cutoff_ry: float = Field(default=80.0, gt=0)
    """Least cutoff of plane waves, Ry; SSSP's table may ask for more."""
    density_cutoff_ry: float = Field(default=800.0, gt=0)
    """Least cutoff of the density, Ry."""
    conv_threshold_ry: float = Field(default=1e-4, gt=0)
    """Estimated error of the energy at which the electrons have converged, Ry."""
    force_threshold: float = Field(default=1e-2, gt=0)
    """Largest force on a site of a relaxed crystal, Ry/bohr."""
    smearing: Literal["methfessel-paxton", "gaussian"] = "gaussian"
    """How occupations are smeared."""
    k_points: float = Field(default=2500.0, gt=0)
    """k-points per reciprocal atom of the self-consistent field."""
    points_per_segment: int = Field(default=30, ge=2)
    """k-points along each line of the path."""
    extra_bands: float = Field(default=0.25, gt=0)
    """Bands beyond the occupied ones, as a share of them; four at least."""
    symprec: float = Field(default=0.01, gt=0)
    """Tolerance of the symmetry that decides the path, Å."""

    def _after(self, relaxed: PwOutput, folder: Path, used: Mapping[int, Pseudopotential]) -> State:
        path = band_path(relaxed.relaxed(), self.symprec)
        crystal = path.crystal
        grid = grid_card(monkhorst_pack(crystal, self.k_points))
        bands = {"nbnd": self._n_bands(crystal, used)}
        namelists = self._namelists("scf", SCF, used, {}, bands)
        scf = self._step(SCF, folder, pw_input(crystal, namelists, used, grid))
        if not isinstance(scf, PwOutput):
            return scf
        namelists = self._namelists("bands", SCF, used, {}, bands)
        lines = path_card(path, self.points_per_segment)
        along = self._step(BANDS, folder, pw_input(crystal, namelists, used, lines))
        if not isinstance(along, PwOutput):
            return along
        moment = scf.total_magnetisation
        levels = [scf.bands(), along.bands()]
        found = [band_gap(part, scf.electrons, moment) for part in levels]
        # One zero level for both: the bands continue the field of the grid.
        whole = band_gap(np.concatenate(levels, axis=1), scf.electrons, moment)
        return Outcome(
            properties={"band_gap": whole.gap},
            crystal=crystal,
            facts={
                "band_gap_direct_ev": whole.direct,
                "band_gap_on_path_ev": found[1].gap,
                "band_gap_on_grid_ev": found[0].gap,
                "total_magnetisation_mub": moment,
                "volume_ang3": crystal.volume,
                "total_energy_ev": scf.total_energy_ev,
                "path": " | ".join("-".join(name for name, _ in b) for b in path.branches),
            },
        )

    def _n_bands(self, crystal: Crystal, used: Mapping[int, Pseudopotential]) -> int:
        valence = sum(used[z].valence for z in crystal.numbers.tolist())
        occupied = math.ceil(valence / 2)
        return occupied + max(4, math.ceil(self.extra_bands * occupied))
