"""Look-ahead where many compositions are left: required atoms, numbers of elements, charges.

Axes: B rows, E elements that may be written, S species tokens, R missing required atoms, N sites
spoken for, Q charge, Z whether a state other than 0 was written, M known compositions.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from matgen.errors import BadOptions
from matgen_constraints import charges
from matgen_constraints.exact_ahead import strides
from matgen_constraints.few_elements import FewElements
from matgen_constraints.known_formulas import ELEMENT_CODES
from matgen_constraints.ordered_charges import OrderedCharges

if TYPE_CHECKING:
    from matgen.roles.representation import GrammarState
    from matgen_constraints.budget import Budget
    from matgen_constraints.grammar import Columns


class OpenAhead:
    """Allows a species if a cell can be completed after it, as far as can be told cheaply.

    Exact for any rules without charge neutrality and known formulas, and for neutrality with
    required atoms. Optimistic, so that a row may end up stuck: for neutrality together with a
    limit on the number of elements, which is looked at again once no new element may come; and
    for known formulas, which are looked at only at the last site. ``SmallSystem`` is exact there,
    where few elements may be written. Where elements are written in order ``OrderedCharges`` is
    exact for neutrality with any rules but known formulas; if its table is too large, charges are
    looked at as if any element could still come.
    """

    def __init__(self, columns: Columns, budget: Budget) -> None:
        """Fill the tables.

        Raises:
            BadOptions: too many combinations of required atoms for a table of charges.
        """
        self._budget = budget
        numbers = columns.numbers_E.tolist()
        required_E = np.array([budget.required.get(z, 0) for z in numbers], dtype=np.int64)
        self._n_columns = len(numbers)
        self.tables: dict[str, NDArray[np.generic]] = {"required_E": required_E}
        self._ordered = columns.ordered
        self._few: FewElements | None = None
        self._in_order: OrderedCharges | None = None
        self._axes = charges.ChargeAxes(budget.sites[1], columns.largest_state, budget.neutrality)
        neutral = budget.neutrality != "free"
        if neutral and columns.ordered and OrderedCharges.fits(columns, budget, self._axes):
            self._in_order = OrderedCharges(columns, budget, self._axes)
            self.tables |= self._in_order.tables
        elif neutral:
            self._add_charges(columns, required_E)
            # Sites bound the number of elements anyway.
            if budget.n_elements[1] < min(self._n_columns, budget.sites[1]):
                self._few = FewElements.of(columns, budget, self._axes)
        if self._few is not None:
            self.tables |= self._few.tables
        if budget.known:
            _, most_sites = budget.sites
            known_M = np.concatenate([known.in_cells(most_sites) for known in budget.known])
            # Never empty, so that a place in it always exists; 0 is the number of no atoms.
            self.tables["known_M"] = np.unique(np.append(known_M, 0))
            self.tables["codes_E"] = ELEMENT_CODES[columns.numbers_E]

    def allowed(self, state: GrammarState, tables: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Return (B, S) which species may follow and (B,) whether the sites may end."""
        least_sites, most_sites = self._budget.sites
        least_elements, most_elements = self._budget.n_elements
        counts_BE, required_E = state["counts"], tables["required_E"]
        n_sites_B = counts_BE.sum(1)
        missing_BE = (required_E - counts_BE).clamp(min=0)
        missing_B = missing_BE.sum(1)
        spoken_for_BE = (counts_BE > 0) | (required_E > 0)
        n_elements_B = spoken_for_BE.sum(1)
        # After one more atom of each element:
        n_sites_BE = n_sites_B[:, None] + 1 + missing_B[:, None] - (missing_BE > 0).long()
        n_elements_BE = n_elements_B[:, None] + (~spoken_for_BE).long()
        others_BE = self._n_columns - n_elements_BE
        if self._ordered:
            others_BE = _later(~spoken_for_BE)
        still_new_BE = torch.minimum(most_sites - n_sites_BE, others_BE)
        fits_BE = (
            (n_sites_BE <= most_sites)
            & (n_elements_BE <= most_elements)
            & (n_elements_BE + still_new_BE >= least_elements)
        )
        if self._ordered:
            fits_BE = fits_BE & (missing_BE.cumsum(1) == missing_BE)  # none before it
        stop_B = (
            (n_sites_B >= least_sites)
            & (missing_B == 0)
            & (n_elements_B >= least_elements)
            & (n_elements_B <= most_elements)
        )
        if self._budget.known:
            code_B = (counts_BE * tables["codes_E"]).sum(1)
            full_B = n_sites_B + 1 >= most_sites
            last_BE = _among(code_B[:, None] + tables["codes_E"], tables["known_M"])
            fits_BE = fits_BE & ~(full_B[:, None] & last_BE)
            stop_B = stop_B & ~_among(code_B, tables["known_M"])
        column_S = tables["column_S"]
        species_BS = fits_BE[:, column_S]
        if self._budget.neutrality == "free":
            return species_BS, stop_B
        stop_B = stop_B & self._axes.ends(state)
        if self._in_order is not None:
            return species_BS & self._in_order.comes_to_zero(state, tables, missing_BE), stop_B
        species_BS = species_BS & self._comes_to_zero(state, tables, missing_BE, n_sites_BE)
        if self._few is not None:
            last_new_BE = n_elements_BE >= most_elements
            species_BS = species_BS & (
                ~last_new_BE[:, column_S] | self._few.comes_to_zero(state, tables)
            )
        return species_BS, stop_B

    def _comes_to_zero(
        self,
        state: GrammarState,
        tables: Mapping[str, Tensor],
        missing_BE: Tensor,
        n_sites_BE: Tensor,
    ) -> Tensor:
        """Return (B, S) whether charges can come to zero after each species."""
        strides_E, most_sites = tables["strides_E"], self._budget.sites[1]
        after_BE = (missing_BE * strides_E).sum(1, keepdim=True) - strides_E * (missing_BE > 0)
        place_BE = after_BE * (most_sites + 1) + n_sites_BE.clamp(max=most_sites)
        place_BS = (place_BE * self._axes.size)[:, tables["column_S"]]
        return tables["reach"][place_BS + self._axes.after(state, tables)]

    def _add_charges(self, columns: Columns, required_E: NDArray[np.int64]) -> None:
        """Fill the table of charges, (R, N, Q, Z) flattened."""
        least, most = self._budget.sites
        sizes = (required_E + 1).tolist()
        if math.prod(sizes) * (most + 1) * self._axes.size > charges.LARGEST_TABLE:
            raise BadOptions(
                f"charge_neutral with {int(required_E.sum())} required atoms of "
                f"{int((required_E > 0).sum())} elements needs too large a table; require fewer "
                "atoms, ask for fewer sites (n_sites) or leave charge_neutral out"
            )
        free = charges.with_free_sites(self._axes.at_end(), columns.all_states, most)
        places = np.flatnonzero(required_E)
        reach = charges.with_atoms(
            free, required_E[places].tolist(), [columns.states(e) for e in places.tolist()]
        )
        reach = charges.within_sites(reach.reshape(-1, *free.shape), least, most)
        self.tables["reach"] = reach.reshape(-1)
        self.tables["strides_E"] = strides(sizes)


def _later(are_BE: Tensor) -> Tensor:
    """Return (B, E) how many of the elements after each one are so."""
    return are_BE.sum(1, keepdim=True) - are_BE.long().cumsum(1)


def _among(codes: Tensor, known_M: Tensor) -> Tensor:
    """Return whether each number is among the ascending ``known_M``."""
    places = torch.searchsorted(known_M, codes.contiguous()).clamp(max=len(known_M) - 1)
    return known_M[places] == codes
