"""The likeliest neutral choice of one oxidation state per element, or of two for some elements.

A dynamic programme over the sum of charges: the work grows with (charges that can be reached) ×
(choices per element), never with the product of the choices.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from matgen.elements import electronegativity, metallic, oxidation_states, oxidation_weights

ZINTL_DIFFERENCE = 0.5
"""In a crystal of metals alone, Pauling electronegativities of anions lie at least this far above
those of cations: Mg2Sn and Ca2Sn are salts, Ni2Sn and LaZnSn are alloys."""
MAX_WORK = 3_000_000
"""Steps after which a balance is not tried; only mixed valences in cells of hundreds of free sites
come near."""


@dataclass(frozen=True, slots=True)
class Choice:
    """States of one element.

    Attributes:
        state: Of every site, or of those with the smaller magnitude where the valence is mixed.
        strong: State of the ``n_strong`` sites with the larger magnitude; ``state`` if not mixed.
    """

    state: int
    strong: int
    n_strong: int = 0

    @property
    def mixed(self) -> bool:
        """Whether the element has two states."""
        return self.n_strong > 0


@dataclass(frozen=True)
class Balance:
    """What a search found.

    Attributes:
        choices: Atomic number to choice; None where nothing is neutral.
        n_states: Partial sums visited.
        cost: Mixed elements, then minus the log-weight of the choices.
    """

    choices: Mapping[int, Choice] | None
    n_states: int
    cost: tuple[int, float] = (0, math.inf)


def allowed_states(numbers: Sequence[int]) -> dict[int, tuple[int, ...]]:
    """Return the states each of these elements may take; 0 only where there is no other."""
    return {z: tuple(state for state in oxidation_states[z] if state) or (0,) for z in numbers}


def balance_uniform(counts: Mapping[int, int]) -> Balance:
    """Return the likeliest neutral assignment of one state per element.

    Args:
        counts: Atomic number to number of sites, more than one element.
    """
    states = allowed_states(sorted(counts))
    if metallic[list(counts)].all():
        return _balance_metals(counts, states)
    return _search(_uniform_options(counts, states))


def balance_mixed(orbits: Mapping[int, Sequence[int]]) -> Balance:
    """Return the neutral assignment with the fewest mixed elements, then the likeliest.

    A mixed element has two adjacent states of one sign, and sites that symmetry makes equal have
    equal states.

    Args:
        orbits: Atomic number to the sizes of its sets of equivalent sites.
    """
    options = {}
    for z, states in allowed_states(sorted(orbits)).items():
        n_sites = sum(orbits[z])
        weights = {state: _log_weight(z, state) for state in states}
        options[z] = [
            _Option(state * n_sites, 0, n_sites * weights[state], Choice(state, state))
            for state in states
        ]
        splits = sorted(subset_sums(orbits[z]) - {0, n_sites})
        for low, high in pairwise(states):
            if low * high < 0:
                continue
            weak, strong = sorted((low, high), key=abs)
            options[z] += [
                _Option(
                    weak * (n_sites - n_strong) + strong * n_strong,
                    1,
                    weights[weak] * (n_sites - n_strong) + weights[strong] * n_strong,
                    Choice(weak, strong, n_strong),
                )
                for n_strong in splits
            ]
    return _search(options)


def subset_sums(sizes: Iterable[int]) -> set[int]:
    """Return every sum of some of the sizes, 0 and the whole included."""
    sums = {0}
    for size in sizes:
        sums |= {size + partial for partial in sums}
    return sums


def _uniform_options(
    counts: Mapping[int, int], states: Mapping[int, Sequence[int]]
) -> dict[int, list[_Option]]:
    return {
        z: [
            _Option(state * counts[z], 0, counts[z] * _log_weight(z, state), Choice(state, state))
            for state in each
        ]
        for z, each in states.items()
    }


def _balance_metals(counts: Mapping[int, int], states: Mapping[int, Sequence[int]]) -> Balance:
    """Try every place to part anions from cations that ``ZINTL_DIFFERENCE`` leaves; best first."""
    order = sorted(counts, key=lambda z: (float(electronegativity[z]), z))
    best: Balance | None = None
    n_states = 0
    for i, (below, above) in enumerate(pairwise(order)):
        # NaN beyond Lr: no gap, no salt.
        if not electronegativity[above] - electronegativity[below] >= ZINTL_DIFFERENCE:
            continue
        signs = dict.fromkeys(order[: i + 1], 1) | dict.fromkeys(order[i + 1 :], -1)
        parted = {z: [s for s in states[z] if s * signs[z] > 0] for z in sorted(counts)}
        if all(parted.values()):
            found = _search(_uniform_options(counts, parted))
            n_states += found.n_states
            if found.choices is not None and (best is None or found.cost < best.cost):
                best = found
    if best is None:
        return Balance(None, n_states)
    return Balance(best.choices, n_states, best.cost)


@dataclass(frozen=True, slots=True)
class _Option:
    charge: int
    n_mixed: int
    log_weight: float
    choice: Choice


@dataclass(frozen=True, slots=True)
class _Partial:
    """Best way to a sum of charges; ``before`` is the sum it came from."""

    cost: tuple[int, float]
    before: int
    choice: Choice


def _search(options: Mapping[int, Sequence[_Option]]) -> Balance:
    """Return the cheapest choice per element whose charges add to zero.

    Cost is (mixed elements, minus log-weight), compared in this order; of equal ones the first.
    """
    lowest = [min(option.charge for option in each) for each in options.values()]
    highest = [max(option.charge for option in each) for each in options.values()]
    span = sum(highest) - sum(lowest) + 1
    if span * sum(len(each) for each in options.values()) > MAX_WORK:
        return Balance(None, 0)
    layers: list[dict[int, _Partial]] = []
    sums: dict[int, tuple[int, float]] = {0: (0, 0.0)}
    for i, each in enumerate(options.values()):
        # A sum that the elements to come cannot bring back to zero is not worth keeping.
        reach_down, reach_up = -sum(highest[i + 1 :]), -sum(lowest[i + 1 :])
        layer: dict[int, _Partial] = {}
        for total, (n_mixed, cost) in sums.items():
            for option in each:
                after = total + option.charge
                if not reach_down <= after <= reach_up:
                    continue
                new_cost = (n_mixed + option.n_mixed, cost - option.log_weight)
                if after not in layer or new_cost < layer[after].cost:
                    layer[after] = _Partial(new_cost, total, option.choice)
        layers.append(layer)
        sums = {total: partial.cost for total, partial in layer.items()}
    n_states = sum(len(layer) for layer in layers)
    if 0 not in sums:
        return Balance(None, n_states)
    return Balance(_traced(list(options), layers), n_states, sums[0])


def _traced(numbers: Sequence[int], layers: Sequence[dict[int, _Partial]]) -> dict[int, Choice]:
    choices = {}
    total = 0
    for z, layer in zip(reversed(numbers), reversed(layers), strict=True):
        choices[z] = layer[total].choice
        total = layer[total].before
    return choices


def _log_weight(z: int, state: int) -> float:
    return math.log(oxidation_weights[z][oxidation_states[z].index(state)])
