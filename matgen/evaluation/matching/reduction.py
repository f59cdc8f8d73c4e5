"""Primitive Niggli cells exactly as pymatgen's StructureMatcher makes them, mostly without it.

Letters: N sites, M changes of basis, K candidate translations.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from matgen.elements import symbols
from matgen.errors import BadCrystal
from matgen.records import Crystal

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pymatgen.core.composition import Composition
    from pymatgen.core.lattice import Lattice

REDUCTION_REVISION: Final = 1
"""Of this file; cells stored by another revision are made again."""
_TOLERANCE_ANG: Final = 0.25
"""By which sites of one primitive cell may differ; pymatgen's default."""
_MOST_UNITS: Final = 48
"""Formula units up to which all supercell matrices are tried at once: 12,000 of them."""
_MOST_SITES: Final = 200
"""Sites up to which asking takes less than pymatgen's own search, which then decides."""
_SLACK: Final = 1e-9
"""Relative and absolute: what is ruled out here is ruled out by more than rounding."""


@dataclass(frozen=True, eq=False)
class ReducedCell:
    """A primitive Niggli cell; what sits on its sites is a number per kind.

    Attributes:
        lattice: (3, 3) rows, Å.
        frac: (N, 3) fractional coordinates.
        kinds: (N,) the atomic number, or for a site with several elements the lowest of them.
    """

    lattice: NDArray[np.float64]
    frac: NDArray[np.float64]
    kinds: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.kinds)

    @cached_property
    def volume(self) -> float:
        """Å³, to the last bit as pymatgen computes it."""
        a, b, c = self.lattice
        return float(abs(np.dot(np.cross(a, b), c)))

    @cached_property
    def counts(self) -> Mapping[int, int]:
        """How many sites there are of each kind."""
        kinds, counts = np.unique(self.kinds, return_counts=True)
        return dict(zip(kinds.tolist(), counts.tolist(), strict=True))

    def renamed(self, kinds: Mapping[int, int]) -> ReducedCell:
        """Return the same cell with some kinds called otherwise."""
        changed = [kinds.get(kind, kind) for kind in self.kinds.tolist()]
        return ReducedCell(self.lattice, self.frac, np.array(changed, dtype=np.int64))


def reduced(
    crystal: Crystal,
    kinds: Mapping[int, int] | None = None,
    occupied: Mapping[int, Composition] | None = None,
) -> ReducedCell:
    """Return the cell to which StructureMatcher reduces a crystal, bit for bit.

    Args:
        crystal: One that is ``comparable``.
        kinds: Atomic number to the kind it becomes, for those that become another.
        occupied: What sits on a site of each kind that is no plain element.

    Raises:
        BadCrystal: pymatgen finds no Niggli cell.

    Source: pymatgen-core 2026.10.16, ``StructureMatcher._get_reduced_structure``:
    ``IStructure.get_reduced_structure`` and then ``get_primitive_structure``.
    """
    from pymatgen.core.lattice import Lattice

    cell_kinds = np.asarray(crystal.numbers, dtype=np.int64)
    if kinds:
        cell_kinds = np.array([kinds.get(z, z) for z in cell_kinds.tolist()], dtype=np.int64)
    start = Lattice(crystal.lattice)
    frac = np.asarray(crystal.frac, dtype=np.float64)
    try:
        niggli = start.get_niggli_reduced_lattice()
        if niggli != start:
            # One product per site, as pymatgen: a product of all at once may round otherwise.
            inverse = niggli.inv_matrix
            frac = np.mod([np.dot(np.dot(site, start.matrix), inverse) for site in frac], 1)
        else:
            niggli = start
        labels = _labels(cell_kinds, occupied)
        if not _may_be_smaller(niggli, frac, labels):
            return ReducedCell(np.array(niggli.matrix), frac, cell_kinds)
        return _primitive(niggli, frac, cell_kinds, occupied)
    except (ValueError, ZeroDivisionError, np.linalg.LinAlgError) as error:
        raise BadCrystal(f"the cell cannot be reduced: {error}") from None


def _labels(kinds: NDArray[np.int64], occupied: Mapping[int, Composition] | None) -> list[str]:
    """Return what pymatgen calls the content of each site; it sorts by that."""
    known = {kind: _label(kind, occupied) for kind in set(kinds.tolist())}
    return [known[kind] for kind in kinds.tolist()]


def _label(kind: int, occupied: Mapping[int, Composition] | None) -> str:
    if occupied is None or kind not in occupied:
        return symbols[kind]
    from pymatgen.core.sites import Site

    return Site(occupied[kind], [0.0, 0.0, 0.0]).species_string


def _primitive(
    lattice: Lattice,
    frac: NDArray[np.float64],
    kinds: NDArray[np.int64],
    occupied: Mapping[int, Composition] | None,
) -> ReducedCell:
    from pymatgen.core.periodic_table import Element
    from pymatgen.core.structure import Structure

    known = occupied or {}
    # What pymatgen takes for a site: an element, or several with their shares.
    species: dict[int, Any] = {
        kind: known.get(kind, Element.from_Z(kind)) for kind in set(kinds.tolist())
    }
    structure = Structure(lattice, [species[kind] for kind in kinds.tolist()], frac)
    smaller = structure.get_primitive_structure()
    kind_of = {_composition(value): kind for kind, value in species.items()}
    return ReducedCell(
        np.array(smaller.lattice.matrix),
        np.array([site.frac_coords for site in smaller], dtype=np.float64),
        np.array([kind_of[_composition(site.species)] for site in smaller], dtype=np.int64),
    )


def _composition(species: Any) -> frozenset[str]:
    """Return the elements of an element or of a composition; no two kinds share one."""
    from pymatgen.core.composition import Composition

    parts = Composition(species) if isinstance(species, dict | Composition) else [species]
    return frozenset(str(element) for element in parts)


def _may_be_smaller(lattice: Lattice, frac: NDArray[np.float64], labels: Sequence[str]) -> bool:
    """Whether pymatgen might find a smaller cell; False only if it provably finds none.

    Its necessary conditions with a little slack: a supercell matrix whose inverse has rows that
    are nearly translations, each of which takes every site near one of its kind.
    """
    order = sorted(range(len(labels)), key=labels.__getitem__)
    groups = [
        frac[list(members)] for _, members in itertools.groupby(order, key=labels.__getitem__)
    ]
    n_formula_units = math.gcd(*map(len, groups))
    if n_formula_units == 1:
        return False
    lengths = np.array(lattice.abc)
    if lengths.min() <= 1.0 or n_formula_units > _MOST_UNITS or len(labels) > _MOST_SITES:
        return True
    tolerance = _TOLERANCE_ANG / lengths
    smallest = min(groups, key=len)
    shifts = smallest - smallest[0]
    limit = 2 * tolerance * (1 + _SLACK) + _SLACK
    for group in sorted(groups, key=len):
        offsets = (group[None, :, :] - group[:, None, :]) % 1.0
        shifts = np.array([shift for shift in shifts if _maps(shift, offsets, limit)])
        if not len(shifts):
            return False
    rows = _inverse_supercells(n_formula_units)
    limit = tolerance * (1 + _SLACK) + _SLACK
    close = np.ones((*rows.shape[:2], len(shifts)), dtype=bool)
    for axis in range(3):
        distance = rows[:, :, axis, None] - shifts[None, None, :, axis]
        close &= np.abs(distance - np.round(distance)) < limit[axis]
    return bool(close.any(axis=-1).all(axis=-1).any())


def _maps(
    shift: NDArray[np.float64], offsets: NDArray[np.float64], limit: NDArray[np.float64]
) -> bool:
    """Whether a (3,) translation takes every site near another one, given (N, N, 3) offsets."""
    distance = shift - offsets
    distance -= np.round(distance)
    return bool((np.abs(distance) <= limit).all(axis=-1).any(axis=-1).all())


@lru_cache(maxsize=64)
def _inverse_supercells(n_formula_units: int) -> NDArray[np.float64]:
    """Return (M, 3, 3) inverses of all Hermite normal forms whose determinant divides a number."""
    found = []
    for size in range(2, n_formula_units + 1):
        if n_formula_units % size:
            continue
        for a, e in itertools.product(range(1, size + 1), repeat=2):
            if size % (a * e):
                continue
            g = size // (a * e)
            found += [
                [[a, b, c], [0, e, f], [0, 0, g]]
                for b, c, f in itertools.product(range(a), range(a), range(e))
            ]
    return np.linalg.inv(np.array(found, dtype=np.float64))
