"""The grammar of rules that say which tokens the first sites and the cell have.

Axes: B rows, P phases, V vocabulary, K given sites.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from matgen_materium.constraint_phases import FIRST_LATTICE, FIRST_SITE, N_PHASES, PhaseGrammar

if TYPE_CHECKING:
    from matgen.roles.representation import GrammarState
    from matgen_materium.atoms import Atoms


class GivenTokens(PhaseGrammar):
    """One table: a row per phase, then four per given site."""

    def __init__(
        self,
        atoms: Atoms,
        *,
        cell_ids: NDArray[np.int64] | None,
        sites_K4V: NDArray[np.bool_] | None = None,
    ) -> None:
        """Take what is given.

        Args:
            atoms: The representation whose sentences are written.
            cell_ids: (6,) tokens of the lattice parameters; None where the cell is free.
            sites_K4V: Tokens allowed at the four positions of each given site, as they are written;
                None where no site is given.
        """
        super().__init__(atoms)
        n_tokens = len(atoms.vocabulary())
        phases_PV = np.ones((N_PHASES, n_tokens), dtype=np.bool_)
        if cell_ids is not None:
            phases_PV[FIRST_LATTICE : FIRST_LATTICE + 6] = False
            phases_PV[FIRST_LATTICE + np.arange(6), cell_ids] = True
        sites_V = np.ones((0, n_tokens), np.bool_)
        if sites_K4V is not None:
            sites_V = sites_K4V.reshape(-1, n_tokens)
        self._n_given = len(sites_V) // 4
        self.add_tables(mask=np.concatenate([phases_PV, sites_V]))

    def allowed(self, state: GrammarState) -> Tensor:
        """Return (B, V): what is given, and everything where nothing is."""
        phase, n_sites = state["phase"], state["n_sites"]
        column = phase - FIRST_SITE
        at_given = (column >= 0) & (column < 4) & (n_sites < self._n_given)
        entry = torch.where(at_given, N_PHASES + 4 * n_sites + column, phase)
        return self.tables(state)["mask"][entry]
