"""Rule: no two sites closer than a distance."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from matgen import Constraint
from matgen.errors import BadOptions

if TYPE_CHECKING:
    from typing import Self

    from matgen import Grammar, Representation

FARTHEST_ANG = 3.0
"""Largest distance that may be asked for: few crystals keep all sites so far apart."""


class MinDistance(Constraint):
    """No two sites are closer, periodic images and a site's own images included."""

    name = "min_distance"

    distance_ang: float = Field(default=0.5, gt=0, le=FARTHEST_ANG)
    """Smallest distance, Å. Below 0.5 a structure counts as invalid in most reports."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the rule for a distance in Å; without text, 0.5.

        Raises:
            BadOptions: no number, or not above 0 and at most 3.
        """
        if not text.strip():
            return cls()
        try:
            distance = float(text)
        except ValueError:
            distance = 0.0
        if not 0 < distance <= FARTHEST_ANG:
            raise BadOptions(
                f"{cls.name}: {text!r} is no distance; write a number of Å above 0 and at most "
                f"{FARTHEST_ANG:g}, such as 0.7"
            )
        return cls(distance_ang=distance)

    def bind(self, representation: Representation) -> Grammar:
        """Return the grammar that keeps sites apart.

        Raises:
            BadOptions: the representation is not ``Atoms``.
        """
        from matgen_materium.constraint_phases import atoms_of
        from matgen_materium.distance_grammar import DistanceGrammar

        return DistanceGrammar(atoms_of(representation, self.name), self.distance_ang)
