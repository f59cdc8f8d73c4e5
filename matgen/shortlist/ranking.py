"""Candidates in order, and all that is known about each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from matgen.crystal.composition import reduced_formula
from matgen.shortlist.candidates import Candidate
from matgen.shortlist.known import Neighbour
from matgen.shortlist.phonons import Vibrations

SUSPICIOUS_EV_PER_ATOM: Final = 0.2
"""No new crystal lies so far below a whole hull; the shipped one lacks what may not ship."""


@dataclass(frozen=True, eq=False)
class Entry:
    """A candidate with a second opinion.

    Attributes:
        candidate: As the first potential has it.
        second_above_hull: By the second potential, eV/atom; None without one, or where it failed.
        second_status: Status of the second relaxation, empty without a second potential.
        neighbour: Nearest known material, None without known ones.
        products: What the composition falls apart into: reduced formula to share of the atoms.
        vibrations: None where they were not calculated.
        space_group: Of the relaxed crystal.
    """

    candidate: Candidate
    second_above_hull: float | None = None
    second_status: str = ""
    neighbour: Neighbour | None = None
    products: dict[str, float] = field(default_factory=dict)
    vibrations: Vibrations | None = None
    space_group: int | None = None

    @property
    def score(self) -> float:
        """What the order goes by, eV/atom: the larger of both distances, so that both must be low.

        It is their mean and half their disagreement. One potential alone gives its own distance.
        """
        own = self.candidate.above_hull
        return own if self.second_above_hull is None else max(own, self.second_above_hull)

    @property
    def disagreement(self) -> float | None:
        """Difference of the two distances, eV/atom; None without a second one."""
        if self.second_above_hull is None:
            return None
        return abs(self.candidate.above_hull - self.second_above_hull)

    def to_json(self, rank: int, *, imaginary_thz: float) -> dict[str, Any]:  # JSON values
        """Return the entry as a row."""
        candidate, near, phonons = self.candidate, self.neighbour, self.vibrations
        products = [f"{share:.3f} {name}" for name, share in self.products.items()]
        at_gamma = None if phonons is None else phonons.lowest_at_gamma_thz
        return {
            "rank": rank,
            "index": candidate.index,
            "formula": reduced_formula(candidate.crystal),
            "n_sites": candidate.crystal.n_sites,
            "space_group": self.space_group,
            "energy_above_hull": candidate.above_hull,
            "second_energy_above_hull": self.second_above_hull,
            "disagreement": self.disagreement,
            "score": self.score,
            "status": self.status,
            "second_status": self.second_status,
            "known_as": candidate.known_as or None,
            "nearest": None if near is None else near.id,
            "nearest_formula": None if near is None else near.formula,
            "nearest_by": None if near is None else near.relation,
            "nearest_distance": None if near is None else near.distance,
            "decomposes_to": " + ".join(products),
            "merged": list(candidate.merged),
            "phonons": None if phonons is None else phonons.verdict(imaginary_thz),
            "lowest_frequency_at_gamma_thz": at_gamma,
            "lowest_frequency_thz": None if phonons is None else phonons.lowest_thz,
        }

    @property
    def status(self) -> str:
        """``ok``, or what is wrong with what is known of it."""
        if not self.candidate.converged:
            return "not converged"
        if self.second_status not in {"", "ok"}:
            return f"second potential: {self.second_status}"
        if self.score < -SUSPICIOUS_EV_PER_ATOM:
            return "far below the hull, which may lack a known phase"
        return "ok"


def ranked(entries: Sequence[Entry]) -> list[Entry]:
    """Return entries, the lowest score first; those that the second potential failed on come last.

    Where a second potential was asked, an entry without its opinion is no better than unknown.
    """
    asked = any(entry.second_status for entry in entries)
    return sorted(
        entries,
        key=lambda entry: (
            asked and entry.second_above_hull is None,
            entry.score,
            entry.candidate.index,
        ),
    )
