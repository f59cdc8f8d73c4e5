"""What two equal crystals may differ by."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pymatgen.analysis.structure_matcher import StructureMatcher


@dataclass(frozen=True, slots=True)
class Tolerances:
    """What StructureMatcher allows two equal crystals to differ by.

    Attributes:
        length: Relative difference of cell lengths (``ltol``).
        site: Distance of paired sites over the mean free length per site, (V/N)^(1/3) (``stol``).
        angle_deg: Difference of cell angles.
        scale: Bring both cells to one volume first.
        supercell: Try multiples of the smaller cell.
    """

    length: float = 0.2
    site: float = 0.3
    angle_deg: float = 5.0
    scale: bool = True
    supercell: bool = False

    def pymatgen(self) -> StructureMatcher:
        """Return pymatgen's matcher with these tolerances, which ours must agree with."""
        from pymatgen.analysis.structure_matcher import StructureMatcher

        return StructureMatcher(
            ltol=self.length,
            stol=self.site,
            angle_tol=self.angle_deg,
            primitive_cell=True,
            scale=self.scale,
            attempt_supercell=self.supercell,
        )

    def to_json(self) -> dict[str, float | bool]:
        """Return what a report says about the matcher."""
        return asdict(self)

    def __str__(self) -> str:
        text = f"ltol={self.length:g},stol={self.site:g},angle_tol={self.angle_deg:g}"
        text += "" if self.scale else ",scale=false"
        return text + (",supercell=true" if self.supercell else "")


DEFAULT: Final = Tolerances()
"""pymatgen's defaults; MatterGen's "ordered" matcher."""
RMSD: Final = Tolerances(length=0.5, site=0.5, angle_deg=10.0, scale=False, supercell=True)
"""MatterGen's matcher for the displacement on relaxation."""
