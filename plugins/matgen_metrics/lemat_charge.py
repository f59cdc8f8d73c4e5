"""Whether a crystal can be charge neutral, as LeMat-GenBench decides it.

Four questions, the first answer counts: is the composition metallic enough, are all bond valence
sums zero, does bond valence analysis find a valence for every site, can oxidation states that are
known of the elements be added up to nothing.

Source: LeMat-GenBench (arXiv:2512.04562; Apache-2.0), ``metrics/validity_metrics.py`` and
``utils/oxidation_state.py`` at 5bab2cd; the metallicity is SMACT's (MIT), ``metallicity.py`` 3.2.0.
Deviates: sums of oxidation states are added up, not enumerated, so that sixty sites of one element
take no longer. The table of states for the third question is an earlier one of the same authors:
``data/LICENSE.txt``.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from itertools import combinations
from math import gcd
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, TypeAlias

import numpy as np

from matgen_metrics.charge_balance import elements

if TYPE_CHECKING:
    from pymatgen.core.structure import Structure

NOT_NEUTRAL: Final = 10.0
"""The benchmark's deviation for a composition that nothing balances, elementary charges."""
_METALLIC: Final = 0.7
_ZERO_BOND_VALENCE: Final = 1e-15
_FILE: Final = Path(__file__).parent / "data" / "lemat.csv"

Decision: TypeAlias = Literal[
    "metallicity", "no bond valence", "bond valence", "known states", "any states", "nothing"
]


class Charge(NamedTuple):
    """How far from neutral, in elementary charges, and which question decided."""

    deviation: float
    decided_by: Decision


@dataclass(frozen=True, slots=True)
class _Element:
    d_block: bool
    valence: int | None
    states: tuple[int, ...]


@cache
def _table() -> Mapping[int, _Element]:
    with _FILE.open(encoding="utf-8", newline="") as file:
        return {
            int(row["number"]): _Element(
                row["d_block"] == "1",
                None if row["valence"] == "?" else int(row["valence"]),
                tuple(int(state) for state in row["states"].split()),
            )
            for row in csv.DictReader(file)
        }


def charge_deviation(structure: Structure) -> Charge:
    """Return how far a structure is from neutral.

    Raises:
        Exception: whatever bond valence analysis raises beside its "cannot assign"; the benchmark
            counts such a structure as not neutral.
        KeyError: an element has states in pymatgen, but no frequency in the benchmark's table.
    """
    from pymatgen.analysis.bond_valence import BVAnalyzer

    counts = {element.Z: int(n) for element, n in structure.composition.element_composition.items()}
    decided = _metallic(structure, counts)
    if decided is not None:
        return Charge(0.0, decided)
    try:
        valences = BVAnalyzer().get_valences(structure)
    except ValueError:
        return charge_of_composition(counts)
    return Charge(abs(float(sum(valences))), "bond valence")


def metallicity(counts: Mapping[int, int]) -> float:
    """Return SMACT's score between 0 and 1 of how metallic a composition is.

    Raises:
        KeyError: SMACT has no such element.
    """
    known = {number: (elements()[number], _table()[number]) for number in counts}
    total = sum(counts.values())
    metals = [number for number, (element, _) in known.items() if element.metal]
    metal_share = sum(counts[number] for number in metals) / total
    d_block_share = sum(n for number, n in counts.items() if known[number][1].d_block) / total
    return max(
        0.0,
        min(
            1.0,
            0.3 * metal_share
            + 0.2 * d_block_share
            + 0.2 * min(len(metals) / 3.0, 1.0)
            + 0.15 * _octet_term(counts)
            + 0.15 * _electronegativity_term([element.pauling for element, _ in known.values()]),
        ),
    )


def charge_of_composition(counts: Mapping[int, int]) -> Charge:
    """Return whether the elements' oxidation states can be added up to nothing.

    First the states of the benchmark's table; then all that pymatgen lists, where the more
    electronegative elements have to be the more negative ones (their correlation negative).

    Args:
        counts: Atomic number to number of sites.

    Raises:
        KeyError: an element has states in pymatgen, but no frequency in the benchmark's table.
    """
    divisor = gcd(*counts.values())
    reduced = {number: n // divisor for number, n in counts.items()}
    known = {number: _known_states(number) for number in counts}
    if 0 in _totals(sums_of_states(known[number], n) for number, n in reduced.items()):
        return Charge(0.0, "known states")
    if _can_be_ionic(reduced):
        return Charge(0.0, "any states")
    return Charge(NOT_NEUTRAL, "nothing")


def sums_of_states(states: Collection[int], n_sites: int) -> set[int]:
    """Return what the oxidation states of an element's sites can add up to, zero left out.

    The states of two of its sites differ by at most one.
    """
    sums = {n_sites * state for state in states}
    for state in states:
        if state + 1 in states:
            sums.update(range(n_sites * state, n_sites * (state + 1) + 1))
    return sums - {0}


def _metallic(structure: Structure, counts: Mapping[int, int]) -> Decision | None:
    """Return which of the first two questions is answered with yes; a failure answers no."""
    from pymatgen.analysis.bond_valence import calculate_bv_sum
    from pymatgen.analysis.local_env import get_neighbors_of_site_with_index
    from pymatgen.symmetry.analyzer import SpacegroupAnalyzer

    try:
        if metallicity(counts) > _METALLIC:
            return "metallicity"
        orbits = SpacegroupAnalyzer(structure).get_symmetrized_structure().equivalent_indices
        firsts = [sites[0] for sites in orbits]
        sums = [
            calculate_bv_sum(structure[site], get_neighbors_of_site_with_index(structure, site))
            for site in firsts
        ]
    except Exception:  # noqa: BLE001 - one sample: the benchmark then asks the next question
        return None
    return "no bond valence" if all(abs(total) < _ZERO_BOND_VALENCE for total in sums) else None


def _octet_term(counts: Mapping[int, int]) -> float:
    """One at eight valence electrons per atom, a half where an element's are not known."""
    valences = {number: _table()[number].valence for number in counts}
    known = {number: n for number, n in valences.items() if n is not None}
    if len(known) < len(valences):
        return 0.5
    mean = sum(known[number] * n for number, n in counts.items()) / sum(counts.values())
    return 1.0 - abs(mean - 8.0) / 8.0


def _electronegativity_term(pauling: list[float | None]) -> float:
    """One where all are equal, zero from a mean difference of 3, a half where one is not known."""
    known = [value for value in pauling if value is not None]
    if len(known) < len(pauling):
        return 0.5
    differences = [abs(one - other) for one, other in combinations(known, 2)]
    return 1.0 - min(float(np.mean(differences)) / 3.0, 1.0) if differences else 1.0


def _known_states(number: int) -> tuple[int, ...]:
    from pymatgen.core.periodic_table import Element

    known = _table().get(number)
    if known is not None and known.states:
        return known.states
    element = Element.from_Z(number)
    if element.icsd_oxidation_states or element.common_oxidation_states:
        raise KeyError(f"{element.symbol} has no frequency of its oxidation states")
    return ()


def _totals(choices: Iterable[Collection[int]]) -> set[int]:
    totals = {0}
    for sums in choices:
        totals = {total + part for total in totals for part in sums}
    return totals


def _can_be_ionic(counts: Mapping[int, int]) -> bool:
    """Return whether some neutral choice correlates negatively with electronegativity.

    The sign is that of the sum over elements of mean state times (electronegativity - its mean),
    and of that sum only the smallest value for each total charge needs to be kept.
    """
    from pymatgen.core.periodic_table import Element

    found = [Element.from_Z(number) for number in counts]
    pauling = np.array([element.X for element in found])
    if np.isnan(pauling).any() or math.isclose(np.ptp(pauling), 0.0):
        return False
    smallest = {0: 0.0}
    for element, n_sites, offset in zip(
        found, counts.values(), (pauling - pauling.mean()).tolist(), strict=True
    ):
        reached: dict[int, float] = {}
        for part in sums_of_states(element.oxidation_states, n_sites):
            for total, value in smallest.items():
                new = value + part / n_sites * offset
                reached[total + part] = min(new, reached.get(total + part, math.inf))
        smallest = reached
    return smallest.get(0, math.inf) < 0.0
