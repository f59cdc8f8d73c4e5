"""A crystal whose reduced cells are found when first compared, and kept."""

from __future__ import annotations

from functools import cached_property, lru_cache

from matgen.evaluation.matching.merging import merged_kinds, occupancies
from matgen.evaluation.matching.reduction import ReducedCell, reduced
from matgen.records import Crystal

_REMEMBERED = 20_000
"""Reduced cells that a process keeps, a few kB each: uniqueness and novelty need the same ones."""


class _Exactly:
    """A crystal as a key: equal only to one whose arrays are the same to the last bit."""

    def __init__(self, crystal: Crystal) -> None:
        self.crystal = crystal
        arrays = (crystal.lattice, crystal.frac, crystal.numbers)
        self._content = b"".join(array.tobytes() for array in arrays)

    def __hash__(self) -> int:
        return hash(self._content)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Exactly) and self._content == other._content


@lru_cache(maxsize=_REMEMBERED)
def _reduced(key: _Exactly) -> ReducedCell:
    return reduced(key.crystal)


class Candidate:
    """A crystal to compare.

    Attributes:
        crystal: As it came.
        found: Its reduced cell, if that was not given but had to be found.
    """

    def __init__(self, crystal: Crystal, reduced_cell: ReducedCell | None = None) -> None:
        self.crystal = crystal
        self._given = reduced_cell
        self.found: ReducedCell | None = None

    @cached_property
    def reduced(self) -> ReducedCell:
        """Its primitive Niggli cell, as StructureMatcher makes it.

        Raises:
            BadCrystal: pymatgen finds none.
        """
        if self._given is not None:
            return self._given
        self.found = _reduced(_Exactly(self.crystal))
        return self.found

    @cached_property
    def merged(self) -> ReducedCell | None:
        """Its primitive Niggli cell with elements merged that can take each other's place.

        None where no two can. A site that several elements share is known by the lowest of them.

        Raises:
            BadCrystal: pymatgen finds no such cell.
        """
        kinds = merged_kinds(frozenset(self.crystal.numbers.tolist()))
        if not kinds:
            return None
        return reduced(self.crystal, kinds, occupancies(self.crystal, kinds))
