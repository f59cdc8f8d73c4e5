"""Look-ahead for one reduced formula: which atoms are missing from each multiple of it.

Axes: B rows, T multiples, E elements of the formula, S species tokens, Q charge, Z whether a state
other than 0 was written.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from matgen.errors import BadOptions
from matgen_constraints.charges import LARGEST_TABLE, at_end, with_atoms
from matgen_constraints.grammar import flat

if TYPE_CHECKING:
    from matgen.roles.representation import GrammarState
    from matgen_constraints.budget import Neutrality
    from matgen_constraints.grammar import Columns


class ExactAhead:
    """Exact: allows a species if and only if some multiple can be completed after it."""

    def __init__(
        self,
        columns: Columns,
        formula_E: NDArray[np.int64],
        multiples: Sequence[int],
        neutrality: Neutrality,
    ) -> None:
        """Fill the tables.

        Args:
            columns: The elements of the formula and their tokens.
            formula_E: (E,) atoms of each in the reduced formula.
            multiples: Which multiples of it a cell may hold, ascending, at least one.
            neutrality: What the oxidation states must sum to.

        Raises:
            BadOptions: too many combinations of missing atoms for a table of charges.
        """
        self._neutrality = neutrality
        targets_TE = np.array(multiples, dtype=np.int64)[:, None] * formula_E
        self.tables: dict[str, NDArray[np.generic]] = {"targets_TE": targets_TE}
        if neutrality == "free":
            return
        largest_E = targets_TE[-1]
        largest_charge = max(int(largest_E.sum()) * columns.largest_state, 1)
        sizes = (largest_E + 1).tolist()
        if math.prod(sizes) * (2 * largest_charge + 1) * 2 > LARGEST_TABLE:
            raise BadOptions(
                f"charge_neutral with a formula of {len(formula_E)} elements in cells of up to "
                f"{int(largest_E.sum())} sites needs too large a table; ask for fewer sites "
                "(n_sites) or leave charge_neutral out"
            )
        self._n_charges = 2 * largest_charge + 1
        self._n_missing = math.prod(sizes)
        reach = with_atoms(
            at_end(largest_charge, neutrality),
            largest_E.tolist(),
            [columns.states(e) for e in range(len(formula_E))],
        )
        self.tables["reach"] = reach.reshape(-1)
        self.tables["strides_E"] = strides(sizes)

    def allowed(self, state: GrammarState, tables: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Return (B, S) which species may follow and (B,) whether the sites may end."""
        missing_BTE = tables["targets_TE"] - state["counts"][:, None, :]
        open_BT = (missing_BTE >= 0).all(2)
        complete_B = (missing_BTE == 0).all(2).any(1)
        fits_BTE = open_BT[:, :, None] & (missing_BTE > 0)
        column_S, states_S = tables["column_S"], tables["states_S"]
        if self._neutrality == "free":
            return fits_BTE.any(1)[:, column_S], complete_B
        strides_E = tables["strides_E"]
        after_BTE = (missing_BTE * strides_E).sum(2, keepdim=True) - strides_E
        middle = self._n_charges // 2
        charge_BS = state["charge"][:, None] + states_S + middle
        charged_BS = state["charged"][:, None] | (states_S != 0).long()
        place_BTS = flat(
            [
                (after_BTE[:, :, column_S], self._n_missing),
                (charge_BS[:, None, :], self._n_charges),
                (charged_BS[:, None, :], 2),
            ]
        )
        species_BS = (fits_BTE[:, :, column_S] & tables["reach"][place_BTS]).any(1)
        return species_BS, complete_B & ends_neutral(state, self._neutrality)


def ends_neutral(state: GrammarState, neutrality: Neutrality) -> Tensor:
    """Return (B,) whether the charges written so far may be all of them."""
    neutral_B = state["charge"] == 0
    if neutrality == "charged atoms":
        neutral_B = neutral_B & (state["charged"] == 1)
    return neutral_B if neutrality != "free" else torch.ones_like(neutral_B)


def strides(sizes: Sequence[int]) -> NDArray[np.int64]:
    """Return by how much the flat index grows with each index, last axis fastest."""
    return np.array([math.prod(sizes[axis + 1 :]) for axis in range(len(sizes))], dtype=np.int64)
