"""VASP with the inputs of the Materials Project: relaxation, then a static run."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from matgen import Calculation, Crystal, Outcome, State, Step
from matgen.errors import BadCrystal
from matgen_dft.vasp_output import VaspOutput, outcome_of

if TYPE_CHECKING:
    from pymatgen.core.structure import Structure

RELAX, STATIC = "relax", "static"


class Vasp(Calculation):
    """Band gap and magnetic density from pymatgen's MPRelaxSet, then MPStaticSet.

    VASP's potentials are licensed: where pymatgen is not told where yours are (``pmg config -p``),
    POTCAR.spec says which ones belong into POTCAR, and the run waits for it.
    """

    name = "vasp"
    properties = ("band_gap", "magnetic_density")
    program = "vasp_std"
    cites = (
        "Jain et al., Comput. Mater. Sci. 50, 2295 (2011)",
        "Kresse and Furthmüller, Phys. Rev. B 54, 11169 (1996)",
    )

    incar: dict[str, str | int | float | bool] = Field(default_factory=dict)
    """Tags that replace those of the sets, as ``{EDIFF = 1e-6}``."""

    def advance(self, crystal: Crystal, folder: Path) -> State:
        """Return the next step or the outcome.

        Raises:
            BadCrystal: the sets have no inputs for it.
        """
        relaxed = self._step(RELAX, crystal, folder)
        if not isinstance(relaxed, VaspOutput):
            return relaxed
        static = self._step(STATIC, relaxed.crystal, folder)
        if not isinstance(static, VaspOutput):
            return static
        return outcome_of(static)

    def _step(self, name: str, crystal: Crystal, folder: Path) -> VaspOutput | State:
        own = folder / name
        if not (own / "POSCAR").exists():
            self._write(name, crystal.to_structure(), own)
        found = VaspOutput.read(own)
        if found is None:
            lacks = "" if (own / "POTCAR").exists() else f"make {name}/POTCAR from POTCAR.spec"
            return Step(name, own, (), "vasp.out", lacks)
        return Outcome(error=f"{name}: {found.unconverged}") if found.unconverged else found

    def _write(self, name: str, structure: Structure, own: Path) -> None:
        from pymatgen.core import SETTINGS
        from pymatgen.io.vasp.sets import MPRelaxSet, MPStaticSet

        kind: Any = MPRelaxSet if name == RELAX else MPStaticSet
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                inputs = kind(structure, user_incar_settings=self.incar)
                spec = not SETTINGS.get("PMG_VASP_PSP_DIR")
                inputs.write_input(own, make_dir_if_not_present=True, potcar_spec=spec)
            except (ValueError, KeyError, OSError) as error:
                raise BadCrystal(f"no VASP inputs for {structure.formula}: {error}") from None
