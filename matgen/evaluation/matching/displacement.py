"""How far relaxation moved a crystal."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from matgen.errors import BadCrystal
from matgen.evaluation.matching.candidate import Candidate
from matgen.evaluation.matching.keys import comparable, composition_key
from matgen.evaluation.matching.matchers import Matcher, OrderedMatcher
from matgen.evaluation.matching.tolerances import RMSD
from matgen.records import Crystal

if TYPE_CHECKING:
    from pymatgen.core.structure import Structure


@dataclass(frozen=True, slots=True)
class Displacement:
    """How far relaxation moved a crystal.

    Attributes:
        matches: Whether the two are the same crystal by the matcher.
        rmsd_ang: Root mean square displacement of the sites, Å; where even the wide RMSD matcher
            finds no mapping, its largest displacement (0.5 of the free length per site).
        mapped: Whether that matcher found a mapping.
    """

    matches: bool
    rmsd_ang: float
    mapped: bool


def match_and_rmsd(
    sampled: Crystal, relaxed: Crystal, matcher: Matcher | None = None
) -> Displacement:
    """Return whether and how closely a relaxed crystal is the one it came from.

    Args:
        sampled: As generated.
        relaxed: As relaxed.
        matcher: For ``matches`` only; ``OrderedMatcher()`` if not given.

    Source: MatterGen (microsoft/mattergen 1.0.3), ``evaluation/utils/utils.py``: get_rms_dist of
    the relaxed crystal and the symmetrised, primitive, LLL-reduced original, made Å by (V/N)^(1/3)
    with V the volume of the cell whose parameters are the mean of those two cells' and N the sites
    of the relaxed cell. So the length is only nominal where the two cells are different settings;
    kept, because published figures are in it.
    """
    if not (comparable(sampled) and comparable(relaxed)):
        free_length = (relaxed.volume / max(1, relaxed.n_sites)) ** (1.0 / 3.0)
        return Displacement(matches=False, rmsd_ang=RMSD.site * free_length, mapped=False)
    start, end = _symmetrised(sampled.to_structure()), relaxed.to_structure()
    found = None
    with suppress(BadCrystal):
        end_candidate, start_candidate = Candidate(relaxed), Candidate(_crystal(start))
        found = OrderedMatcher(RMSD).closest(end_candidate, start_candidate)
    free_length = _nominal_free_length(end, start)
    return Displacement(
        matches=_matches(sampled, relaxed, matcher or OrderedMatcher()),
        rmsd_ang=(RMSD.site if found is None else found.rms) * free_length,
        mapped=found is not None,
    )


def _matches(sampled: Crystal, relaxed: Crystal, matcher: Matcher) -> bool:
    if composition_key(sampled) != composition_key(relaxed):
        return False
    with suppress(BadCrystal):
        return matcher.fit(Candidate(sampled), Candidate(relaxed))
    return False


def _nominal_free_length(relaxed: Structure, start: Structure) -> float:
    """(V/N)^(1/3) of the cell with the mean parameters of both, Å."""
    from pymatgen.core.lattice import Lattice

    mean = np.mean([relaxed.lattice.parameters, start.lattice.parameters], axis=0)
    return float((Lattice.from_parameters(*mean).volume / len(relaxed)) ** (1.0 / 3.0))


def _symmetrised(structure: Structure) -> Structure:
    """Return the refined, primitive, LLL-reduced cell; unrefined if it has no symmetry data.

    spglib gives none for some distorted cells. The refined one is only another setting of the same
    crystal (symprec 0.01 Å), so the displacement stays what it is.
    """
    from pymatgen.symmetry.analyzer import SpacegroupAnalyzer, SymmetryUndeterminedError

    with suppress(SymmetryUndeterminedError):
        structure = SpacegroupAnalyzer(structure).get_refined_structure()
    return structure.get_primitive_structure().get_reduced_structure(reduction_algo="LLL")


def _crystal(structure: Structure) -> Crystal:
    return Crystal(
        np.array(structure.lattice.matrix),
        np.array([site.frac_coords for site in structure]),
        np.array(structure.atomic_numbers, dtype=np.int64),
    )
