"""Which crystals are the same: pymatgen's StructureMatcher, exactly, without its repeated work.

pymatgen reduces both cells again in every comparison. Here crystals are put into buckets by
reduced formula, a cell is reduced once and only if its bucket has a partner for it, and two
primitive cells with different numbers of sites are told apart without being compared (pymatgen
returns no match for them either, because supercells are not attempted). The masks are those of
plain pymatgen.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import partial
from typing import TYPE_CHECKING, Final, TypeAlias

import numpy as np

from matgen.crystal.composition import reduced_counts
from matgen.elements import HEAVIEST
from matgen.records import Crystal

if TYPE_CHECKING:
    from pymatgen.analysis.structure_matcher import StructureMatcher
    from pymatgen.core.structure import Structure

    from matgen.evaluation.reference import Reference
    from matgen.roles.executor import Pool

CompositionKey: TypeAlias = "tuple[tuple[int, int], ...]"
"""(atomic number, count) pairs, ascending, divided by their greatest common divisor."""

_LARGEST_LATTICE_SEARCH: Final = 2e6
"""Lattice points within reach of the longest cell vector. A needle or sheet thinner than this
makes pymatgen enumerate them for minutes; no crystal comes near (a 3 × 3 × 100 Å cell: 8,000)."""


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

    def matcher(self) -> StructureMatcher:
        """Return pymatgen's matcher with these tolerances."""
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


DEFAULT: Final = Tolerances()
"""pymatgen's defaults; MatterGen's "ordered" matcher."""
RMSD: Final = Tolerances(length=0.5, site=0.5, angle_deg=10.0, scale=False, supercell=True)
"""MatterGen's matcher for the displacement on relaxation."""


def composition_key(crystal: Crystal) -> CompositionKey:
    """Return the key of a crystal's reduced formula; equal exactly where the formulas are."""
    elements, counts = reduced_counts(crystal.numbers)
    return tuple(zip(elements.tolist(), counts.tolist(), strict=True))


def comparable(crystal: Crystal) -> bool:
    """Return whether the matcher can look at this crystal in bounded time at all."""
    if not (np.isfinite(crystal.lattice).all() and np.isfinite(crystal.frac).all()):
        return False
    if crystal.n_sites == 0 or crystal.volume <= 0.0:
        return False
    if crystal.numbers.min() < 1 or crystal.numbers.max() > HEAVIEST:
        return False
    longest = float(np.linalg.norm(crystal.lattice, axis=1).max())
    reach = longest * (1.0 + DEFAULT.length)
    return 4.0 / 3.0 * math.pi * reach**3 / crystal.volume < _LARGEST_LATTICE_SEARCH


class Candidate:
    """A crystal whose primitive Niggli cell is found when first compared, and kept."""

    def __init__(self, crystal: Crystal, matcher: StructureMatcher) -> None:
        self._crystal = crystal
        self._matcher = matcher
        self._reduced: Structure | None = None

    @property
    def reduced(self) -> Structure:
        """The primitive Niggli cell as the matcher makes it."""
        if self._reduced is None:
            # The matcher's own reduction: any other would not give its masks.
            self._reduced = self._matcher._get_reduced_structure(  # noqa: SLF001
                self._crystal.to_structure(), primitive_cell=True, niggli=True
            )
        return self._reduced

    def matches(self, other: Candidate) -> bool:
        """Return whether pymatgen's ``fit(self, other)`` holds (it is not quite symmetric)."""
        if len(self.reduced) != len(other.reduced):
            return False
        return bool(self._matcher.fit(self.reduced, other.reduced, skip_structure_reduction=True))


def unique_mask(
    crystals: Sequence[Crystal | None], pool: Pool, tolerances: Tolerances = DEFAULT
) -> list[bool | None]:
    """Return for each crystal whether no earlier one matches it.

    Greedy, as MatterGen counts: the first of a group of equal crystals is unique, the others are
    compared with the unique ones only.

    Returns:
        One entry per crystal; None where there is none, or none that can be compared.
    """
    buckets: dict[CompositionKey, list[int]] = defaultdict(list)
    mask: list[bool | None] = [None] * len(crystals)
    for index, crystal in enumerate(crystals):
        if crystal is not None and comparable(crystal):
            buckets[composition_key(crystal)].append(index)
            mask[index] = True
    shared = [members for members in buckets.values() if len(members) > 1]
    tasks = [[_present(crystals[index]) for index in members] for members in shared]
    for members, found in zip(
        shared, pool.map(partial(_unique_in_bucket, tolerances=tolerances), tasks), strict=True
    ):
        for index, value in zip(members, found, strict=True):
            mask[index] = value
    return mask


def novel_mask(
    crystals: Sequence[Crystal | None],
    reference: Reference,
    pool: Pool,
    tolerances: Tolerances = DEFAULT,
) -> list[bool | None]:
    """Return for each crystal whether no reference crystal matches it.

    Returns:
        One entry per crystal; None where there is none, or none that can be compared.
    """
    buckets: dict[CompositionKey, list[int]] = defaultdict(list)
    mask: list[bool | None] = [None] * len(crystals)
    for index, crystal in enumerate(crystals):
        if crystal is not None and comparable(crystal):
            mask[index] = True
            key = composition_key(crystal)
            if reference.known(key):
                buckets[key].append(index)
    tasks = [
        ([_present(crystals[index]) for index in members], reference.known(key))
        for key, members in buckets.items()
    ]
    for members, found in zip(
        buckets.values(),
        pool.map(partial(_novel_in_bucket, tolerances=tolerances), tasks),
        strict=True,
    ):
        for index, value in zip(members, found, strict=True):
            mask[index] = value
    return mask


@dataclass(frozen=True, slots=True)
class Displacement:
    """How far relaxation moved a crystal.

    Attributes:
        matches: Whether the two are the same crystal under the default tolerances.
        rmsd_ang: Root mean square displacement of the sites, Å; where even the wide RMSD matcher
            finds no mapping, its largest displacement (0.5 of the free length per site).
        mapped: Whether that matcher found a mapping.
    """

    matches: bool
    rmsd_ang: float
    mapped: bool


def match_and_rmsd(sampled: Crystal, relaxed: Crystal) -> Displacement:
    """Return whether and how closely a relaxed crystal is the one it came from.

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
    found = RMSD.matcher().get_rms_dist(end, start)
    free_length = _nominal_free_length(end, start)
    matcher = DEFAULT.matcher()
    return Displacement(
        matches=Candidate(sampled, matcher).matches(Candidate(relaxed, matcher)),
        rmsd_ang=(RMSD.site if found is None else float(found[0])) * free_length,
        mapped=found is not None,
    )


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


def _unique_in_bucket(bucket: Sequence[Crystal], tolerances: Tolerances) -> list[bool]:
    matcher = tolerances.matcher()
    unique: list[Candidate] = []
    mask = []
    for crystal in bucket:
        candidate = Candidate(crystal, matcher)
        mask.append(not _any_match(unique, candidate))
        if mask[-1]:
            unique.append(candidate)
    return mask


def _novel_in_bucket(
    task: tuple[Sequence[Crystal], Sequence[Crystal]], tolerances: Tolerances
) -> list[bool]:
    crystals, known = task
    matcher = tolerances.matcher()
    references = [Candidate(crystal, matcher) for crystal in known]
    return [not _any_match(references, Candidate(crystal, matcher)) for crystal in crystals]


def _any_match(others: Iterable[Candidate], candidate: Candidate) -> bool:
    return any(candidate.matches(other) for other in others)


def _present(crystal: Crystal | None) -> Crystal:
    assert crystal is not None
    return crystal
