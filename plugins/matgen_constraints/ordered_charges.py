"""Look-ahead for charges where elements are written in order: only later ones are still to come.

What was written before the element of the last site no longer matters, but for how many elements it
was; so tables are small, and exact with required atoms and a limited number of elements as well.

Axes: B rows, E elements in the order in which they are written, S species tokens, P the element
written last and how many required atoms of it are missing, K elements written, N sites written,
Q charge, Z whether a state other than 0 was written.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from matgen_constraints import charges

if TYPE_CHECKING:
    from matgen.roles.representation import GrammarState
    from matgen_constraints.budget import Budget
    from matgen_constraints.grammar import Columns


class OrderedCharges:
    """Exact: says whether some cell can be completed in order, charges included."""

    def __init__(self, columns: Columns, budget: Budget, axes: charges.ChargeAxes) -> None:
        """Fill the table; ``fits`` says whether it is small enough."""
        self._axes = axes
        self._most_elements = _told_apart(columns, budget)
        required = [budget.required.get(z, 0) for z in columns.numbers_E.tolist()]
        # The element alone when nothing of it is missing, then with one atom missing, and so on.
        first_P = np.cumsum([0, *(max(count, 1) for count in required)])
        reach = np.zeros((first_P[-1], *self._shape(budget)), dtype=np.bool_)
        end_KNQZ = self._end(budget)
        new_KNQZ = np.zeros_like(end_KNQZ)  # from where a later element can begin
        for element in reversed(range(len(required))):
            states = columns.states(element)
            again_KNQZ = new_KNQZ | end_KNQZ
            for n_sites in reversed(range(budget.sites[1])):
                again_KNQZ[:, n_sites] |= charges.before(again_KNQZ[:, n_sites + 1], states)
            own = [again_KNQZ]
            for _ in range(1, required[element]):
                own.append(_one_site_earlier(own[-1], states))
            reach[first_P[element] : first_P[element + 1]] = own
            begun_KNQZ = self._one_element_earlier(_one_site_earlier(own[-1], states), budget)
            if required[element]:
                new_KNQZ, end_KNQZ = begun_KNQZ, np.zeros_like(end_KNQZ)
            else:
                new_KNQZ = new_KNQZ | begun_KNQZ
        self.tables: dict[str, NDArray[np.generic]] = {
            "ordered_reach": reach.reshape(-1),
            "first_E": first_P[:-1],
        }

    @staticmethod
    def fits(columns: Columns, budget: Budget, axes: charges.ChargeAxes) -> bool:
        """Whether the table is small enough."""
        n_places = len(columns.numbers_E) + sum(budget.required.values())
        n_charges = _told_apart(columns, budget) * (budget.sites[1] + 1) * axes.size
        return n_places * n_charges <= charges.LARGEST_TABLE

    def comes_to_zero(
        self, state: GrammarState, tables: Mapping[str, Tensor], missing_BE: Tensor
    ) -> Tensor:
        """Return (B, S) whether a cell can be completed after each species that is in order."""
        counts_BE = state["counts"]
        place_BE = tables["first_E"] + (missing_BE - 1).clamp(min=0)
        n_elements_BE = (counts_BE > 0).sum(1, keepdim=True) + (counts_BE == 0).long()
        n_elements_BE = n_elements_BE.clamp(max=self._most_elements)
        place_BE = place_BE * self._most_elements + n_elements_BE - 1
        most_sites = self._axes.most_sites
        n_sites_B = (counts_BE.sum(1) + 1).clamp(max=most_sites)
        place_BE = place_BE * (most_sites + 1) + n_sites_B[:, None]
        place_BS = (place_BE * self._axes.size)[:, tables["column_S"]]
        return tables["ordered_reach"][place_BS + self._axes.after(state, tables)]

    def _shape(self, budget: Budget) -> tuple[int, int, int, int]:
        return self._most_elements, budget.sites[1] + 1, self._axes.size // 2, 2

    def _end(self, budget: Budget) -> NDArray[np.bool_]:
        """Return (K, N, Q, Z) how a crystal may end; K begins at one element."""
        least, _ = budget.sites
        end_KNQZ = np.zeros(self._shape(budget), dtype=np.bool_)
        end_KNQZ[budget.n_elements[0] - 1 :, least:] = self._axes.at_end()
        return end_KNQZ

    def _one_element_earlier(
        self, reach_KNQZ: NDArray[np.bool_], budget: Budget
    ) -> NDArray[np.bool_]:
        earlier = np.zeros_like(reach_KNQZ)
        earlier[:-1] = reach_KNQZ[1:]
        if self._most_elements != budget.n_elements[1]:
            earlier[-1] = reach_KNQZ[-1]  # stands for this many elements and more
        return earlier


def _told_apart(columns: Columns, budget: Budget) -> int:
    """Return up to which number elements are counted: the most, or the least where all may come."""
    least, most = budget.n_elements
    return most if most < min(len(columns.numbers_E), budget.sites[1]) else least


def _one_site_earlier(reach_KNQZ: NDArray[np.bool_], states: list[int]) -> NDArray[np.bool_]:
    earlier = np.zeros_like(reach_KNQZ)
    earlier[:, :-1] = charges.before(reach_KNQZ[:, 1:], states)
    return earlier
