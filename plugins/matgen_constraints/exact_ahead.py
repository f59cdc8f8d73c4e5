"""Look-ahead for one reduced formula: which atoms are missing from each multiple of it.

Axes: B rows, T multiples, E elements of the formula, S species tokens, Q charge, Z whether a state
other than 0 was written.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from matgen.errors import BadOptions
from matgen_constraints.charges import LARGEST_TABLE, ChargeAxes, with_atoms

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
        targets_TE = np.array(multiples, dtype=np.int64)[:, None] * formula_E
        largest_E = targets_TE[-1]
        sizes = (largest_E + 1).tolist()
        self._axes = ChargeAxes(int(largest_E.sum()), columns.largest_state, neutrality)
        self._n_missing = math.prod(sizes)
        self._ordered = columns.ordered
        self.tables: dict[str, NDArray[np.generic]] = {"targets_TE": targets_TE}
        if neutrality == "free":
            return
        if self._n_missing * self._axes.size > LARGEST_TABLE:
            raise BadOptions(
                f"charge_neutral with a formula of {len(formula_E)} elements in cells of up to "
                f"{self._axes.most_sites} sites needs too large a table; ask for fewer sites "
                "(n_sites) or leave charge_neutral out"
            )
        reach = with_atoms(
            self._axes.at_end(),
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
        if self._ordered:
            fits_BTE = fits_BTE & (missing_BTE.cumsum(2) == missing_BTE)  # none before it
        column_S = tables["column_S"]
        if self._axes.neutrality == "free":
            return fits_BTE.any(1)[:, column_S], complete_B
        strides_E = tables["strides_E"]
        after_BTE = (missing_BTE * strides_E).sum(2, keepdim=True) - strides_E
        # Multiples that the row has left behind are outside the table.
        after_BTE = after_BTE.clamp(0, self._n_missing - 1) * self._axes.size
        place_BTS = after_BTE[:, :, column_S] + self._axes.after(state, tables)[:, None, :]
        species_BS = (fits_BTE[:, :, column_S] & tables["reach"][place_BTS]).any(1)
        return species_BS, complete_B & self._axes.ends(state)


def strides(sizes: Sequence[int]) -> NDArray[np.int64]:
    """Return by how much the flat index grows with each index, last axis fastest."""
    return np.array([math.prod(sizes[axis + 1 :]) for axis in range(len(sizes))], dtype=np.int64)
