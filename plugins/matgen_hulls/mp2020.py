"""The hull of Materials Project formation energies with MP2020 corrections.

A crystal's formation energy comes from the potential's total energy less elemental reference
energies that were fitted to that potential (``tools/fit_elemental_references.py``), so that a
constant bias per element cancels.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import ClassVar, Final

from matgen.errors import BadFile, BadOptions
from matgen.evaluation.energy_corrections import RAW_SCALE, Scheme
from matgen.io.hull_file import read_hull_file
from matgen.roles.hull import HullReference
from matgen.roles.relaxer import Relaxer
from matgen_hulls.fits import (
    REFERENCES,
    ElementalFit,
    calibration_of,
    elemental_fits,
    file_digest,
    shipped_against_whole,
)
from matgen_hulls.phase_hull import PhaseHull
from matgen_hulls.phases import Phases

SHIPPED: Final = Path(__file__).parent / "data" / "hull_mp2020.parquet"


class Mp2020(HullReference):
    """Formation energies of the Materials Project on the MP2020 correction scale.

    The shipped file holds the 43,989 entries whose licence allows it (CC BY 4.0). Against the
    whole Materials Project it puts crystals too low: the report says by how much. Energies of raw
    potentials (``pbe+u``) are corrected first, those of corrected ones never again.
    """

    name = "mp2020"
    energy_scale = "mp2020"
    corrects: ClassVar[frozenset[str]] = frozenset({RAW_SCALE})
    cites = (
        "Jain et al., APL Materials 1, 011002 (2013)",
        "Wang et al., Sci. Rep. 11, 15496 (2021)",
    )

    path: str = ""
    """Parquet file with the columns composition (a formula) and formation_energy_per_atom
    (eV/atom); empty for the shipped one."""
    references: str = ""
    """JSON file of elemental reference energies that tools/fit_elemental_references.py wrote for
    your potential; empty for the shipped ones."""

    def open(self, relaxer: Relaxer) -> PhaseHull:
        """Load entries and the elemental references of a potential.

        Raises:
            BadOptions: no elemental references are fitted for this potential.
            BadFile: the file is missing or lacks a column.
        """
        fit = self._fit(relaxer)
        if fit is None:
            raise BadOptions(self.lacks(relaxer))
        scheme: Scheme = "mp2020" if relaxer.energy_scale == RAW_SCALE else "none"
        phases = self.phases()
        return PhaseHull(
            phases,
            references=fit.references,
            scheme=scheme,
            notes={**self._told(phases), **_told_of(fit)},
            calibration=calibration_of(relaxer, file_digest(self._path())),
        )

    def phases(self) -> Phases:
        """Return the known phases with their formation energies, the elements at zero.

        Raises:
            BadFile: the file is missing or lacks a column.
        """
        path = self._path()
        return _phases(path, path.stat().st_mtime_ns if path.exists() else 0)

    def lacks(self, relaxer: Relaxer) -> str:
        """Return that no elemental references are fitted for a potential."""
        if self._fit(relaxer) is not None:
            return ""
        fitted = sorted({_named(fit.relaxer, fit.settings) for fit in self._fits()})
        from matgen.evaluation.energy_log import energy_settings

        return (
            "no elemental references are fitted for the potential "
            f"{_named(relaxer.name, energy_settings(relaxer))}; the mp2020 hull has them for "
            f"{', '.join(fitted)}; fit yours with tools/fit_elemental_references.py, or compare "
            "with a hull of its own energies (matgen hull build)"
        )

    def _path(self) -> Path:
        return Path(self.path).expanduser() if self.path else SHIPPED

    def _fits(self) -> list[ElementalFit]:
        return elemental_fits(Path(self.references).expanduser() if self.references else REFERENCES)

    def _fit(self, relaxer: Relaxer) -> ElementalFit | None:
        scheme = "mp2020" if relaxer.energy_scale == RAW_SCALE else "none"
        fits = (fit for fit in self._fits() if fit.fits(relaxer) and fit.correction == scheme)
        return next(fits, None)

    def _told(self, phases: Phases) -> dict[str, str | float]:
        told: dict[str, str | float] = {
            "hull": f"{self._path().name}, formation energies, MP2020 corrections",
            "hull_entries": phases.n_phases - len(phases.pure),  # the file's, not our zeros
        }
        if not self.path:
            told["hull_licence"] = "CC BY 4.0: what may be passed on, not the whole hull"
            told["shipped_against_whole_hull"] = shipped_against_whole()
        return told


def _told_of(fit: ElementalFit) -> dict[str, str | float]:
    return {
        "energies_corrected": "no, the potential's already are"
        if fit.correction == "none"
        else f"yes, {fit.correction}",
        "elemental_references_bias_ev_per_atom": fit.held_out["bias_ev_per_atom"],
        "elemental_references_mae_ev_per_atom": fit.held_out["mae_ev_per_atom"],
    }


@lru_cache(maxsize=4)
def _phases(path: Path, changed: int) -> Phases:
    """Return the phases of a file with the elements, whose formation energy is zero."""
    del changed  # when the file was: another one is read anew
    file = read_hull_file(path, "formation")
    if file.note.get("energy_scale", "mp2020") != "mp2020":
        raise BadFile(f"{path} is on the energy scale {file.note['energy_scale']}, not on mp2020")
    elements = sorted(file.elements)
    return Phases([*(({symbol: 1.0}, 0.0) for symbol in elements), *file.entries])


def _named(relaxer: str, settings: dict[str, object]) -> str:
    told = ", ".join(f"{name}={value}" for name, value in settings.items() if value)
    return f"{relaxer} ({told})" if told else relaxer
