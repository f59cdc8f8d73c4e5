"""Which elements can take each other's place on a site, by MatterGen's rule."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from functools import cache, lru_cache
from itertools import combinations
from typing import TYPE_CHECKING, Final

from matgen.records import Crystal

if TYPE_CHECKING:
    from pymatgen.core.composition import Composition

RADIUS_DIFFERENCE: Final = 0.3
"""Of two atomic radii, over their mean."""
ELECTRONEGATIVITY_DIFFERENCE: Final = 1.0
"""Pauling."""


@cache
def take_each_others_place(first: int, second: int) -> bool:
    """Return whether two elements, by atomic number, could share a site.

    Source: MatterGen (microsoft/mattergen 1.0.3), ``evaluation/utils/structure_matcher.py``,
    ``do_elements_substitute``: a Hume-Rothery rule with limits found on ICSD data.
    Deviates: MatterGen fails for an element without an atomic radius (He, Ne, Kr, Xe, At, Rn, Fr
    and from Cm on); here such an element shares its sites with none. One without an
    electronegativity (Ar among others) shares with none there as well.
    """
    import warnings

    from pymatgen.core.periodic_table import Element

    elements = Element.from_Z(first), Element.from_Z(second)
    radii = [element.atomic_radius for element in elements]
    if radii[0] is None or radii[1] is None:
        return False
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        apart = abs(elements[0].X - elements[1].X)
    radius = abs(radii[0] - radii[1]) / ((radii[0] + radii[1]) / 2)
    return bool(radius <= RADIUS_DIFFERENCE and apart <= ELECTRONEGATIVITY_DIFFERENCE)


@lru_cache(maxsize=4096)
def merged_kinds(elements: frozenset[int]) -> Mapping[int, int]:
    """Return for each atomic number that shares its sites the lowest of those it shares with.

    Elements that share with a third share with each other. Empty where none share.
    """
    kinds = {number: number for number in elements}
    for first, second in combinations(sorted(elements), 2):
        if take_each_others_place(first, second):
            low, high = sorted((kinds[first], kinds[second]))
            kinds = {number: low if kind == high else kind for number, kind in kinds.items()}
    sizes = Counter(kinds.values())
    return {number: kind for number, kind in kinds.items() if sizes[kind] > 1}


def occupancies(crystal: Crystal, kinds: Mapping[int, int]) -> dict[int, Composition]:
    """Return what sits on a shared site of each kind: its elements as often as in the crystal."""
    from pymatgen.core.composition import Composition
    from pymatgen.core.periodic_table import Element

    counts = Counter(crystal.numbers.tolist())
    shared = {}
    for kind in set(kinds.values()):
        members = [number for number, other in kinds.items() if other == kind]
        total = sum(counts[number] / crystal.n_sites for number in members)
        shared[kind] = Composition(
            {Element.from_Z(z): counts[z] / crystal.n_sites / total for z in members}
        )
    return shared
