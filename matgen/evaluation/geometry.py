"""Which geometry of a sample is compared: relaxed where relaxation ran, else as sampled."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    from matgen.evaluation.cohort import Cohort
    from matgen.records import Crystal

Geometry: TypeAlias = Literal["auto", "sampled"]
"""``auto``: relaxed where relaxation ran; ``sampled``: always as sampled."""


def compared(cohort: Cohort, geometry: Geometry = "auto") -> tuple[list[Crystal | None], str]:
    """Return the crystals to look for duplicates and known ones among, and what they are.

    As MatterGen does: relaxed geometries once relaxation ran, for every sample; one whose
    relaxation failed then has none, so that no rate mixes the two.
    """
    if cohort.relaxations is None or geometry == "sampled":
        return cohort.crystals, "as sampled"
    return [relaxation.crystal for relaxation in cohort.relaxations], "relaxed"
