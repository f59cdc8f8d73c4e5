"""Matchers: values that say whether two crystals are the same."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace

import numpy as np

from matgen.evaluation.matching.candidate import Candidate
from matgen.evaluation.matching.keys import composition_key
from matgen.evaluation.matching.merging import merged_kinds
from matgen.evaluation.matching.pairing import Pairing, pairing
from matgen.evaluation.matching.tolerances import DEFAULT, Tolerances


@dataclass(frozen=True)
class Matcher(ABC):
    """Says whether two crystals of one reduced formula are the same.

    Attributes:
        tolerances: What they may differ by.
    """

    tolerances: Tolerances = DEFAULT

    @abstractmethod
    def fit(self, first: Candidate, second: Candidate) -> bool:
        """Return whether they are the same; not quite symmetric, as pymatgen's.

        Raises:
            BadCrystal: one of them cannot be reduced.
        """

    @abstractmethod
    def __str__(self) -> str:
        """Kind and tolerances, for a report; ``matcher_named`` reads it back."""


@dataclass(frozen=True)
class OrderedMatcher(Matcher):
    """pymatgen's ``StructureMatcher(...).fit``; as in all of pymatgen, of elements, not of ions."""

    def fit(self, first: Candidate, second: Candidate) -> bool:
        """Return what ``fit(first, second)`` of pymatgen returns."""
        return pairing(first.reduced, second.reduced, self.tolerances) is not None

    def closest(self, first: Candidate, second: Candidate) -> Pairing | None:
        """Return the pairing of smallest mean distance: pymatgen's ``get_rms_dist``.

        Raises:
            BadCrystal: one of them cannot be reduced.
        """
        if composition_key(first.crystal) != composition_key(second.crystal):
            return None
        return pairing(first.reduced, second.reduced, self.tolerances, best=True)

    def __str__(self) -> str:
        return str(self.tolerances)


@dataclass(frozen=True)
class DisorderedMatcher(Matcher):
    """MatterGen's ``DisorderedStructureMatcher`` of two ordered crystals.

    They are the same if the ordered matcher finds them so, or if it does after elements of the
    first that can take each other's place were merged, and then one cell may be a multiple of the
    other and sites of the larger one may stay alone.

    Source: MatterGen (microsoft/mattergen 1.0.3), ``evaluation/utils/structure_matcher.py``.
    Deviates: where it fails, see ``merging.take_each_others_place``.
    """

    def fit(self, first: Candidate, second: Candidate) -> bool:
        """Return what ``fit(first, second)`` of MatterGen returns."""
        if pairing(first.reduced, second.reduced, replace(self.tolerances, supercell=False)):
            return True
        if first.merged is not None:
            kinds = merged_kinds(frozenset(first.crystal.numbers.tolist()))
            loose = replace(self.tolerances, supercell=True)
            if pairing(first.merged, second.reduced.renamed(kinds), loose, subset=True):
                return True
        return _identical(first, second)

    def __str__(self) -> str:
        return f"{self.tolerances},disordered"


def _identical(first: Candidate, second: Candidate) -> bool:
    """Whether pymatgen's ``==`` holds, which MatterGen asks first."""
    one, other = first.crystal, second.crystal
    if one.n_sites != other.n_sites or not np.allclose(one.lattice, other.lattice):
        return False
    return bool(one.to_structure() == other.to_structure())
