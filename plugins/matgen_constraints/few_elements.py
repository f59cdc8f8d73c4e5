"""Look-ahead for charges once no further element may come: only the states of those present.

Axes: B rows, E elements that may be written, S species tokens, U sets of oxidation states, N sites
written, Q charge, Z whether a state other than 0 was written, K different oxidation states.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from matgen_constraints import charges

if TYPE_CHECKING:
    from matgen.roles.representation import GrammarState
    from matgen_constraints.budget import Budget
    from matgen_constraints.grammar import Columns

_MOST_STATES: Final = 16
"""A set of oxidation states is the bits of one number that indexes a table."""


class FewElements:
    """Exact for an exhausted number of elements where no required atom is missing."""

    def __init__(
        self, tables: dict[str, NDArray[np.generic]], required: int, axes: charges.ChargeAxes
    ) -> None:
        self.tables = tables
        self._required = required
        self._axes = axes

    @classmethod
    def of(cls, columns: Columns, budget: Budget, axes: charges.ChargeAxes) -> FewElements | None:
        """Return the look-ahead, None where its table would be too large."""
        all_states = columns.all_states
        least, most = budget.sites
        if len(all_states) > _MOST_STATES:
            return None
        bits_E = np.array(
            [
                sum(1 << all_states.index(state) for state in columns.states(e))
                for e in range(len(columns.numbers_E))
            ],
            dtype=np.int64,
        )
        is_required_E = np.isin(columns.numbers_E, list(budget.required))
        required = int(np.bitwise_or.reduce(bits_E[is_required_E], initial=0))
        sets = _unions(set(bits_E.tolist()), required, budget.n_elements[1])
        if len(sets) * (most + 1) * axes.size > charges.LARGEST_TABLE:
            return None
        end_QZ = axes.at_end()
        reach = np.stack(
            [
                charges.with_free_sites(
                    end_QZ, [s for k, s in enumerate(all_states) if bits >> k & 1], most
                )
                for bits in sets
            ]
        )
        place = np.zeros(1 << len(all_states), dtype=np.int64)
        place[sets] = np.arange(len(sets))
        tables: dict[str, NDArray[np.generic]] = {
            "few_reach": charges.within_sites(reach, least, most).reshape(-1),
            "few_place": place,
            "bits_E": bits_E,
            # Which states each element brings, for the union over those present.
            "brings_EK": (bits_E[:, None] >> np.arange(len(all_states))) & 1,
            "bit_K": np.int64(1) << np.arange(len(all_states), dtype=np.int64),
        }
        return cls(tables, required, axes)

    def comes_to_zero(self, state: GrammarState, tables: Mapping[str, Tensor]) -> Tensor:
        """Return (B, S) whether charges can come to zero after each species and no new element."""
        present_BE = (state["counts"] > 0).float()
        brought_BK = (present_BE @ tables["brings_EK"].float()) > 0
        bits_B = (brought_BK.long() * tables["bit_K"]).sum(1) | self._required
        set_BE = tables["few_place"][bits_B[:, None] | tables["bits_E"]]
        most = self._axes.most_sites
        n_sites_B = (state["counts"].sum(1) + 1).clamp(max=most)
        place_BE = set_BE * (most + 1) + n_sites_B[:, None]
        place_BS = (place_BE * self._axes.size)[:, tables["column_S"]]
        return tables["few_reach"][place_BS + self._axes.after(state, tables)]


def _unions(sets: set[int], required: int, most: int) -> list[int]:
    """Return every union of the required set with at most ``most`` of the sets, ascending."""
    found = {required}
    for _ in range(most):
        larger = found | {one | other for one in found for other in sets}
        if larger == found:
            break
        found = larger
    return sorted(found)
