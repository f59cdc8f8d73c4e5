"""Look-ahead where few elements may be written: every composition of them is looked at beforehand.

Axes: B rows, C compositions, E elements that may be written, S species tokens, Q charge, Z whether
a state other than 0 was written.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import comb
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from matgen_constraints.charges import LARGEST_TABLE, ChargeAxes, before
from matgen_constraints.exact_ahead import strides
from matgen_constraints.known_formulas import ELEMENT_CODES

if TYPE_CHECKING:
    from matgen.roles.representation import GrammarState
    from matgen_constraints.budget import Budget
    from matgen_constraints.grammar import Columns

LARGEST_PLACES: Final = 2**23
"""Entries of the table from counts to compositions: five elements in cells of up to 20 sites."""


class SmallSystem:
    """Exact for any rules: allows a species if and only if a crystal can be completed after it."""

    def __init__(self, columns: Columns, budget: Budget) -> None:
        """Fill the tables; ``fits`` says whether they are small enough."""
        least, most = budget.sites
        numbers = columns.numbers_E
        self._axes = ChargeAxes(most, columns.largest_state, budget.neutrality)
        self._most_sites = most
        sizes = [most + 1] * len(numbers)
        strides_E = strides(sizes)
        counts_CE = _compositions(len(numbers), most)
        n_sites_C = counts_CE.sum(axis=1)
        n_elements_C = (counts_CE > 0).sum(axis=1)
        required_E = np.array([budget.required.get(z, 0) for z in numbers.tolist()])
        ends_C = (
            (n_sites_C >= least)
            & (counts_CE >= required_E).all(axis=1)
            & (n_elements_C >= budget.n_elements[0])
            & (n_elements_C <= budget.n_elements[1])
        )
        codes_C = (counts_CE * ELEMENT_CODES[numbers]).sum(axis=1)
        for known in budget.known:
            ends_C &= ~np.isin(codes_C, known.in_cells(most))
        composition = np.zeros(np.prod(sizes), dtype=np.int64)
        composition[counts_CE @ strides_E] = np.arange(len(counts_CE))
        reach_CQZ = ends_C[:, None, None] & _end(self._axes)
        last_C = ((counts_CE > 0) * np.arange(len(numbers))).max(axis=1)
        for n_sites in range(most - 1, -1, -1):
            at_n_sites = np.flatnonzero(n_sites_C == n_sites)
            for element in range(len(numbers)):
                at = at_n_sites[last_C[at_n_sites] <= element] if columns.ordered else at_n_sites
                after = composition[counts_CE[at] @ strides_E + strides_E[element]]
                reach_CQZ[at] |= before(reach_CQZ[after], self._states(columns, element))
        self.tables: Mapping[str, NDArray[np.generic]] = {
            "ends_C": ends_C,
            "composition": composition,
            "strides_E": strides_E,
            "reach": reach_CQZ.reshape(-1),
        }

    @staticmethod
    def fits(columns: Columns, budget: Budget) -> bool:
        """Whether the tables are small enough."""
        most, n_elements = budget.sites[1], len(columns.numbers_E)
        axes = ChargeAxes(most, columns.largest_state, budget.neutrality)
        size = _end(axes).size
        return (most + 1) ** n_elements <= LARGEST_PLACES and (
            comb(most + n_elements, n_elements) * size <= LARGEST_TABLE
        )

    def allowed(self, state: GrammarState, tables: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Return (B, S) which species may follow and (B,) whether the sites may end."""
        counts_BE, strides_E = state["counts"], tables["strides_E"]
        n_sites_B = counts_BE.sum(1)
        places = tables["composition"]
        place_B = (counts_BE * strides_E).sum(1)
        # A full cell, and a row that took a token it was not allowed, may be outside the table.
        after_BE = (place_B[:, None] + strides_E).clamp(max=len(places) - 1)
        composition_BS = places[after_BE][:, tables["column_S"]]
        if self._axes.neutrality == "free":
            reached_BS = tables["reach"][2 * composition_BS]
        else:
            place_BS = composition_BS * self._axes.size + self._axes.after(state, tables)
            reached_BS = tables["reach"][place_BS]
        ends_B = tables["ends_C"][places[place_B.clamp(max=len(places) - 1)]]
        return (
            reached_BS & (n_sites_B < self._most_sites)[:, None],
            ends_B & (n_sites_B <= self._most_sites) & self._axes.ends(state),
        )

    def _states(self, columns: Columns, element: int) -> list[int]:
        return [0] if self._axes.neutrality == "free" else columns.states(element)


def _end(axes: ChargeAxes) -> NDArray[np.bool_]:
    """Return (Q, Z) how a crystal may end; one charge stands for all where they are free."""
    return np.ones((1, 2), dtype=np.bool_) if axes.neutrality == "free" else axes.at_end()


def _compositions(n_elements: int, most_sites: int) -> NDArray[np.int64]:
    """Return (C, E) every composition of at most so many sites, the empty one first."""
    counts = np.zeros((1, 0), dtype=np.int64)
    for _ in range(n_elements):
        more = np.arange(most_sites + 1)
        pairs = np.hstack(
            [np.repeat(counts, len(more), axis=0), np.tile(more, len(counts))[:, None]]
        )
        counts = pairs[pairs.sum(axis=1) <= most_sites]
    return counts
