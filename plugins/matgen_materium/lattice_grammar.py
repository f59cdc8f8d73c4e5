"""The grammar of a lattice system: remembers the lattice parameters and masks the next one.

Axes: B rows, V vocabulary.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import torch
from torch import Tensor

from matgen_materium.constraint_phases import FIRST_LATTICE, PhaseGrammar
from matgen_materium.reduced_lattices import ReducedLattices

if TYPE_CHECKING:
    from matgen.roles.representation import GrammarState
    from matgen_materium.atoms import Atoms

_ROWS_TOGETHER: Final = 8
"""Rows masked at once on a CPU: alternatives times bins of more leave the cache."""


class LatticeGrammar(PhaseGrammar):
    """Cells whose parameters are those of a reduced cell of one lattice system.

    The state adds the bins of the lattice parameters written so far, ``cell`` (B, 6).
    """

    def __init__(self, atoms: Atoms, system: str) -> None:
        """Take the representation whose sentences are written, and a lattice system's name."""
        super().__init__(atoms)
        self._lattices = ReducedLattices(atoms.bins, system)
        self._n_tokens = len(atoms.vocabulary())
        self.add_tables(last_bin_6=atoms.bins.n_lattice - 1)

    def begin(self, rows: int, device: str) -> GrammarState:
        """Return rows at the start, without a cell."""
        state = super().begin(rows, device)
        return {**state, "cell": torch.zeros((rows, 6), dtype=torch.int64, device=device)}

    def allowed(self, state: GrammarState) -> Tensor:
        """Return (B, V): the lattice parameters that some alternative allows; all other tokens."""
        phase, cell = state["phase"], state["cell"]
        mask = torch.ones((len(phase), self._n_tokens), dtype=torch.bool, device=phase.device)
        for place, grid in enumerate(self.atoms.bins.lattice):
            here = phase == FIRST_LATTICE + place
            bins = slice(self.atoms.first_bin, self.atoms.first_bin + grid.n)
            if phase.device.type == "cpu":
                # Counting rows is free here; elsewhere it would wait for the device.
                rows_here = here.nonzero().squeeze(1)
                for start in range(0, len(rows_here), _ROWS_TOGETHER):
                    rows = rows_here[start : start + _ROWS_TOGETHER]
                    mask[rows, bins] = self._lattices.allowed(cell[rows], place)
            else:
                mask[:, bins] &= self._lattices.allowed(cell, place) | ~here[:, None]
        return mask

    def advance(
        self, state: GrammarState, ids: Tensor, values: Tensor | None = None
    ) -> GrammarState:
        """Return the state after one more token in each row."""
        place = torch.arange(6, device=ids.device) == (state["phase"] - FIRST_LATTICE)[:, None]
        bins = (ids - self.atoms.first_bin).clamp(min=0)[:, None]
        bins = torch.minimum(bins, self.tables(state)["last_bin_6"])
        cell = torch.where(place, bins, state["cell"])
        return {**super().advance(state, ids, values), "cell": cell}
