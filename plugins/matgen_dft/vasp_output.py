"""What VASP left: vasprun.xml and OUTCAR, plain or gzipped, by pymatgen's readers."""

from __future__ import annotations

import gzip
import re
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from matgen import Crystal, Outcome

_MOMENT: Final = re.compile(r"number of electron\s+\S+\s+magnetization\s+(-?\d+\.\d+)")
_CUT_OFF: Final = (
    SyntaxError, ValueError, KeyError, IndexError, AttributeError, EOFError, OSError,
)  # fmt: skip
"""What pymatgen's readers raise about a file that ends too early."""


@dataclass(frozen=True)
class VaspOutput:
    """A run that came to its end.

    Attributes:
        crystal: Last cell and sites.
        band_gap: Of the k-points that were calculated, eV.
        magnetisation: Of the cell, μB; 0 without spin.
        energy: Total energy of the cell, eV.
        unconverged: What did not converge, empty if all did.
    """

    crystal: Crystal
    band_gap: float
    magnetisation: float
    energy: float
    unconverged: str

    @classmethod
    def read(cls, folder: Path) -> VaspOutput | None:
        """Return a run, None where there is none or it was cut off.

        Raises:
            BadCrystal: its structure is none that we can work with.
        """
        from pymatgen.io.vasp.outputs import Vasprun

        vasprun, outcar = _found(folder, "vasprun.xml"), _found(folder, "OUTCAR")
        if vasprun is None or outcar is None:
            return None
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                run = Vasprun(vasprun, parse_dos=False, parse_potcar_file=False)
                moment = _magnetisation(outcar)
            except _CUT_OFF:
                return None
            gap, *_ = run.eigenvalue_band_properties
            assert isinstance(gap, float)  # a pair only where spins are asked for apart
        problem = ""
        if not run.converged_electronic:
            problem = "the electrons did not converge"
        elif not run.converged_ionic:
            problem = "the cell did not relax within the steps"
        return cls(
            Crystal.from_structure(run.final_structure),
            max(0.0, gap),
            moment,
            float(run.final_energy),
            problem,
        )


def outcome_of(run: VaspOutput) -> Outcome:
    """Return gap and magnetic density of a run that converged."""
    volume = run.crystal.volume
    return Outcome(
        properties={
            "band_gap": run.band_gap,
            "magnetic_density": abs(run.magnetisation) / volume,
        },
        crystal=run.crystal,
        facts={
            "total_magnetisation_mub": run.magnetisation,
            "volume_ang3": volume,
            "total_energy_ev": run.energy,
        },
    )


def _magnetisation(outcar: Path) -> float:
    """Return the last magnetisation of the cell, μB; 0 where electrons have no spin."""
    whole = outcar.read_bytes()
    text = gzip.decompress(whole) if outcar.suffix == ".gz" else whole
    found = _MOMENT.findall(text.decode("utf-8", errors="replace"))
    return float(found[-1]) if found else 0.0


def newest(folder: Path) -> Path | None:
    """Return the folder of the run in or below a folder that ended last, None if there is none."""
    runs = [path for name in ("vasprun.xml", "vasprun.xml.gz") for path in folder.rglob(name)]
    return max(runs, key=lambda path: path.stat().st_mtime).parent if runs else None


def _found(folder: Path, name: str) -> Path | None:
    for path in (folder / name, folder / f"{name}.gz"):
        if path.is_file():
            return path
    return None
