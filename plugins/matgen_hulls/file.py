"""A hull from a file: your own reference, or what ``matgen hull build`` made of somebody's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from matgen.errors import BadOptions
from matgen.evaluation.energy_corrections import RAW_SCALE, Scheme
from matgen.evaluation.energy_log import energy_settings, potential_of
from matgen.io.hull_file import HullFile, note_of, read_hull_file
from matgen.roles.hull import HullReference
from matgen.roles.relaxer import Relaxer
from matgen_hulls.fits import calibration_of, file_digest
from matgen_hulls.phase_hull import PhaseHull
from matgen_hulls.phases import Phases


class FileOfTotals(HullReference):
    """Total energies per atom of known phases, from a file.

    Nothing is fitted: what a crystal decomposes into, elements included, is in the file, so a
    sample with an element that has no entry of its own is outside this hull. Build one with
    `matgen hull build`, from DFT energies or with the potential that relaxes your samples.
    """

    name = "file"
    cites = ("Ong et al., Chem. Mater. 20, 1798 (2008)",)

    path: str
    """Parquet file with the columns composition (a formula) and energy_per_atom (eV/atom)."""
    scale: str = ""
    """Energy scale of a file that does not say it itself: mp2020, tri2024, pbe+u …"""

    @property
    def energy_scale(self) -> str:  # type: ignore[override]  # of the file, not of the class
        """The scale that the file says it is on, else the one in the settings.

        Raises:
            BadOptions: neither says it, or they disagree.
            BadFile: the file cannot be read.
        """
        stated = str(self._note().get("energy_scale", ""))
        if stated and self.scale and stated != self.scale:
            raise BadOptions(f"{self.path} says that it is on {stated!r}, not on {self.scale!r}")
        if not (stated or self.scale):
            raise BadOptions(
                f"{self.path} does not say on which energy scale it is; add hull.scale=mp2020 for "
                "MP2020-corrected energies, hull.scale=pbe+u for raw ones"
            )
        return stated or self.scale

    @property
    def corrects(self) -> frozenset[str]:  # type: ignore[override]  # as the scale is
        """Raw energies, where the file is on the scale of a correction scheme."""
        return frozenset({RAW_SCALE}) if self.energy_scale in ("mp2020", "tri2024") else frozenset()

    def open(self, relaxer: Relaxer) -> PhaseHull:
        """Load the entries.

        Raises:
            BadFile: the file is missing, lacks a column, or holds no pure element.
        """
        path = Path(self.path).expanduser()
        file = read_hull_file(path, "total")
        scale = self.energy_scale
        raw = relaxer.energy_scale == RAW_SCALE and scale != RAW_SCALE
        scheme: Scheme = "none"
        if raw:
            scheme = "tri2024" if scale == "tri2024" else "mp2020"
        return PhaseHull(
            Phases(file.entries),
            scheme=scheme,
            notes=self._told(file, relaxer, scheme),
            calibration=calibration_of(relaxer, file_digest(path)),
        )

    def _note(self) -> dict[str, Any]:  # JSON
        return note_of(Path(self.path).expanduser())

    def _told(self, file: HullFile, relaxer: Relaxer, scheme: Scheme) -> dict[str, str | float]:
        note = file.note
        told: dict[str, str | float] = {
            "hull": f"{Path(self.path).name}, total energies on the scale {self.energy_scale}",
            "hull_entries": len(file.entries),
            "hull_elements": len(file.pure),
            "energies_corrected": "no" if scheme == "none" else f"yes, {scheme}",
        }
        for key in ("source", "licence", "remarks"):
            if note.get(key):
                told[f"hull_{key}"] = str(note[key])
        potential = note.get("potential")
        if isinstance(potential, dict):
            release = potential.get("package") or "release not known"
            told["hull_potential"] = f"{potential['relaxer']} ({release})"
            if _differs(potential, relaxer):
                told["hull_warning"] = (
                    "the entries are energies of another potential than the samples': their "
                    "errors do not cancel"
                )
        return told


def _differs(potential: dict[str, Any], relaxer: Relaxer) -> bool:  # JSON of potential_of
    """Whether energies of a file are of another potential than a relaxer, as far as is known."""
    releases = {potential.get("package"), potential_of(relaxer)["package"]} - {"", None}
    settings = potential.get("settings", {})
    own = energy_settings(relaxer)
    return (
        potential["relaxer"] != relaxer.name
        or len(releases) > 1  # one is empty where the potential runs in another interpreter
        or any(settings.get(name) != value for name, value in own.items())
    )
